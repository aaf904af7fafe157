"""Hundreds of pods through two virtual nodes on simulated compute nodes."""

import time

from tests.agents import AgentProcess, Federation
from tests.e2e.user import NOTHING, User, create_answers, ours_below, pods_created, until
from tests.e2e.workloads import CLUSTER_LABEL, config_map, deployment, pod_spec, secret

KWOK = ("kwok-a", "kwok-b")
PODS = 500
TIMEOUT = 150.0


def _spec() -> dict[str, object]:
    """Runs on either simulated cluster, and refers to a ConfigMap and a Secret."""
    spec = pod_spec(
        cluster="-",
        container={
            "envFrom": [{"configMapRef": {"name": "settings"}}],
            "env": [
                {
                    "name": "PASSWORD",
                    "valueFrom": {"secretKeyRef": {"name": "access", "key": "password"}},
                }
            ],
        },
    )
    del spec["nodeSelector"]
    terms = [{"key": CLUSTER_LABEL, "operator": "In", "values": list(KWOK)}]
    required = {"nodeSelectorTerms": [{"matchExpressions": terms}]}
    spec["affinity"] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
    }
    return spec


def _ready(user: User, name: str) -> int:
    status = user.get("deployment", name)["status"]
    return int(status.get("readyReplicas", 0))


def _submit(user: User, name: str) -> None:
    user.apply(config_map("settings", MODE="train"), secret("access", password="hunter2"))
    user.apply(deployment(name, replicas=PODS, spec=_spec()))


def _below(federation: Federation) -> dict[str, dict[str, int]]:
    return {name: ours_below(federation.computes[name]) for name in KWOK}


def _created(federation: Federation, prefix: str) -> list[int]:
    """How often each pod of a Deployment was created below, over both clusters."""
    counts = [pods_created(federation.computes[name]) for name in KWOK]
    total = counts[0] + counts[1]
    return [n for name, n in total.items() if name.startswith(f"{prefix}-")]


def test_500_pods_become_ready_and_leave_nothing_behind(user: User, federation: Federation) -> None:
    start = time.monotonic()
    _submit(user, "many")
    until(lambda: _ready(user, "many") == PODS, f"{PODS} pods are Ready", timeout=TIMEOUT)
    print(f"{PODS} pods Ready after {time.monotonic() - start:.1f} s")
    used = {p["spec"]["nodeName"] for p in user.items("pods")}
    assert used == {"vnode-kwok-a", "vnode-kwok-b"}
    assert sum(b["pods"] for b in _below(federation).values()) == PODS

    start = time.monotonic()
    user.kubectl("delete", "deployment", "many", "--wait=false")
    until(lambda: not user.items("pods"), "all pods are gone", timeout=TIMEOUT)
    print(f"{PODS} pods gone after {time.monotonic() - start:.1f} s")
    until(
        lambda: all(b == NOTHING for b in _below(federation).values()),
        "nothing of ours is left in the compute clusters",
    )
    assert _created(federation, "many") == [1] * PODS


def test_an_agent_killed_in_the_middle_creates_every_pod_exactly_once(
    user: User, federation: Federation, agent: AgentProcess
) -> None:
    _submit(user, "crash")
    until(lambda: len(_created(federation, "crash")) > PODS // 5, "it is in the middle of them")
    agent.kill()
    done_before = len(_created(federation, "crash"))
    assert done_before < PODS, "the agent was too fast to be killed in the middle"
    agent.start()
    until(lambda: _ready(user, "crash") == PODS, f"{PODS} pods are Ready", timeout=TIMEOUT)

    uids = {p["metadata"]["uid"] for p in user.items("pods")}
    copies = [
        copy["metadata"]["annotations"]["vnode.dev/uid"]
        for name in KWOK
        for copy in User(federation.computes[name], "demo--team-a").items("pods")
    ]
    assert len(copies) == PODS
    assert set(copies) == uids
    answers = [
        codes
        for name in KWOK
        for pod_name, codes in create_answers(federation.computes[name]).items()
        if pod_name.startswith("crash-")
    ]
    assert len(answers) == PODS
    # A create whose caller was killed before the answer is logged as 504. There is a copy, so it
    # was done; whatever was asked after it has to have been told that the pod exists.
    unanswered = [codes for codes in answers if codes.count(201) != 1]
    print(f"created exactly once: {PODS}, of which the answer was lost: {unanswered}")
    assert all(code == 409 for codes in unanswered for code in codes[1:])
