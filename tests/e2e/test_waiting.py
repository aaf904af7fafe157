"""Pods that cannot run: why they wait is told on the pod, and they run once they can."""

import json
from typing import Any

from tests.agents import Federation
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
