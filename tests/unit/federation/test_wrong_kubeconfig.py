"""A kubeconfig that leads to another cluster: nothing is deleted, and it is said what is wrong."""

import asyncio

import pytest
import structlog

from federation.backends.kubernetes.translate.names import Owner
from tests.builders import OWNER
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from tests.unit.federation.both_sides import LONG, Sides
from vnode.kube.resources import NAMESPACES

pytestmark = pytest.mark.looptime

LEFT_ALONE = "pods of another tenant cluster with this tenant's name are left alone"


def another_cluster(name: str, uid: str = "another") -> WatchingClient:
    """A cluster in which there is nothing."""
    cluster = WatchingClient(name=name, unix_time=LoopClock().time)
    cluster.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": uid}})
    return cluster


async def running() -> Sides:
    sides = Sides()
    await sides.run_a_pod()
    await sides.stop()
    sides.compute.calls.clear()
    return sides


def deletions(cluster: WatchingClient) -> list[str]:
    return [call.name for call in cluster.calls if call.verb == "delete"]


async def agent_runs(sides: Sides) -> list[str]:
    """One more agent, for long; what it logged."""
    with structlog.testing.capture_logs() as logs:
        sides.start()
        sides.backend.namespaces.add("team-a")
        await asyncio.sleep(LONG)
        await sides.stop()
    return [str(entry["event"]) for entry in logs if entry["log_level"] == "warning"]


async def test_an_agent_started_with_another_tenant_s_kubeconfig_leaves_all_copies_alone() -> None:
    sides = await running()
    sides.tenant = another_cluster("tenant")
    sides.owner = Owner(tenant=OWNER.tenant, cluster_uid="another")
    warnings = await agent_runs(sides)
    assert warnings.count(LEFT_ALONE) == 1
    assert not deletions(sides.compute)
    assert sides.copy()["status"]["phase"] == "Running"
    assert sides.namespace() is not None


async def test_a_tenant_that_is_exchanged_under_an_agent_has_nothing_deleted() -> None:
    """The server behind the address is another one, which knows none of our pods."""
    sides = await running()
    sides.tenant = another_cluster("tenant")
    warnings = await agent_runs(sides)
    assert "nothing is deleted below: the tenant is another cluster now" in warnings
    assert not deletions(sides.compute)
    assert sides.copy()["status"]["phase"] == "Running"


async def test_an_agent_started_with_another_compute_kubeconfig_gives_no_pod_up() -> None:
    sides = await running()
    sides.compute = another_cluster("compute")
    await agent_runs(sides)
    assert sides.pod()["status"]["phase"] == "Running"
    assert "ComputeReplaced" in sides.events()
    assert sides.copy() is None, "nor is it made a second time"
    assert not deletions(sides.tenant)
