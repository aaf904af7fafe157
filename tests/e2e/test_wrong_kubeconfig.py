"""An agent that is started with the kubeconfig of another tenant cluster, which has no pods.

By the looks of it every pod below has lost its tenant pod. Nothing may be deleted.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.agents import AgentProcess, join
from tests.clusters import ClusterSpec
from tests.clusters.existing import requested
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import config_map, deployment, pod_spec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

KWOK = "kwok-a"
LEFT_ALONE = "pods of another tenant cluster with this tenant's name are left alone"
SETTLED_SECONDS = 15.0
"""Orphans are deleted some two seconds after they were seen first."""


def _deletions(cluster: Cluster) -> list[str]:
    """What the agent has deleted in our namespace, from the audit log."""
    if cluster.audit_log is None:
        pytest.skip("the audit log of a given cluster cannot be read")
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


def test_nothing_is_deleted_below_and_the_log_says_what_is_wrong(
    user: User, agent: AgentProcess, federation: Federation, harness: Harness, scratch: Path
) -> None:
    if requested():
        pytest.skip("needs a control plane of its own")
    compute = federation.computes[KWOK]
    below = User(compute, BELOW)
    spec = pod_spec(cluster=KWOK, volumes=[{"name": "v", "configMap": {"name": "settings"}}])
    user.apply(config_map("settings", a="1"), deployment("steady", replicas=20, spec=spec))
    until(lambda: len(_running(user)) == 20, "all run", timeout=90)
    before, deleted = _uids(below), _deletions(compute)
    agent.stop()

    stranger = harness.up([ClusterSpec("stranger")])["stranger"]
    wrong = join(harness, stranger, {KWOK: compute}, directory=scratch / "wrong")
    with AgentProcess(wrong, identity="stray") as stray:
        stray.wait_ready()
        until(lambda: LEFT_ALONE in stray.log.read_text(), "it says what is wrong")
        time.sleep(SETTLED_SECONDS)
        assert _uids(below) == before
    assert _deletions(compute) == deleted

    agent.ensure_running()
    agent.wait_ready()
    assert len(_running(user)) == 20
    assert _uids(below) == before, "nor was anything made anew"
