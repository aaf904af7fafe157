"""An agent that dies at each write of a pod's life in turn, on real API servers.

Agent number n dies at write n about pod `point-n`: at even numbers before the write is sent, at odd
ones when it is done and not heard of. The next agent ends what it left, and dies at its own. The
unit test of the same name has both moments of every write.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec, Harness, NodePool
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import config_map, pod, secret

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.apart

POOL = "pool"
TOLERATIONS = [{"key": "vnode.dev/provider", "operator": "Exists"}]
MOST = 30
"""More writes than a life has."""
PATIENCE = 60.0


def _pod(name: str) -> Any:
    volumes = [
        {"name": "v", "configMap": {"name": name}},
        {"name": "s", "secret": {"secretName": name}},
    ]
    return pod(name, cluster=POOL, tolerations=TOLERATIONS, volumes=volumes)


def _dead(agent: AgentProcess) -> bool:
    return not agent.alive


def _live(user: User, agent: AgentProcess, name: str) -> bool:
    """One life: made, changed, deleted. False: the agent died before it ended."""
    user.apply(config_map(name, a="1"), secret(name, b="2"), _pod(name))

    def running() -> bool:
        found = user.get("pod", name)
        return bool(found and found["status"].get("phase") == "Running")

    until(lambda: _dead(agent) or running(), f"{name} runs", timeout=PATIENCE)
    if _dead(agent):
        return False
    user.kubectl("label", "pod", name, "changed=yes")
    time.sleep(1.0)
    if _dead(agent):
        return False
    user.kubectl("delete", "pod", name, "--wait=false")
    until(lambda: _dead(agent) or user.get("pod", name) is None, f"{name} goes", timeout=PATIENCE)
    time.sleep(2.0)  # What it referred to goes after it.
    return not _dead(agent)


def test_whichever_write_it_dies_at_the_next_agent_ends_it(scratch: Path) -> None:
    if requested():
        pytest.skip("needs clusters of its own")
    with Harness(state=scratch / "state") as harness:
        specs = [ClusterSpec("tenant"), ClusterSpec(POOL, kwok=NodePool(1))]
        clusters = twins.up(harness, specs)
        tenant = clusters.pop("tenant")
        strict = {POOL: {"startOnce": "strict"}}
        federation = join(harness, tenant, clusters, directory=scratch / "a", overrides=strict)
        user, below = User(tenant), User(clusters[POOL], BELOW)
        with twins.beside(harness, federation, scratch):
            points = _die_everywhere(federation, user)
            print(f"{points} writes, one death each")
            with AgentProcess(federation) as agent:
                agent.wait_ready()
                until(lambda: _rests(user, below), "all comes to its end", timeout=90)
        created = pods_created(clusters[POOL])
        assert {created[f"point-{n}"] for n in range(points)} == {1}, created


def _die_everywhere(federation: Federation, user: User) -> int:
    for number in range(MOST):
        name = f"point-{number}"
        program = (sys.executable, "-m", "tests.agents.dying", str(number), name)
        with AgentProcess(federation, program=program) as agent:
            if _live(user, agent, name):
                return number
    raise AssertionError("a life has no end")


def _rests(user: User, below: User) -> bool:
    """Every pod that is there runs, has its copy, and no other copy or object is left."""
    names = {p["metadata"]["name"]: p for p in user.items("pods")}
    copies = {p["metadata"]["name"]: p for p in below.items("pods", "vnode.dev/tenant")}
    objects = {o["metadata"]["name"] for o in below.items("configmaps", "vnode.dev/tenant")}
    phases = {p["status"].get("phase") for p in names.values()}
    wanted = {name for name in objects if name.startswith("point-")}
    uids = all(
        copies[name]["metadata"]["annotations"]["vnode.dev/uid"] == p["metadata"]["uid"]
        and copies[name]["metadata"]["labels"].get("changed")
        == p["metadata"].get("labels", {}).get("changed")
        for name, p in names.items()
        if name in copies
    )
    return names.keys() == copies.keys() == wanted and phases == {"Running"} and uids
