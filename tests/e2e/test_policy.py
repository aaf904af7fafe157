"""What policy keeps out of compute clusters, and what a user hears of it.

Refused pods must not breed: a Failed pod of a Deployment is replaced at once, and refused again. To
see that for minutes costs no time: the Deployments are made by the first test of a run and counted
by the last one, after whatever the tests between do to the agent and to the clusters.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import deployment, pod, pod_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import AgentProcess, Federation

KWOK = "kwok-a"
UNDISTURBED = "default"
"""A tenant namespace that other tests leave alone."""
REPLICAS = 3
SECONDS = 300.0

HOST_PATH = {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}
PRIVILEGED = {"container": {"securityContext": {"privileged": True}}}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mounts-host": (HOST_PATH, "spec.volumes[0].hostPath"),
    "privileged": (PRIVILEGED, "spec.containers[0].securityContext.privileged"),
}


@dataclass(frozen=True)
class Breeding:
    """Deployments of which no pod can run."""

    user: User
    since: float
    first: frozenset[str]
    """UIDs of the first pods."""


def _uids(user: User) -> frozenset[str]:
    """All their pods, dead ones too: a ReplicaSet keeps those."""
    pods = (pod for name in REFUSED for pod in user.items("pods", f"app={name}"))
    return frozenset(pod["metadata"]["uid"] for pod in pods)


@pytest.fixture(scope="session")
def breeding(federation: Federation, session_agent: AgentProcess) -> Iterator[Breeding]:
    """Deployments with forbidden fields, for the whole run."""
    session_agent.wait_ready()
    user = User(federation.tenant, UNDISTURBED)
    for name, (spec, _) in REFUSED.items():
        manifest = deployment(name, replicas=REPLICAS, spec=pod_spec(cluster=KWOK, **spec))
        manifest["metadata"]["namespace"] = UNDISTURBED
        user.apply(manifest)
    total = REPLICAS * len(REFUSED)
    until(lambda: len(_uids(user)) >= total, "the Deployments have their pods")
    yield Breeding(user, time.monotonic(), _uids(user))
    user.kubectl("delete", "deployments", *REFUSED, "--ignore-not-found", "--wait=false")


@pytest.mark.run_first
def test_pods_with_a_forbidden_field_wait_and_tell_its_name(breeding: Breeding) -> None:
    user = breeding.user
    for name, (_, path) in REFUSED.items():
        for seen in _wait_refused(user, name):
            assert seen["status"]["phase"] == "Pending"
            assert path in seen["status"]["message"]
            waiting = seen["status"]["containerStatuses"][0]["state"]["waiting"]
            assert waiting["reason"] == "PodRejected"
            assert path in waiting["message"]
            _is_told(user, seen["metadata"]["name"], path)


def _wait_refused(user: User, name: str) -> list[Any]:
    """The pods of a Deployment, as soon as all of them say that they were refused."""

    def refused() -> list[Any]:
        pods = user.items("pods", f"app={name}")
        told = [p for p in pods if p["status"].get("reason") == "PodRejected"]
        return told if len(told) == REPLICAS else []

    pods: list[Any] = until(refused, f"the pods of {name} are refused")
    return pods


def _is_told(user: User, name: str, path: str) -> None:
    """By kubectl get, kubectl describe and one event."""
    assert "PodRejected" in user.kubectl("get", "pod", name)
    until(lambda: user.event_reasons(name)["PodRejected"] == 1, "there is one event")
    assert path in user.kubectl("describe", "pod", name)


def test_pods_that_end_fail_with_the_name_of_a_forbidden_field(user: User) -> None:
    cases = {
        f"{case}-{policy.lower()}": (case, policy)
        for case in REFUSED
        for policy in ("Never", "OnFailure")
    }
    for name, (case, policy) in cases.items():
        spec, _ = REFUSED[case]
        user.apply(pod(name, cluster=KWOK, restartPolicy=policy, **spec))
    for name, (case, _) in cases.items():
        status = user.wait_phase(name, "Failed")["status"]
        assert status["reason"] == "PodRejected"
        assert REFUSED[case][1] in status["message"]


DENIED_LABELS = {
    "alibabacloud.com/eci": "true",
    "alibabacloud.com/fluid-sidecar-target": "eci",
    "serverless.fluid.io/inject": "true",
    "sidecar.istio.io/inject": "true",
    "kueue.x-k8s.io/queue-name": "fast-lane",
    "scheduling.x-k8s.io/pod-group": "mine",
    "pod-group.scheduling.sigs.k8s.io": "mine",
}
DENIED_ANNOTATIONS = {
    "scheduling.k8s.io/group-name": "mine",
    "scheduling.volcano.sh/queue-name": "fast-lane",
    "volcano.sh/queue-name": "fast-lane",
    "volcano.sh/preemptable": "false",
    "k8s.aliyun.com/eci-use-specs": "ecs.gn7i-c8g1.2xlarge",
    "sidecar.istio.io/inject": "true",
    "linkerd.io/inject": "enabled",
    "k8s.v1.cni.cncf.io/networks": "storage",
    "vnode.dev/uid": "00000000-0000-0000-0000-000000000000",
}


def test_keys_that_make_the_compute_side_act_do_not_travel(
    user: User, federation: Federation
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    manifest = pod("decorated", cluster=KWOK, labels={"app": "x", **DENIED_LABELS})
    manifest["metadata"]["annotations"] = {"example.com/owner": "me", **DENIED_ANNOTATIONS}
    user.apply(manifest)
    uid = user.wait_phase("decorated", "Running")["metadata"]["uid"]
    user.kubectl("label", "pod", "decorated", "kueue.x-k8s.io/priority-class=top", "stage=two")
    user.kubectl("annotate", "pod", "decorated", "volcano.sh/revocable-zone=*")

    def changed() -> Any:
        copy = below.get("pod", "decorated")["metadata"]
        return copy if "stage" in copy["labels"] else None

    copy = until(changed, "the change has arrived")
    ours = {"vnode.dev/tenant", "app.kubernetes.io/managed-by"}
    assert copy["labels"].keys() == {"app", "stage", *ours}
    foreign = {k for k in copy["annotations"] if not k.startswith("vnode.dev/")}
    # The second is the compute cluster's: its LimitRange has set something.
    assert foreign - {"kubernetes.io/limit-ranger"} == {"example.com/owner"}
    assert copy["annotations"]["vnode.dev/uid"] == uid


@pytest.mark.run_last
@pytest.mark.usefixtures("agent")
@pytest.mark.timeout(SECONDS + 60, func_only=True)
def test_refused_pods_of_deployments_do_not_breed(
    breeding: Breeding, federation: Federation
) -> None:
    left = breeding.since + SECONDS - time.monotonic()
    if left > 0:
        print(f"the run was shorter than {SECONDS:g} s: waiting {left:.0f} s more")
        time.sleep(left)
    assert len(breeding.first) == REPLICAS * len(REFUSED)
    assert _uids(breeding.user) == breeding.first
    assert User(federation.computes[KWOK], "demo--default").items("pods") == []
    breeding.user.kubectl("delete", "deployments", *REFUSED)
    until(lambda: not _uids(breeding.user), "what never ran goes at once", timeout=10)
