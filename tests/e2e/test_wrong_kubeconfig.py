"""An agent that is started with the kubeconfig of another tenant cluster, which has no pods.

By the looks of it every pod below has lost its tenant pod. Nothing may be deleted.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.agents import AgentProcess, join
from tests.agents.join import uid_of
from tests.clusters import ClusterSpec, Harness, NodePool
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import config_map, deployment, pod_spec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters import Cluster

pytestmark = pytest.mark.apart

POOL, PODS = "pool", 20
VOLUMES = [{"name": "v", "configMap": {"name": "settings"}}]
TOLERATIONS = [{"key": "vnode.dev/provider", "operator": "Exists"}]
LEFT_ALONE = "pods of another tenant cluster with this tenant's name are left alone"
SETTLED_SECONDS = 15.0
"""Orphans are deleted some two seconds after they were seen first."""


def _deletions(cluster: Cluster) -> list[str]:
    """What the agent has deleted in our namespace, from the audit log."""
    assert cluster.audit_log is not None
    entries = [
        json.loads(line)
        for line in cluster.audit_log.read_text().splitlines()
        if '"delete' in line and BELOW in line
    ]
    return [
        entry["objectRef"].get("name", "")
        for entry in entries
        if entry["verb"].startswith("delete") and "vnode" in entry["user"]["username"]
    ]


def _running(user: User) -> list[str]:
    pods = user.items("pods", "app=steady")
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]


def _uids(below: User) -> dict[str, str]:
    """Every object of ours below."""
    return {
        f"{kind} {each['metadata']['name']}": each["metadata"]["uid"]
        for kind in ("pods", "configmaps", "secrets")
        for each in below.items(kind, "vnode.dev/tenant")
    }


def test_nothing_is_deleted_below_and_the_log_says_what_is_wrong(scratch: Path) -> None:
    if requested():
        pytest.skip("needs control planes of its own")
    with Harness(state=scratch / "state") as harness:
        pool = ClusterSpec(POOL, kwok=NodePool(1))
        specs = [ClusterSpec("tenant"), ClusterSpec("stranger"), pool]
        clusters = twins.up(harness, specs)
        tenant, stranger = clusters.pop("tenant"), clusters.pop("stranger")
        right = join(harness, tenant, clusters, directory=scratch / "right")
        uid = uid_of(tenant)
        wrong = join(harness, stranger, clusters, directory=scratch / "wrong", uid=uid)
        user, below = User(tenant), User(clusters[POOL], BELOW)
        # Else the stranger's agent is refused before it looks at copies.
        clusters[POOL].kubectl("annotate", "namespace", BELOW, "vnode.dev/cluster-uid-")
        with twins.beside(harness, right, scratch):
            with AgentProcess(right) as agent:
                agent.wait_ready()
                spec = pod_spec(cluster=POOL, volumes=VOLUMES, tolerations=TOLERATIONS)
                user.apply(
                    config_map("settings", a="1"), deployment("steady", replicas=PODS, spec=spec)
                )
                until(lambda: len(_running(user)) == PODS, "all run", timeout=90)
            before = _uids(below)
            with AgentProcess(wrong, identity="stray") as stray:
                stray.wait_ready()
                until(lambda: LEFT_ALONE in stray.log.read_text(), "it says what is wrong")
                time.sleep(SETTLED_SECONDS)
            assert _uids(below) == before
            assert _deletions(clusters[POOL]) == []
            with AgentProcess(right) as agent:
                agent.wait_ready()
                time.sleep(SETTLED_SECONDS)
            assert len(_running(user)) == PODS
            assert _uids(below) == before, "nor was anything made anew"
