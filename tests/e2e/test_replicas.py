"""Two replicas and two compute clusters: they share the work, and either takes the other's over.

The replicas have addresses and credentials of their own, as pods have, so that the Node's address
says who serves it and the audit logs say who wrote what.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.agents.replica import credential_ids, replica
from tests.clusters import ClusterSpec, Harness, NodePool, can_run_containers
from tests.e2e import twins
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import NAMESPACE, config_map, pod
from tests.reliability.evidence import AuditMark, uids
from vnode.kube.types import UID, ObjectKey
from vnode.pods.partition.fence_list import FENCED, Fence, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.apart

CLUSTERS = ("gpu-a", "gpu-b")
LEASES = "vnode-system"
PODS = 6
TAKEOVER = 60.0
"""Seconds until another replica has a Lease whose holder says nothing: 15, and a busy machine."""


@dataclass(frozen=True)
class Pair:
    """Two replicas, each with the federation as it sees it."""

    federation: Federation
    agents: tuple[AgentProcess, AgentProcess]
    views: tuple[Federation, Federation]

    @property
    def user(self) -> User:
        return User(self.federation.tenant)

    def leads(self, agent: AgentProcess, cluster: str) -> bool:
        """Whether it holds the Lease, by its own word: `share` writes no time into it."""
        shown = ("get", "lease", f"vnode-{cluster}", "--ignore-not-found", "-o", "json")
        text = self.federation.tenant.kubectl(f"--namespace={LEASES}", *shown)
        spec = json.loads(text)["spec"] if text.strip() else {}
        return spec.get("holderIdentity") == agent.identity and "renewTime" in spec

    def address(self, cluster: str) -> str:
        node = self.user.get("node", f"vnode-{cluster}")
        found = node["status"]["addresses"] if node else []
        return next((a["address"] for a in found if a["type"] == "InternalIP"), "")

    def share(self) -> None:
        """Let each replica lead one cluster: which one gets which is chance otherwise."""
        for agent in self.agents:
            agent.stop()
        for agent, cluster in zip(self.agents, CLUSTERS, strict=True):
            made = _lease(cluster, agent)
            self.federation.tenant.kubectl("delete", "--ignore-not-found", "-f", "-", input=made)
            self.federation.tenant.kubectl("create", "-f", "-", input=made)
        for agent in self.agents:
            agent.start()
        self.wait_led(dict(zip(CLUSTERS, self.agents, strict=True)))
        self.agents[0].wait_ready(timeout=60)

    def wait_led(self, wanted: dict[str, AgentProcess]) -> None:
        until(
            lambda: all(self.leads(agent, cluster) for cluster, agent in wanted.items()),
            "the Leases are where they should be",
            timeout=TAKEOVER,
        )


def _lease(cluster: str, holder: AgentProcess) -> str:
    """Held by that replica, which takes it back at once, and for some time by nobody else."""
    spec = {"holderIdentity": holder.identity, "leaseDurationSeconds": 60}
    metadata = {"name": f"vnode-{cluster}", "namespace": LEASES}
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    return json.dumps({**lease, "metadata": metadata, "spec": spec})


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    real = can_run_containers()[0]
    own = ClusterSpec("tenant", kwok=NodePool(1, gpus=0, labels={}))
    simulated = [ClusterSpec(name, kwok=NodePool(1)) for name in CLUSTERS]
    if real:
        simulated[1] = ClusterSpec(CLUSTERS[1], real_nodes=1)
    with Harness(progress=lambda _: None) as mine:
        clusters = twins.up(mine, [own, *simulated])
        tenant = clusters.pop("tenant")
        directory = tmp_path_factory.mktemp("replicas")
        joined = join(mine, tenant, clusters, directory=directory)
        views = joined, replica(joined, "agent-1", "127.0.0.2")
        with ExitStack() as stack:
            stack.enter_context(twins.beside(mine, joined, directory))
            first, second = (
                stack.enter_context(AgentProcess(view, identity=f"agent-{number}"))
                for number, view in enumerate(views)
            )
            yield Pair(joined, (first, second), views)


@pytest.fixture
def shared(pair: Pair) -> Iterator[Pair]:
    """Each replica leads one cluster, in which pods run."""
    pair.share()
    user = pair.user
    user.apply(
        *(pod(f"{c}-{n}", cluster=c, labels={"on": c}) for c in CLUSTERS for n in range(PODS))
    )
    for cluster in CLUSTERS:
        _wait_running(user, cluster)
    yield pair
    for agent in pair.agents:
        agent.ensure_running()
    user.kubectl("delete", "pods", "--all", "--wait=false", "--grace-period=1")
    until(lambda: not user.items("pods"), "the namespace is empty again", timeout=90)


def _wait_running(user: User, group: str) -> None:
    def running() -> bool:
        pods = user.items("pods", f"on={group}")
        return [p["status"].get("phase") for p in pods] == ["Running"] * PODS

    until(running, f"the pods of {group} run", timeout=90)


def _both(pair: Pair) -> dict[str, dict[str, str]]:
    """UIDs of all pods in the tenant and of all copies."""
    below = {n: uids(User(c, BELOW).items("pods")) for n, c in pair.federation.computes.items()}
    return {"tenant": uids(pair.user.items("pods")), **below}


def _marks(pair: Pair) -> list[AuditMark]:
    """From now on, of all API servers."""
    clusters = (pair.federation.tenant, *pair.federation.computes.values())
    return [AuditMark(cluster) for cluster in clusters]


def _serves(pair: Pair, cluster: str) -> str:
    """What the kubelet API of a virtual node says through the tenant's API server."""
    path = f"/api/v1/nodes/vnode-{cluster}/proxy/healthz"
    return pair.user.kubectl("get", f"--raw={path}", check=False)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_either_replica_takes_the_others_cluster_over_with_all_its_pods(
    shared: Pair, how: str
) -> None:
    staying, leaving = shared.agents
    assert shared.address("gpu-a") != shared.address("gpu-b")
    before, marks = _both(shared), _marks(shared)
    began = time.monotonic()
    leaving.kill() if how == "kill" else leaving.stop()
    shared.wait_led(dict.fromkeys(CLUSTERS, staying))
    until(lambda: shared.address("gpu-b") == shared.address("gpu-a"), "the Node's address is new")
    until(lambda: _serves(shared, "gpu-b") == "ok", "its kubelet API answers through the tenant")
    took = time.monotonic() - began
    print(f"{how}: served by the other replica after {took:.1f} s")
    if how == "stop":
        assert took < 12, "an orderly end gives the Lease back"
    shared.user.apply(pod("after", cluster="gpu-b", command="echo hello; sleep 3600"))
    shared.user.wait_phase("after", "Running")
    if shared.federation.computes["gpu-b"].nodes:
        assert shared.user.kubectl("logs", "after") == "hello\n"
        assert shared.user.kubectl("exec", "after", "--", "echo", "hi") == "hi\n"
    shared.user.kubectl("delete", "pod", "after")
    assert _both(shared) == before
    written = [mark.of_pods({NAMESPACE, BELOW}, but={"after"}) for mark in marks]
    assert not any(written), written


def test_a_replica_that_wakes_up_after_its_lease_was_taken_writes_nothing(shared: Pair) -> None:
    staying, sleeper = shared.agents
    ids = credential_ids(shared.views[1])
    sleeper.pause()
    try:
        shared.wait_led(dict.fromkeys(CLUSTERS, staying))
        # Things to do, of which its watches tell as soon as it goes on.
        user = shared.user
        user.apply(
            config_map("news", a="b"),
            *(pod(f"new-{n}", cluster="gpu-b", labels={"on": "new"}) for n in range(PODS)),
        )
        _wait_running(user, "new")
        user.kubectl("delete", "pods", "--selector=on=gpu-b", "--wait=false", "--grace-period=1")
        user.kubectl("label", "pods", "--selector=on=new", "touched=yes")
        marks = _marks(shared)
    finally:
        sleeper.resume()
    until(lambda: "lease lost" in sleeper.log.read_text(), "it knows that it leads no more")
    time.sleep(5)
    written = [w for mark in marks for w in mark.writes() if w.credential in ids]
    assert written == []
    assert shared.leads(staying, "gpu-b")
    others = [w for mark in marks for w in mark.writes() if w.credential]
    assert others, "the audit logs do not tell credentials"


def test_a_fence_that_the_other_replica_has_just_written_holds_a_successor(shared: Pair) -> None:
    user, node, name = shared.user, "vnode-gpu-b", "twin"
    # As young as it is, the replica of that node does not take the old copy for gone.
    fence = Fence(ObjectKey(NAMESPACE, name), UID("an-older-pod"), int(time.time()))
    user.kubectl("annotate", "node", node, f"{FENCED}={encode([fence])}")
    user.apply(pod(name, cluster="gpu-a"))
    until(
        lambda: user.get("pod", name)["status"].get("reason") == "PredecessorFenced",
        "the successor waits",
    )
    assert not pods_created(shared.federation.computes["gpu-a"])[name]
    user.kubectl("annotate", "node", node, f"{FENCED}-")
    user.wait_phase(name, "Running", timeout=90)
