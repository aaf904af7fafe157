"""Names from a table, which may be ordinary words: hidden as names, kept as anything else.

`test_conceal` has the rules for the usual `tenant--namespace`.
"""

import json
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from federation.backends.kubernetes.conceal import Names
from tests.builders import Object, condition, container_status, raw, running_status
from vnode.kube.types import JSON

UID_BELOW = "c0ffee00-0000-4000-8000-00000000000a"
UID = "3e9f6a50-2f0d-4a7d-8f2a-6a1f5d2c1b11"
USER = "system:serviceaccount:vnode-system:agent-of-red"

# What API servers, schedulers and kubelets say. {ns}, {uid}, {node}, {user}: names below.
SAYINGS = [
    'pods "job-0" is forbidden: User "{user}" cannot create pods in the namespace "{ns}"',
    'namespaces "{ns}" not found',
    "unable to create new content in namespace {ns} because it is being terminated",
    "Evicted from namespace {ns}.",
    "in {ns}, on {node}.",
    "back-off 10s restarting failed container=main pod=job-0_{ns}({uid})",
    'error looking up service account {ns}/default: serviceaccount "default" not found',
    "system:serviceaccount:{ns}:default has no right",
    "the server could not find /api/v1/namespaces/{ns}/pods/job-0",
    'Get "https://{node}:10250/containerLogs/{ns}/job-0/main": dial tcp: no route to host',
    'error dialing backend: Post "https://{node}:10250/exec/{ns}/job-0/main?command=ls": refused',
    "lookup web.{ns}.svc.cluster.local: no such host",
    "lookup web.{ns}.svc: no such host",
    "Successfully assigned {ns}/job-0 to {node}",
    'nodes "{node}" not found',
    "nodes/{node} is not ready",
    "preempted by {ns}/other on node {node}",
    "MountVolume.SetUp failed: /var/lib/kubelet/pods/{uid}/volumes/data: stale",
    "cannot enter cgroup /kubepods/burstable/pod{uid}/main",
    "cannot enter cgroup kubepods-burstable-pod{uid_}.slice",
    "[{ns}] ({node}) <{uid}>",
]
KEPT = [
    "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 Insufficient example.com/{ns}.",
    'Back-off pulling image "registry.example/{ns}:1"',
    'Failed to pull image "registry.example/{ns}/train:1": not found',
    'Failed to pull image "{ns}:1": not found',
    'Error: failed to start container "{ns}": no such file',
    "back-off 10s restarting failed container={ns}",
    "Insufficient {ns}.example.com/a100",
    "a-{ns} {ns}-b {ns}x x{ns} a.{ns}.b",
]

labels = st.from_regex(r"[a-z]([-a-z0-9]{0,12}[a-z0-9])?", fullmatch=True)
awkward = st.sampled_from(["gpu", "name", "phase", "message", "job", "n1", "team-a", "a"])
words = st.text(st.sampled_from('ab9-./: "\\\n(){}[]_é'), max_size=8)
IN_SAYINGS = set(re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", " ".join(SAYINGS)))


def holds(text: str, name: str) -> bool:
    """Whether the name stands there as a whole word."""
    return re.search(rf"(?<![A-Za-z0-9-]){re.escape(name)}(?![A-Za-z0-9-])", text) is not None


def say(template: str, names: Names) -> str:
    return template.format(
        ns=names.namespace_below,
        node=names.node_below,
        uid=names.uid_below,
        uid_=names.uid_below.replace("-", "_"),
        user=USER,
    )


def make_names(namespace_below: str = "red--team-a", node_below: str = "gpu-17") -> Names:
    return Names(
        namespace_below=namespace_below,
        namespace="team-a",
        uid_below=UID_BELOW,
        uid=UID,
        node_below=node_below,
        node="vnode-a",
    )


names_below = st.builds(make_names, labels | st.just("red--team-a"), labels)


@settings(deadline=None)
@given(names=names_below, templates=st.lists(st.sampled_from(SAYINGS), min_size=1), glue=words)
def test_no_name_of_the_cluster_survives_in_any_message(
    names: Names, templates: list[str], glue: str
) -> None:
    below = (names.namespace_below, names.node_below)
    # Names that are words of the messages themselves, or the tenant's own, are no secret.
    own = {"team-a", "team", "a", "vnode-a", "vnode", "virtual", *IN_SAYINGS}
    assume(not any(name in own for name in below) and below[0] != below[1])
    assume(not any(holds(glue, name) for name in below))
    shown = names.conceal(f" {glue} ".join(say(template, names) for template in templates))
    for name in (*below, UID_BELOW, UID_BELOW.replace("-", "_"), USER):
        assert not holds(shown, name)


@pytest.mark.parametrize("name", ["gpu", "name", "phase", "train"])
@pytest.mark.parametrize("template", KEPT)
def test_resources_images_and_containers_keep_their_names(template: str, name: str) -> None:
    text = template.format(ns=name)
    assert make_names(namespace_below=name, node_below="").conceal(text) == text


@pytest.mark.parametrize("name", ["gpu", "name", "phase"])
def test_a_namespace_of_the_table_is_still_replaced(name: str) -> None:
    shown = make_names(namespace_below=name).conceal(f'pods "job-0" not found in "{name}"')
    assert shown == 'pods "job-0" not found in "team-a"'


# --- statuses ---------------------------------------------------------------------------------


def messages(value: JSON) -> list[str]:
    """All texts for people in a status."""
    if isinstance(value, list):
        return [text for item in value for text in messages(item)]
    if not isinstance(value, dict):
        return []
    own = [v for k, v in value.items() if k in ("message", "reason") and isinstance(v, str)]
    return own + [text for item in value.values() for text in messages(item)]


def without_messages(value: JSON) -> JSON:
    """The rest."""
    if isinstance(value, list):
        return [without_messages(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {k: without_messages(v) for k, v in value.items() if k not in ("message", "reason")}


def make_status(text: str, *, container: str) -> Object:
    waiting: Object = {"waiting": {"reason": "CreateContainerError", "message": text}}
    ended: Object = {"terminated": {"exitCode": 1, "message": text, "containerID": container}}
    return running_status(
        message=text,
        reason="Evicted",
        phase="Pending",
        conditions=[condition("Ready", "False", reason="NotReady", message=text)],
        containerStatuses=[
            container_status(
                container,
                image=f"{container}:1",
                imageID=f"{container}@sha256:1",
                state=waiting,
                lastState=ended,
                allocatedResources={"nvidia.com/gpu": "8", f"example.com/{container}": "1"},
            )
        ],
    )


def conceal_status(names: Names, status: Object) -> Any:
    return json.loads(names.conceal_status(bytes(raw(status))))


@settings(deadline=None)
@given(
    namespace=awkward | labels,
    node=awkward | labels,
    container=awkward,
    template=st.sampled_from(SAYINGS),
    glue=words,
)
def test_a_status_stays_what_it_was_but_for_its_messages(
    namespace: str, node: str, container: str, template: str, glue: str
) -> None:
    names = make_names(namespace, node)
    status = make_status(f"{glue} {say(template, names)}", container=container)
    shown = conceal_status(names, status)
    assert without_messages(shown) == without_messages(status)
    assert len(messages(shown)) == len(messages(status))
