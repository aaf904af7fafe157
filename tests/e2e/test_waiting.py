"""Pods that cannot run: why they wait is told on the pod, and they run once they can."""

import json
from typing import Any

from tests.agents import AgentProcess, Federation
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import pod

KWOK = "kwok-a"


def _reason(user: User, name: str, reason: str) -> Any:
    """Wait until status.reason of a pod says that."""

    def said() -> Any:
        seen = user.get("pod", name)
        return seen if seen and seen["status"].get("reason") == reason else None

    return until(said, f"status.reason of pod {name} is {reason}")


def test_a_pod_that_does_not_fit_below_says_why(user: User, federation: Federation) -> None:
    below = User(federation.computes[KWOK], BELOW)
    nodes = [n["metadata"]["name"] for n in below.items("nodes")]
    below.kubectl("cordon", *nodes)
    try:
        user.apply(pod("stuck", cluster=KWOK))
        seen = _reason(user, "stuck", "Unschedulable")
        assert "unschedulable" in seen["status"]["message"]
        conditions = {c["type"]: c for c in seen["status"]["conditions"]}
        assert conditions["vnode.dev/ComputeScheduled"]["status"] == "False"
        until(lambda: user.event_reasons("stuck")["FailedScheduling"], "there is an event")
    finally:
        below.kubectl("uncordon", *nodes)
    user.wait_phase("stuck", "Running")


def test_quota_below_is_the_waiting_reason(user: User, federation: Federation) -> None:
    below = User(federation.computes[KWOK], BELOW)
    below.kubectl("create", "quota", "tight", "--hard=count/pods=0")
    try:
        user.apply(pod("over", cluster=KWOK))
        seen = _reason(user, "over", "QuotaExceeded")
        assert BELOW not in str(seen["status"])
        assert "QuotaExceeded" in user.kubectl("get", "pod", "over")
        until(lambda: user.event_reasons("over")["QuotaExceeded"], "there is an event")
        described = user.kubectl("describe", "pod", "over")
        assert "exceeded quota: tight" in described
        assert BELOW not in described
        raised = {"spec": {"hard": {"count/pods": "100"}}}
        below.kubectl("patch", "quota", "tight", "-p", json.dumps(raised))
        user.wait_phase("over", "Running", timeout=90)
    finally:
        below.kubectl("delete", "quota", "tight")


def test_an_agent_that_starts_anew_counts_on_from_what_was_said(
    user: User, agent: AgentProcess
) -> None:
    absent = {"envFrom": [{"secretRef": {"name": "absent"}}]}
    user.apply(pod("patient", cluster=KWOK, container=absent))
    before = until(lambda: _event(user, "patient"), "there is an event")
    agent.stop()
    agent.start()
    until(lambda: _event(user, "patient")["count"] > before["count"], "it is said again")
    after = _event(user, "patient")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["count"] == before["count"] + 1


def _event(user: User, name: str) -> Any:
    """What is said of a pod whose Secret is missing."""
    told = [e for e in user.items("events") if e["involvedObject"]["name"] == name]
    found = [e for e in told if e["reason"] == "MandatorySecretNotFound"]
    assert len(found) < 2
    return found[0] if found else None
