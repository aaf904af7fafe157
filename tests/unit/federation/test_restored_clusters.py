"""One of the two clusters is restored from a backup while the agent works."""

import asyncio
from typing import Any

import pytest

from tests.builders import make_key, make_pod, make_uid
from tests.fakes.watching import Backup, WatchingClient
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.kube.errors import Unreachable
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

NEXT = make_key("job-1")
NEXT_COPY = ObjectKey(BELOW, "job-1")


def pod_of_the_next(sides: Sides) -> Any:
    return sides.tenant.get_body(PODS, NEXT)


def copy_of_the_next(sides: Sides) -> Any:
    return sides.compute.get_body(PODS, NEXT_COPY)


async def run_the_next(sides: Sides) -> None:
    """A second pod, which runs too."""
    sides.tenant.put(PODS, make_pod("job-1", uid=make_uid(2)))
    await asyncio.sleep(20)
    sides.compute.edit(PODS, NEXT_COPY, lambda body: body["status"].update(phase="Running"))
    await asyncio.sleep(20)
    assert pod_of_the_next(sides)["status"]["phase"] == "Running"


async def restore_and_overtake(cluster: WatchingClient, backup: Backup) -> None:
    """Before it answers the agent again, it has versions higher than all that the agent saw."""
    for call in ("list pods", "watch pods"):
        cluster.fail(Unreachable("away"), call, times=10**6)
    cluster.restore(backup)
    await asyncio.sleep(10)
    cluster.move_on()
    cluster.heal()


class TestOfARestoredTenant:
    async def test_the_copy_of_a_pod_that_it_does_not_know_is_deleted(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.tenant.backup()
        await run_the_next(sides)
        sides.tenant.restore(backup)
        await asyncio.sleep(60)
        assert copy_of_the_next(sides)["metadata"].get("deletionTimestamp")
        assert not sides.copy()["metadata"].get("deletionTimestamp")

    async def test_a_pod_that_has_its_copy_shows_how_that_is_now(self, sides: Sides) -> None:
        sides.tenant.put(PODS, make_pod())
        backup = sides.tenant.backup()
        await sides.run_a_pod()
        made = sides.copy()["metadata"]["uid"]
        sides.tenant.restore(backup)
        await asyncio.sleep(60)
        assert sides.pod()["status"]["phase"] == "Running"
        assert sides.copy()["metadata"]["uid"] == made

    async def test_a_pod_that_ran_and_was_deleted_is_failed(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.tenant.backup()
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(5)
        sides.compute.delete_gracefully(PODS, COPY, 0)
        await asyncio.sleep(60)
        assert sides.pod() is None
        sides.tenant.restore(backup)
        await asyncio.sleep(LONG)
        assert sides.pod()["status"]["phase"] == "Failed"
        assert sides.copy() is None

    async def test_a_pod_that_was_being_deleted_goes_again(self, sides: Sides) -> None:
        await sides.run_a_pod()
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        backup = sides.tenant.backup()
        await asyncio.sleep(5)
        sides.compute.delete_gracefully(PODS, COPY, 0)
        await asyncio.sleep(60)
        assert sides.pod() is None
        sides.tenant.restore(backup)
        await asyncio.sleep(LONG)
        assert sides.pod() is None

    async def test_it_is_noticed_although_it_has_passed_our_version(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.tenant.backup()
        await run_the_next(sides)
        await restore_and_overtake(sides.tenant, backup)
        await asyncio.sleep(90)
        assert copy_of_the_next(sides)["metadata"].get("deletionTimestamp")
        assert not sides.copy()["metadata"].get("deletionTimestamp")


class TestOfARestoredComputeCluster:
    async def test_a_copy_that_it_does_not_know_is_lost(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.compute.backup()
        await run_the_next(sides)
        sides.compute.restore(backup)
        await asyncio.sleep(60)
        assert pod_of_the_next(sides)["status"]["phase"] == "Failed"
        assert copy_of_the_next(sides) is None
        assert sides.pod()["status"]["phase"] == "Running"

    async def test_it_is_noticed_although_it_has_passed_our_version(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.compute.backup()
        await run_the_next(sides)
        await restore_and_overtake(sides.compute, backup)
        await asyncio.sleep(90)
        assert pod_of_the_next(sides)["status"]["phase"] == "Failed"
        assert copy_of_the_next(sides) is None
        assert sides.pod()["status"]["phase"] == "Running"

    async def test_a_copy_that_had_gone_is_deleted_again(self, sides: Sides) -> None:
        await sides.run_a_pod()
        backup = sides.compute.backup()
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(5)
        sides.compute.delete_gracefully(PODS, COPY, 0)
        await asyncio.sleep(60)
        assert sides.pod() is None
        sides.compute.restore(backup)
        await asyncio.sleep(60)
        assert sides.copy()["metadata"].get("deletionTimestamp")

    async def test_pods_are_made_there_and_followed_before_it_has_caught_up(
        self, sides: Sides
    ) -> None:
        await sides.run_a_pod()
        backup = sides.compute.backup()
        sides.compute.edit(
            PODS, COPY, lambda body: body["metadata"]["annotations"].update(by="others")
        )
        await asyncio.sleep(5)
        sides.compute.restore(backup)
        await asyncio.sleep(1)
        await run_the_next(sides)
        sides.compute.edit(PODS, COPY, lambda body: body["status"].update(phase="Succeeded"))
        await asyncio.sleep(5)
        assert sides.pod()["status"]["phase"] == "Succeeded"
