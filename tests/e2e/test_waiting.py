"""Pods that cannot run: why they wait is told on the pod, and they run once they can."""

from typing import Any

from tests.agents import Federation
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import config_map, pod

KWOK = "kwok-a"


def _reason(user: User, name: str, reason: str) -> Any:
    """Wait until status.reason of a pod says that."""

    def said() -> Any:
        seen = user.get("pod", name)
        return seen if seen and seen["status"].get("reason") == reason else None

    return until(said, f"status.reason of pod {name} is {reason}")


def test_a_pod_waits_for_a_missing_configmap_and_runs_once_it_is_there(user: User) -> None:
    source = {"configMapRef": {"name": "later"}}
    user.apply(pod("early", cluster=KWOK, container={"envFrom": [source]}))
    _reason(user, "early", "MandatoryConfigMapNotFound")
    assert "MandatoryConfigMapNotFound" in user.kubectl("get", "pod", "early")
    until(lambda: user.event_reasons("early")["MandatoryConfigMapNotFound"], "there is an event")
    user.apply(config_map("later", a="b"))
    seen = user.wait_phase("early", "Running")
    assert "reason" not in seen["status"]


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
    finally:
        below.kubectl("delete", "quota", "tight")
    user.wait_phase("over", "Running", timeout=90)


def test_a_foreign_pod_of_the_same_name_is_never_touched(
    user: User, federation: Federation
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    below.kubectl("run", "taken", "--image=busybox")
    before = below.get("pod", "taken")["metadata"]
    try:
        user.apply(pod("taken", cluster=KWOK))
        _reason(user, "taken", "NameConflict")
        until(lambda: user.event_reasons("taken")["NameConflict"], "there is an event")
        after = below.get("pod", "taken")["metadata"]
        assert after["uid"] == before["uid"]
        assert after.get("labels") == before.get("labels")
        assert "deletionTimestamp" not in after
    finally:
        below.kubectl("delete", "pod", "taken", "--now")
    user.wait_phase("taken", "Running", timeout=90)


def test_a_pod_with_a_host_path_is_refused_with_the_field(user: User) -> None:
    volumes = [{"name": "host", "hostPath": {"path": "/"}}]
    user.apply(
        pod("always", cluster=KWOK, volumes=volumes),
        pod("never", cluster=KWOK, volumes=volumes, restartPolicy="Never"),
    )
    failed = user.wait_phase("never", "Failed")
    assert failed["status"]["reason"] == "PodRejected"
    assert "hostPath" in failed["status"]["message"]
    pending = _reason(user, "always", "PodRejected")
    assert pending["status"]["phase"] == "Pending"
    waiting = pending["status"]["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "PodRejected"
    assert user.event_reasons("always")["PodRejected"] == 1
    user.kubectl("delete", "pod", "always", "--timeout=10s")


def test_pods_of_daemonsets_stay_off_virtual_nodes(user: User, federation: Federation) -> None:
    template = {
        "metadata": {"labels": {"app": "ds"}},
        "spec": {
            "containers": [{"name": "main", "image": "busybox"}],
            "tolerations": [{"operator": "Exists"}],
        },
    }
    metadata = {"name": "ds", "namespace": user.namespace}
    spec = {"selector": {"matchLabels": {"app": "ds"}}, "template": template}
    user.apply({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
    nodes = len(federation.nodes)
    until(lambda: len(user.items("pods", "app=ds")) == nodes, "the DaemonSet has its pods")
    until(
        lambda: all(
            p["status"].get("reason") == "DaemonSetNotForwarded"
            for p in user.items("pods", "app=ds")
        ),
        "they say why they wait",
    )
    user.kubectl("delete", "daemonset", "ds")
    until(lambda: not user.items("pods", "app=ds"), "they are gone at once", timeout=10)
    assert not User(federation.computes[KWOK], BELOW).items("pods", "app=ds")
