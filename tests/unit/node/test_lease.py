"""Renewal of a virtual node's Lease, against an API server in memory."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from tests.fakes.clock import LoopClock
from tests.unit.node.builders import NAME
from tests.unit.node.fake_api import Body, FakeApi
from vnode.kube.errors import Unreachable
from vnode.kube.types import UID
from vnode.node.lease import NodeLease

pytestmark = pytest.mark.looptime


class World:
    """One lease and all that it looks at."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.uid: UID | None = UID("node-1")
        self.lease = NodeLease(
            self.api.client,
            NAME,
            node_uid=lambda: self.uid,
            clock=LoopClock(epoch=1_800_000_000),
            rng=random.Random(1),
        )

    @asynccontextmanager
    async def running(self, seconds: float) -> AsyncIterator[None]:
        task = asyncio.create_task(self.lease.run())
        try:
            await asyncio.sleep(seconds)
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def owner(self) -> object:
        metadata = cast("Body", self.api.objects["Lease"]["metadata"])
        (owner,) = cast("list[Body]", metadata["ownerReferences"])
        return owner["uid"]


@pytest.fixture
def world() -> World:
    return World()


async def test_the_lease_is_made_once_and_renewed_every_ten_seconds_without_reading(
    world: World,
) -> None:
    async with world.running(55):
        assert [call.verb for call in world.api.calls] == ["create", *["patch"] * 5]


async def test_the_lease_belongs_to_the_node_and_lasts_forty_seconds(world: World) -> None:
    async with world.running(1):
        lease = world.api.objects["Lease"]
    assert world.owner() == "node-1"
    assert lease["spec"] == {
        "holderIdentity": "vnode-gpu",
        "leaseDurationSeconds": 40,
        "renewTime": "2027-01-15T08:00:00.000000Z",
    }


async def test_every_call_uses_the_connection_for_leases(world: World) -> None:
    world.api.put("Lease", {"metadata": {"name": NAME, "uid": "other"}})
    async with world.running(30):
        assert {call.verb for call in world.api.calls} == {"create", "get", "patch"}
        assert {call.session for call in world.api.calls} == {"lease"}


async def test_a_lease_of_an_earlier_run_is_taken_over_with_its_new_owner(world: World) -> None:
    old: Body = {"name": NAME, "uid": "l", "ownerReferences": [{"uid": "node-0"}]}
    world.api.put("Lease", {"metadata": {**old, "labels": {"keep": "me"}}})
    async with world.running(1):
        assert world.owner() == "node-1"
        metadata = cast("Body", world.api.objects["Lease"]["metadata"])
        assert metadata["labels"] == {"keep": "me"}


async def test_a_new_node_gets_the_lease(world: World) -> None:
    async with world.running(5):
        world.uid = UID("node-2")
        await asyncio.sleep(10)
        assert world.owner() == "node-2"


async def test_a_lease_that_was_collected_with_its_node_is_made_again(world: World) -> None:
    async with world.running(5):
        world.api.remove("Lease")
        await asyncio.sleep(10)
        assert "Lease" in world.api.objects


async def test_a_lease_that_somebody_else_changed_is_read_and_renewed(world: World) -> None:
    async with world.running(5):
        world.api.put("Lease", world.api.objects["Lease"])
        await asyncio.sleep(10)
        assert [call.verb for call in world.api.calls] == ["create", "patch", "get", "patch"]


async def test_without_a_node_there_is_no_lease(world: World) -> None:
    world.uid = None
    async with world.running(30):
        assert world.api.calls == []
        world.uid = UID("node-1")
        await asyncio.sleep(2)
        assert world.owner() == "node-1"


async def test_failures_are_retried_quickly_and_for_ever(world: World) -> None:
    async with world.running(5):
        world.api.failures = [Unreachable("cut") for _ in range(100)]
        await asyncio.sleep(30)
        assert len(world.api.failures) < 94
        await asyncio.sleep(500)
        assert world.api.failures == []
        calls = len(world.api.calls)
        await asyncio.sleep(10)
        assert len(world.api.calls) == calls + 1


async def test_a_call_that_hangs_is_given_up_in_time_for_another(world: World) -> None:
    hangs = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        hangs.set()
        await asyncio.sleep(3600)

    async with world.running(5):
        original, world.api.patch = world.api.patch, hang  # type: ignore[assignment,method-assign]
        await hangs.wait()
        world.api.patch = original  # type: ignore[method-assign]
        await asyncio.sleep(9)
        # Whether the patch arrived is not known, so it looks what is there.
        assert world.api.verbs("Lease") == ["create", "create", "patch"]
