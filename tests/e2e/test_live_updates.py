"""What changes while a container runs: its ConfigMap, its Secret, its labels, its own token.

A kubelet brings such changes at its next look at the pod, which may be more than a minute away. So
everything is changed once, at the start of a run; containers write down when they saw it, and what
they wrote is judged at the end of the run.
"""

from __future__ import annotations

import base64
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.user import User, until
from tests.e2e.workloads import config_map, pod, secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.agents import AgentProcess, Federation

pytestmark = pytest.mark.containers

UNDISTURBED, BELOW = "default", "demo--default"
"""A tenant namespace that other tests leave alone."""
WITHIN = 95.0
"""Seconds: a kubelet looks at each pod every 60 to 90 s, and then writes the files."""
CLIENTS = ("lister", "stranger")
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
REFRESH = "vnode.dev/tokens-refresh"


def _watcher(file: str) -> str:
    """A script that prints what a file says, with the time, whenever it says something else."""
    return (
        "while :; do "
        f"now=$(tr '\\n' ' ' <{file}); "
        '[ "$now" = "$old" ] || echo "$(date +%s) saw $now"; old=$now; sleep 0.5; done'
    )


@dataclass
class Living:
    """Pods that run from the start of a run to its end."""

    user: User
    changed_at: float = 0.0
    first_tokens: dict[str, str] | None = None

    def run_kubectl(self, name: str) -> str:
        """kubectl inside a pod, which has nothing but what every pod has."""
        return self.user.kubectl("exec", name, "--", *LIST, check=False)

    def token(self, name: str) -> str:
        """ID of the token in a pod's file."""
        payload = self.user.kubectl("exec", name, "--", "cat", TOKEN).split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["jti"])

    def wait_seen(self, name: str, what: str) -> float:
        """Seconds from the change until a container has seen it."""

        def seen() -> Any:
            log = self.user.kubectl("logs", name)
            return re.search(rf"^(\d+) saw .*{re.escape(what)}", log, re.MULTILINE)

        found = until(seen, f"{name} sees {what}", timeout=WITHIN + 10, every=1)
        return int(found[1]) - self.changed_at


LIST = ("/tmp/kubectl", "get", "pods", "--output=name")


@pytest.fixture(scope="session")
def living(federation: Federation, session_agent: AgentProcess) -> Iterator[Living]:
    """Pods that see changes, and clients of the tenant's API server."""
    if "gpu" not in federation.computes:
        pytest.skip("no cluster with real containers")
    session_agent.wait_ready()
    user = User(federation.tenant, UNDISTURBED)
    _submit(user)
    for name in ("config", "sealed", "labelled", *CLIENTS):
        user.wait_phase(name, "Running")
    _give_kubectl(user)
    living = Living(user)
    yield living
    user.kubectl("delete", "pods", "--selector=app=living", "--wait=false")
    user.kubectl("delete", "serviceaccount,role,rolebinding", "lister")


def _submit(user: User) -> None:
    def of(name: str, **spec: Any) -> Any:
        manifest = pod(name, cluster="gpu", labels={"app": "living", "stage": "one"}, **spec)
        manifest["metadata"]["namespace"] = user.namespace
        return manifest

    def reads(name: str, source: dict[str, Any], file: str) -> Any:
        mounts = [{"name": "seen", "mountPath": "/seen"}]
        return of(
            name,
            command=_watcher(f"/seen/{file}"),
            container={"volumeMounts": mounts},
            volumes=[{"name": "seen", **source}],
        )

    labels = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    user.kubectl("create", "serviceaccount", "lister")
    user.kubectl("create", "role", "lister", "--verb=list", "--resource=pods")
    account = f"--serviceaccount={user.namespace}:lister"
    user.kubectl("create", "rolebinding", "lister", "--role=lister", account)
    user.apply(
        *_objects(user, "one"),
        reads("config", {"configMap": {"name": "live"}}, "value"),
        reads("sealed", {"secret": {"secretName": "live"}}, "value"),
        reads("labelled", {"downwardAPI": {"items": labels}}, "labels"),
        of("lister", serviceAccountName="lister"),
        of("stranger"),
    )


def _objects(user: User, value: str) -> Sequence[Any]:
    objects = [config_map("live", value=value), secret("live", value=value)]
    for each in objects:
        each["metadata"]["namespace"] = user.namespace
    return objects


def _give_kubectl(user: User) -> None:
    """The program alone; credentials and address are those that every pod has."""
    program = str(user.cluster.kubectl_program.resolve())
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda n: user.kubectl("cp", program, f"{n}:/tmp/kubectl"), CLIENTS))


@pytest.mark.run_first
def test_a_client_in_a_pod_acts_as_the_pods_own_service_account(living: Living) -> None:
    listed = living.run_kubectl("lister").split()
    assert {"pod/lister", "pod/config"} <= set(listed)
    refused = living.run_kubectl("stranger")
    assert "Forbidden" in refused
    assert f"system:serviceaccount:{UNDISTURBED}:default" in refused


@pytest.mark.run_first
def test_changes_and_a_due_token_are_sent_to_running_pods(
    living: Living, federation: Federation
) -> None:
    """Everything at once; what comes of it is judged at the end of the run."""
    user, below = living.user, User(federation.computes["gpu"], BELOW)
    living.first_tokens = {name: living.token(name) for name in CLIENTS}
    uid = user.get("pod", "lister")["metadata"]["uid"]
    (token_set,) = [
        s["metadata"]["name"]
        for s in below.items("secrets")
        if REFRESH in s["metadata"].get("annotations", {})
        and s["metadata"]["annotations"]["vnode.dev/uid"] == uid
    ]
    # The agent keeps there when a token is due; it looks when it has to do with the pod next.
    below.kubectl("annotate", "secret", token_set, f"{REFRESH}=1", "--overwrite")
    living.changed_at = time.time()
    user.apply(*_objects(user, "two"))
    user.kubectl("label", "pods", "lister", "labelled", "stage=two", "--overwrite")

    def copied() -> bool:
        config, sealed = below.get("configmap", "live"), below.get("secret", "live")
        renewed = below.get("secret", token_set)["metadata"]["annotations"][REFRESH]
        values = (config["data"]["value"], base64.b64decode(sealed["data"]["value"]))
        return values == ("two", b"two") and float(renewed) > time.time()

    until(copied, "the objects below have changed", timeout=10)


@pytest.mark.run_last
@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(
    ("name", "what"), [("config", "two"), ("sealed", "two"), ("labelled", 'stage="two"')]
)
def test_a_running_container_sees_the_change(living: Living, name: str, what: str) -> None:
    seconds = living.wait_seen(name, what)
    print(f"{name}: seen after {seconds:.0f} s")
    assert seconds <= WITHIN


@pytest.mark.run_last
@pytest.mark.usefixtures("agent")
def test_a_client_in_a_pod_goes_on_with_a_renewed_token(living: Living) -> None:
    assert living.first_tokens is not None
    first = living.first_tokens["lister"]
    until(
        lambda: living.token("lister") != first,
        "another token is in the file",
        timeout=WITHIN + 10,
        every=1,
    )
    assert {"pod/lister", "pod/config"} <= set(living.run_kubectl("lister").split())
    assert living.token("stranger") == living.first_tokens["stranger"], "it was not due"
