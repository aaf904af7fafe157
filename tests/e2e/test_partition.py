"""A compute cluster does not answer for long: who waits, who is given up, and what may start when.

One outage for all of it, as each takes a minute to be noticed: pods of every policy, their
successors here and on another cluster, and an agent that is killed in the middle.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.clusters import CommandError
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import NAMESPACE, pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import AgentProcess, Federation
    from tests.clusters import Cluster

LOST, OTHER = "kwok-b", "kwok-a"
NODE = f"vnode-{LOST}"
ON_PARTITION = "vnode.dev/on-partition"
REACHABLE = "vnode.dev/ComputeReachable"
RECOVERY = 120.0
VNODE = Path(sys.executable).with_name("vnode")


@pytest.fixture
def lost(federation: Federation) -> Iterator[Cluster]:
    """The cluster whose API server the test stops; it runs again afterwards."""
    cluster = federation.computes[LOST]
    if cluster.control_plane is None:
        pytest.skip("given clusters are not stopped")
    yield cluster
    try:
        cluster.kubectl("version", timeout=10)
    except CommandError:
        cluster.start("kube-apiserver")


def _pod(name: str, policy: str, *, cluster: str = LOST) -> Any:
    made = pod(name, cluster=cluster, restartPolicy="Never")
    made["metadata"]["annotations"] = {ON_PARTITION: policy}
    return made


def _reachable(user: User) -> str:
    conditions = user.get("node", NODE)["status"]["conditions"]
    return next((str(c["status"]) for c in conditions if c["type"] == REACHABLE), "")


def _fence(cluster: Cluster, *arguments: str) -> Any:
    """What `vnode fence` says to an administrator of the tenant."""
    command = [str(VNODE), "fence", "--kubeconfig", str(cluster.kubeconfig), "-o", "json"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _wait_reason(user: User, name: str, reason: str) -> None:
    def says() -> bool:
        return bool(user.get("pod", name)["status"].get("reason") == reason)

    until(says, f"{name} says {reason}")


def _names(rows: Any) -> set[str]:
    return {row["name"] for row in rows}


def _times(cluster: Cluster, verb: str, name: str) -> list[str]:
    """When the API server took requests about a pod of that name, by its audit log."""
    if cluster.audit_log is None:
        pytest.skip("the audit log of a given cluster cannot be read")
    found = []
    with cluster.audit_log.open() as log:
        for line in log:
            if f'"{verb}"' not in line or BELOW not in line:
                continue
            entry = json.loads(line)
            ref = entry.get("objectRef", {})
            mine = (ref.get("resource"), ref.get("namespace"), ref.get("name")) == (
                "pods",
                BELOW,
                name,
            )
            if mine and entry["verb"] == verb and not ref.get("subresource"):
                found.append(str(entry["requestReceivedTimestamp"]))
    return found


@pytest.mark.timeout(420, func_only=True)
def test_pods_of_a_lost_cluster_wait_or_are_given_up_and_never_run_twice(
    user: User, federation: Federation, agent: AgentProcess, lost: Cluster
) -> None:
    tenant = federation.tenant
    before = {}
    for name, policy in (
        ("patient", "wait"),
        ("odd", "fail-after=soon"),
        ("web", "fail-after=1s"),
        ("batch", "fail-after=1s"),
    ):
        user.apply(_pod(name, policy))
    for name in ("patient", "odd", "web", "batch"):
        before[name] = user.wait_phase(name, "Running", timeout=RECOVERY)["metadata"]["uid"]
    assert user.event_reasons("odd")["InvalidOnPartition"] == 1

    lost.stop("kube-apiserver", hard=True)
    until(lambda: _reachable(user) == "False", "the node says so", timeout=90)
    for name in ("web", "batch"):
        failed = user.wait_phase(name, "Failed", timeout=60)
        assert failed["status"]["reason"] == "ComputeUnreachable"
        assert "may still run" in failed["status"]["message"]
    rows = _fence(tenant)
    assert {(row["namespace"], row["name"], row["node"]) for row in rows} == {
        (NAMESPACE, "web", NODE),
        (NAMESPACE, "batch", NODE),
    }

    # What was given up can be deleted; its name is held, on whichever cluster.
    user.kubectl("delete", "pod", "web", "batch", "--timeout=30s")
    user.apply(_pod("web", "wait", cluster=OTHER), _pod("batch", "wait", cluster=OTHER))
    user.apply(_pod("stranger", "wait", cluster=OTHER))
    user.wait_phase("stranger", "Running", timeout=RECOVERY)
    for name in ("web", "batch"):
        _wait_reason(user, name, "PredecessorFenced")
        assert user.event_reasons(name)["PredecessorFenced"] >= 1

    # A killed agent's successor knows it all, and starts to count anew.
    agent.kill()
    agent.start()
    agent.wait_ready()
    assert _reachable(user) == "False"
    assert _names(_fence(tenant)) == {"web", "batch"}
    assert user.get("pod", "web")["status"]["phase"] == "Pending"

    # An administrator knows that one of them does not run.
    accepted = _fence(tenant, "--accept", f"{NAMESPACE}/batch")
    assert [row["accepted"] for row in accepted] == [True]
    user.wait_phase("batch", "Running", timeout=RECOVERY)
    assert user.get("pod", "web")["status"]["phase"] == "Pending"
    assert not _times(federation.computes[OTHER], "create", "web")

    lost.start("kube-apiserver")
    user.wait_phase("web", "Running", timeout=RECOVERY)
    until(lambda: not _fence(tenant), "no pod is fenced", timeout=60)
    until(lambda: _reachable(user) == "True", "the node says that it is back", timeout=90)
    for name in ("patient", "odd"):
        now = user.get("pod", name)
        assert (now["metadata"]["uid"], now["status"]["phase"]) == (before[name], "Running")
    created = pods_created(lost)
    assert {name: created[name] for name in before} == dict.fromkeys(before, 1)
    (began,) = _times(federation.computes[OTHER], "create", "web")
    assert _times(lost, "delete", "web"), "the old copy was deleted"
    assert max(_times(lost, "delete", "web")) < began


def test_default_limits_of_a_pod_that_slipped_past_the_policy_are_taken_out(
    user: User, agent: AgentProcess
) -> None:
    label = "vnode.dev/virtual-nodes"
    user.kubectl("label", "namespace", NAMESPACE, f"{label}-")
    try:
        made = pod("slipped", cluster=OTHER)
        made["spec"]["tolerations"] = [{"key": "vnode.dev/provider", "operator": "Exists"}]
        seconds = "jsonpath={.spec.tolerations[*].tolerationSeconds}"
        # Admission policies forget a label some moments later than we take it.
        until(
            lambda: (
                "300 300"
                in user.kubectl("run", "probe", "--image=none", "--dry-run=server", "-o", seconds)
            ),
            "the policy lets the namespace alone",
        )
        user.apply(made)
    finally:
        user.kubectl("label", "namespace", NAMESPACE, f"{label}=enabled", "--overwrite")
    user.wait_phase("slipped", "Running", timeout=RECOVERY)
    tolerations = user.get("pod", "slipped")["spec"]["tolerations"]
    mine = {t["key"]: t for t in tolerations if t["key"].startswith("node.kubernetes.io/")}
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        assert mine[key] == {"key": key, "operator": "Exists", "effect": "NoExecute"}
