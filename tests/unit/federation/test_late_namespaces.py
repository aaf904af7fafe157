"""What lies or waits in a namespace that opens late, or whose cluster is back, is not forgotten."""

import asyncio

import pytest

from federation.backends.kubernetes.translate.names import LABEL_TENANT
from tests.builders import OWNER, UID_2, make_key, make_pod
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.backend import Sight
from vnode.kube.errors import Unreachable
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime


def is_leaving(sides: Sides) -> bool:
    copy = sides.copy()
    return copy is None or "deletionTimestamp" in copy["metadata"]


async def test_a_copy_without_tenant_pod_goes_when_its_namespace_is_named(sides: Sides) -> None:
    await sides.run_a_pod()
    await sides.stop()
    sides.tenant.drop(PODS, make_key())  # force-deleted while the agent was down
    sides.start()
    await asyncio.sleep(2)  # the tenant's namespaces are listed later than copies
    sides.backend.namespaces.add("team-a")
    await asyncio.sleep(120)
    assert is_leaving(sides)


async def test_a_copy_whose_tenant_namespace_went_too_is_found(sides: Sides) -> None:
    await sides.run_a_pod()
    await sides.stop()
    sides.tenant.drop(PODS, make_key())
    sides.tenant_has.clear()
    sides.start()
    await asyncio.sleep(LONG)
    assert is_leaving(sides)


async def test_copied_objects_that_alone_are_left_go_and_so_does_the_namespace(
    sides: Sides,
) -> None:
    await sides.run_a_pod()
    await sides.stop()
    sides.tenant.drop(PODS, make_key())
    sides.tenant_has.clear()
    sides.compute.drop(PODS, COPY)
    assert sides.copied_objects()
    sides.start()
    await asyncio.sleep(LONG)
    assert not sides.copied_objects()
    assert sides.namespace() is None


async def test_a_copy_goes_when_its_namespace_is_ours_again(sides: Sides) -> None:
    def label(value: str) -> None:
        below = ObjectKey("", BELOW)
        sides.compute.edit(
            NAMESPACES, below, lambda body: body["metadata"]["labels"].update({LABEL_TENANT: value})
        )

    await sides.run_a_pod()
    await sides.stop()
    label("another")
    sides.tenant.drop(PODS, make_key())
    sides.start()
    sides.backend.namespaces.add("team-a")
    await asyncio.sleep(120)
    assert sides.backend.sight("team-a") is Sight.BARRED
    assert not is_leaving(sides)
    label(OWNER.tenant)
    await asyncio.sleep(120)
    assert is_leaving(sides)


async def test_a_waiting_pod_runs_as_soon_as_the_cluster_is_back(sides: Sides) -> None:
    await sides.run_a_pod()
    for call in ("get version", "create pods"):
        sides.compute.fail(Unreachable("cut"), call, times=10**6)
    sides.tenant.put(PODS, make_pod("late", uid=UID_2))
    await asyncio.sleep(600)
    late = sides.tenant.get_body(PODS, make_key("late"))
    assert late is not None
    assert late["status"]["reason"] == "ComputeUnreachable"
    sides.compute.heal()
    await asyncio.sleep(10.5)  # it is asked every ten seconds
    assert sides.compute.get_body(PODS, ObjectKey(BELOW, "late")) is not None
