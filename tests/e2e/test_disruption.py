"""Copies that go without our asking: controllers of the tenant replace them, and nothing counts it.

Simulated compute nodes: what matters is what the tenant's own controllers make of the statuses.
"""

import json

from tests.agents import Federation
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import deployment, job, pod_spec

KWOK = "kwok-a"
RUNS_FOR = "pod-complete.stage.kwok.x-k8s.io/delay"


def _evict(below: User, name: str) -> None:
    """What a drain of the compute node does."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": BELOW},
    }
    path = f"/api/v1/namespaces/{BELOW}/pods/{name}/eviction"
    below.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(eviction))


def _running(user: User, selector: str, count: int) -> list[str]:
    """Wait for so many running pods; their names."""

    def running() -> list[str]:
        pods = user.items("pods", selector)
        names = [p["metadata"]["name"] for p in pods if p["status"]["phase"] == "Running"]
        return names if len(names) == count else []

    found: list[str] = until(running, f"{count} pods of {selector} run")
    return found


def test_a_deployment_replaces_pods_whose_copies_were_removed(
    user: User, federation: Federation
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    user.apply(deployment("serving", replicas=3, spec=pod_spec(cluster=KWOK)))
    first = _running(user, "app=serving", 3)
    below.kubectl("delete", "pod", first[0], "--wait=false")
    below.kubectl("delete", "pod", first[1], "--force", "--grace-period=0")
    _evict(below, first[2])

    for name in first:
        status = user.wait_phase(name, "Failed")["status"]
        assert status["reason"] == "Evicted"
        conditions = {c["type"]: c["status"] for c in status["conditions"]}
        assert conditions["DisruptionTarget"] == "True"
        assert conditions["Ready"] == "False"
        assert "terminated" in status["containerStatuses"][0]["state"]
    second = _running(user, "app=serving", 3)
    assert not set(first) & set(second)
    until(
        lambda: user.get("deployment", "serving")["status"].get("readyReplicas") == 3,
        "the Deployment is whole again",
    )
    created = pods_created(federation.computes[KWOK])
    assert [created[name] for name in (*first, *second)] == [1] * 6


def test_a_job_that_ignores_disruptions_does_not_count_a_removed_copy(
    user: User, federation: Federation
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    manifest = job("training", cluster=KWOK)
    ignored = [{"type": "DisruptionTarget", "status": "True"}]
    manifest["spec"]["backoffLimit"] = 0
    manifest["spec"]["podFailurePolicy"] = {
        "rules": [{"action": "Ignore", "onPodConditions": ignored}]
    }
    manifest["spec"]["template"]["metadata"] = {"annotations": {RUNS_FOR: "3s"}}
    user.apply(manifest)
    (first,) = _running(user, "job-name=training", 1)
    below.kubectl("delete", "pod", first, "--wait=false")
    user.wait_phase(first, "Failed")

    user.kubectl("wait", "--for=condition=Complete", "job/training", "--timeout=60s")
    status = user.get("job", "training")["status"]
    assert status["succeeded"] == 1
    assert status.get("failed", 0) == 0
    phases = sorted(p["status"]["phase"] for p in user.items("pods", "job-name=training"))
    assert phases == ["Failed", "Succeeded"]
