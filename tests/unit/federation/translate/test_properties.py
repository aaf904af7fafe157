"""What holds for every pod: random ones, drawn from the API's own types.

A pod is drawn type by type from `podspec-1.36.json`, a few fields each, so every field of the API
comes up; values that handlers look into have the shape that the API gives them, all others are
words, which travel unread.
"""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from federation.backends.kubernetes.observe import observed_pod
from federation.backends.kubernetes.translate.fields import POD_SPEC, Table
from federation.backends.kubernetes.translate.names import ANNOTATION_DIGEST
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.translation.rules import Action
from tests.builders import NODE_ADDRESS, NOW, loads, raw
from tests.unit.federation.translate.builders import (
    NAMESPACES,
    OWNER,
    POLICY,
    make_pod,
    make_request,
    translated,
)
from tests.unit.federation.translate.test_fields import OPENAPI, TABLES
from tests.unit.federation.translate.test_update import make_copy, update_of, updated
from vnode.backend import Rejected, Waiting
from vnode.kube.types import Pod
from vnode.pods.status.statuses import Placement, mirrored
from vnode.pods.view import view

FEW = 4
"""Fields that are drawn of each type: whole pods would take minutes."""

words = st.text("abcxyz", min_size=1, max_size=4)
maps = st.dictionaries(words, words, max_size=2)
amounts = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"]))
yes_or_no = st.booleans()
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "AppArmorProfile.type": st.sampled_from(["RuntimeDefault", "Unconfined"]),
    "Capabilities.add": st.lists(words, max_size=1),
    "ContainerPort.hostPort": st.sampled_from([0, 80]),
    "EnvVar.name": words,
    "ObjectFieldSelector.fieldPath": st.sampled_from(
        [
            "metadata.name",
            "metadata.uid",
            "metadata.labels['abc']",
            "metadata.annotations['vnode.dev/uid']",
        ]
    ),
    "PodAffinityTerm.matchLabelKeys": st.lists(words, max_size=1),
    "PodAffinityTerm.mismatchLabelKeys": st.just([]),
    "PodAffinityTerm.namespaces": st.lists(words, max_size=1),
    "PodDNSConfig.searches": st.lists(words, max_size=2),
    "PodSpec.activeDeadlineSeconds": st.integers(1, 9),
    "PodSpec.enableServiceLinks": yes_or_no,
    "PodSpec.hostIPC": yes_or_no,
    "PodSpec.hostNetwork": yes_or_no,
    "PodSpec.hostPID": yes_or_no,
    "PodSpec.hostUsers": yes_or_no,
    "PodSpec.nodeSelector": maps,
    "PodSpec.restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"]),
    "PodSpec.runtimeClassName": st.sampled_from(["", "kata"]),
    "ResourceRequirements.limits": amounts,
    "ResourceRequirements.requests": amounts,
    "SELinuxOptions.type": st.sampled_from(["container_t", "spc_t"]),
    "SeccompProfile.type": st.sampled_from(["RuntimeDefault", "Unconfined"]),
    "SecurityContext.privileged": yes_or_no,
    "SecurityContext.procMount": st.sampled_from(["Default", "Unmasked"]),
    "ServiceAccountTokenProjection.expirationSeconds": st.integers(600, 605),
    "TopologySpreadConstraint.matchLabelKeys": st.lists(words, max_size=1),
    "Volume.name": words,
    "WindowsSecurityContextOptions.hostProcess": yes_or_no,
}


@st.composite
def objects(draw: st.DrawFn, kind: str, *, forbidden: bool) -> dict[str, Any]:
    """An object of an API type; `forbidden`: with fields that the table refuses."""
    table = TABLES.get(kind)
    if table is None:  # what a refused field holds
        return {"a": "b"}
    fields = [
        name
        for name in OPENAPI[kind]
        if name != "ephemeralContainers"  # part of no create
        and (forbidden or table.rows[name].action is not Action.REJECT)
    ]
    chosen = draw(st.lists(st.sampled_from(fields), max_size=FEW, unique=True))
    if kind == "EnvVar":
        chosen = ["name", *(name for name in chosen if name != "name")]
    return {name: draw(_values(f"{kind}.{name}", forbidden=forbidden)) for name in chosen}


def _values(path: str, *, forbidden: bool) -> st.SearchStrategy[Any]:
    kind, _, field = path.partition(".")
    inner = OPENAPI[kind][field]
    if inner is None:
        return VALUES.get(path, words)
    if inner.startswith("["):
        return st.lists(objects(inner.strip("[]"), forbidden=forbidden), max_size=2)
    return objects(inner, forbidden=forbidden)


@st.composite
def pods(draw: st.DrawFn, *, forbidden: bool = False) -> Pod:
    """A tenant pod."""
    spec = draw(objects("PodSpec", forbidden=forbidden))
    main = draw(st.lists(objects("Container", forbidden=forbidden), min_size=1, max_size=2))
    spec["containers"] = main
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field, ())):
            container.update(name=f"{field[0]}{index}", image=draw(words))
    keys = st.one_of(words, st.sampled_from(["vnode.dev/uid", "volcano.sh/queue-name"]))
    notes = st.dictionaries(keys, words, max_size=2)
    return make_pod(spec, labels=draw(notes), annotations=draw(notes))


def accepted(pod: Pod) -> Any:
    """The compute pod; a pod that is refused tells nothing to the test."""
    try:
        return translated(pod)
    except (Rejected, Waiting):
        assume(False)


def refusals(value: Any, table: Table) -> Iterator[str]:
    """Fields that the table refuses under the default policy."""
    for name, item in value.items():
        row = table.rows[name]
        if row.action is Action.REJECT and item not in (None, "", [], {}, row.default):
            yield f"{table.name}.{name}"
        elif row.of is not None and row.action in (Action.KEEP, Action.REWRITE):
            for part in item if row.many else [item]:
                yield from refusals(part, row.of)


def strangers(value: Any, table: Table) -> Iterator[str]:
    """Fields of a copy that may not be there."""
    for name, item in value.items():
        row = table.rows[name]
        if row.action in (Action.REJECT, Action.DROP):
            yield f"{table.name}.{name}"
        elif row.of is not None:
            for part in item if row.many else [item]:
                yield from strangers(part, row.of)


OURS = {
    "serviceAccountName": "default",
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
}
quick = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


@quick
@given(pods(forbidden=True))
def test_what_the_table_refuses_never_travels(pod: Pod) -> None:
    refused = sorted(set(refusals(loads(pod.spec), POD_SPEC)))
    event("refused" if refused else "not refused")
    try:
        below = translated(pod)
    except (Rejected, Waiting):
        return
    assert not refused
    spec = below["spec"]
    assert {name: spec.pop(name) for name in OURS} == OURS
    assert list(strangers(spec, POD_SPEC)) == []


@quick
@given(pods())
def test_the_same_pod_gives_the_same_bytes(pod: Pod) -> None:
    first = accepted(pod)
    again = msgspec.json.decode(msgspec.json.encode(pod), type=Pod)
    assert json.dumps(translated(again)) == json.dumps(first)


@quick
@given(pods())
def test_a_copy_that_was_just_made_needs_no_update(pod: Pod) -> None:
    accepted(pod)
    copy = make_copy(pod)
    change = update_of(pod, copy, digest="of another release of the agent")
    assert (change.writes, change.refused) == ((), ())
    marks = change.marks((), whole=True, present=copy.metadata)
    assert marks == {"annotations": {ANNOTATION_DIGEST: "of another release of the agent"}}
    assert updated(pod, updated(pod, copy)) == updated(pod, copy)


@quick
@given(pods(), st.lists(st.integers(0, 255), min_size=2, max_size=2), st.booleans())
def test_what_a_kubelet_says_of_the_copy_is_what_the_tenant_sees(
    pod: Pod, codes: list[int], injected: bool
) -> None:
    accepted(pod)
    body = translate(make_request(pod), owner=OWNER, namespaces=NAMESPACES, policy=POLICY)
    below: Any = msgspec.json.decode(msgspec.json.encode(body))
    names = [container["name"] for container in below["spec"]["containers"]]
    exits = dict(zip(names, codes, strict=False))
    ended = [
        {"name": n, "state": {"terminated": {"exitCode": code, "finishedAt": NOW}}}
        for n, code in exits.items()
    ]
    sidecar = {"name": "injected", "state": {"running": {"startedAt": NOW}}}
    phase = "Failed" if any(exits.values()) else "Succeeded"
    status = {
        "phase": phase,
        "containerStatuses": [*ended, *([sidecar] if injected else [])],
    }
    seen = view(pod)
    found = msgspec.json.decode(raw({**below, "status": status}), type=Pod)
    copy = observed_pod(found, owner=OWNER, namespaces=NAMESPACES)
    assert copy is not None
    assert (copy.key, copy.uid, copy.node) == (seen.key, seen.uid, "vnode-a")
    shown: Any = mirrored(pod, seen, copy, Placement(NODE_ADDRESS, None, NOW))
    states = {c["name"]: c["state"]["terminated"]["exitCode"] for c in shown["containerStatuses"]}
    assert states == exits
    tenant = loads(pod.spec)
    assert names == [container["name"] for container in tenant["containers"]]
    assert below["spec"].get("restartPolicy") == tenant.get("restartPolicy")
    if not injected:
        assert shown["phase"] == phase


@pytest.mark.parametrize("path", VALUES)
def test_the_shapes_are_those_of_fields_that_exist(path: str) -> None:
    kind, _, field = path.partition(".")
    assert OPENAPI[kind][field] is None
