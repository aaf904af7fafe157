"""A virtual node's registration and upkeep, against an API server in memory."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
from structlog.testing import capture_logs

from tests.fakes.clock import LoopClock
from tests.unit.node.builders import (
    make_capacity,
    make_desired,
    make_virtual_node,
    node_json,
)
from tests.unit.node.fake_api import Body, FakeApi
from vnode.backend import Capacity
from vnode.kube.errors import ServerError, Unreachable
from vnode.kube.types import JSON
from vnode.node.controller import HEARTBEAT_INTERVAL, NodeController

pytestmark = pytest.mark.looptime


class Source:
    """A capacity source that a test turns."""

    def __init__(self) -> None:
        self.synced = True
        self.value = make_capacity()
        self._listeners: list[Callable[[], None]] = []

    def capacity(self) -> Capacity:
        return self.value

    def subscribe(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def publish(self, value: Capacity) -> None:
        self.value = value
        for listener in self._listeners:
            listener()


class World:
    """One controller and all that it looks at."""

    def __init__(self, api: FakeApi | None = None) -> None:
        self.api = api or FakeApi()
        self.source = Source()
        self.reachable: bool | None = True
        self.told: list[bool] = []
        self.carried: dict[str, str] = {}
        self.refused = False
        self.websockets = False
        self.controller = NodeController(
            self.api.client,
            make_virtual_node(),
            capacity=self.source,
            reachable=lambda: self.reachable,
            refused=lambda: self.refused,
            websockets=lambda: self.websockets,
            carried=lambda: self.carried,
            link_changed=lambda _uid, reachable: self.told.append(reachable),
            clock=LoopClock(),
            rng=random.Random(1),
        )

    @asynccontextmanager
    async def running(self, seconds: float = 3) -> AsyncIterator[None]:
        """Run the controller, for `seconds` before the block."""
        task = asyncio.create_task(self.controller.run())
        try:
            await asyncio.sleep(seconds)
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def condition(self, kind: str) -> Body:
        conditions = cast("list[Body]", cast("Body", self.api.node["status"])["conditions"])
        return next(c for c in conditions if c["type"] == kind)

    def taints(self) -> list[JSON]:
        taints = cast("list[Body]", cast("Body", self.api.node["spec"])["taints"])
        return [taint["key"] for taint in taints]

    def allocatable(self) -> JSON:
        return cast("Body", self.api.node["status"])["allocatable"]


@pytest.fixture
def world() -> World:
    return World()


async def test_a_node_is_created_with_one_call_and_then_left_alone(world: World) -> None:
    async with world.running(60):
        assert world.api.verbs() == ["create"]
        assert world.controller.uid == "uid-1"


async def test_a_node_of_ours_is_adopted_and_brought_up_to_date(world: World) -> None:
    world.api.put("Node", node_json(uid="old"))
    world.source.value = make_capacity(cpu="8", pods="5")
    async with world.running():
        assert world.controller.uid == "old"
        assert world.api.verbs() == ["patch/status"]
        assert world.allocatable() == {"cpu": "8", "pods": "5"}


async def test_a_foreign_node_is_left_alone_and_named_with_what_to_do(world: World) -> None:
    foreign = node_json()
    cast("Body", foreign["spec"])["providerID"] = "aws:///i-1"
    world.api.put("Node", foreign)
    with capture_logs() as logs:
        async with world.running(30):
            assert world.api.verbs() == []
            assert world.controller.uid is None
            world.api.remove()
            await asyncio.sleep(10)
            assert world.api.verbs() == ["create"]
    # Said once, however often it is tried.
    (problem,) = [log["error"] for log in logs if log["log_level"] == "warning"]
    assert "aws:///i-1" in problem
    assert "kubectl delete node vnode-gpu" in problem


async def test_streams_that_turn_out_to_take_websocket_are_declared_soon(world: World) -> None:
    async with world.running(5):
        world.websockets = True
        await asyncio.sleep(3)
        status = cast("Body", world.api.node["status"])
        assert status["declaredFeatures"] == ["ExtendWebSocketsToKubelet"]
        await asyncio.sleep(30)
        assert world.api.verbs() == ["create", "patch/status"]


async def test_a_deleted_node_is_back_within_ten_seconds_as_a_new_one(world: World) -> None:
    async with world.running(60):
        world.api.remove()
        await asyncio.sleep(10)
        assert world.api.verbs() == ["create", "create"]
        assert world.controller.uid == "uid-2"


async def test_a_node_deleted_during_an_api_outage_is_back_soon_after_it(world: World) -> None:
    async with world.running(60):
        world.api.failures = [Unreachable("no route") for _ in range(20)]
        world.api.remove()
        await asyncio.sleep(200)
        assert world.controller.uid == "uid-2"
        retries = [c for c in world.api.calls if c.verb == "create"]
        assert len(retries) == 1 + 20 + 1


async def test_a_foreign_change_of_our_fields_is_put_right_and_user_changes_stay(
    world: World,
) -> None:
    async with world.running(60):
        labels = cast("Body", cast("Body", world.api.node["metadata"])["labels"])
        changed = {**labels, "team": "blue", "vnode.dev/pool": "mine"}
        world.api.edit_node("metadata", labels=changed)
        world.api.edit_node("spec", taints=[{"key": "user", "effect": "NoExecute"}])
        world.api.edit_node("status", allocatable={"cpu": "999"})
        await asyncio.sleep(3)
        labels = cast("Body", cast("Body", world.api.node["metadata"])["labels"])
        assert (labels["team"], labels["vnode.dev/pool"]) == ("blue", "a100")
        assert world.taints() == ["user"]
        assert world.allocatable() == make_capacity().allocatable
        assert set(world.api.verbs()[1:]) == {"patch/status"}


async def test_a_thousand_capacity_changes_in_a_second_are_a_handful_of_writes(
    world: World,
) -> None:
    async with world.running(60):
        for number in range(1, 1001):
            world.source.publish(make_capacity(cpu=str(number)))
            await asyncio.sleep(0.001)
        await asyncio.sleep(3)
        assert 1 < len(world.api.verbs()[1:]) <= 3
        assert world.allocatable() == {"cpu": "1000", "pods": "10000"}


async def test_the_first_change_after_a_quiet_time_is_published_at_once(world: World) -> None:
    async with world.running(60):
        world.source.publish(make_capacity(cpu="7"))
        await asyncio.sleep(0.01)
        assert world.allocatable() == {"cpu": "7", "pods": "10000"}


async def test_capacity_that_never_rests_is_published_ever_more_seldom(world: World) -> None:
    async with world.running(60):
        for number in range(1, 601):
            world.source.publish(make_capacity(cpu=str(number)))
            await asyncio.sleep(0.1)
        assert 8 <= len(world.api.verbs()[1:]) <= 11
        world.api.remove()
        await asyncio.sleep(2)
        assert world.controller.uid == "uid-2"
        await asyncio.sleep(10)
        assert world.allocatable() == {"cpu": "600", "pods": "10000"}


async def test_capacity_that_is_not_complete_never_replaces_what_is_published(
    world: World,
) -> None:
    world.api.put("Node", node_json())
    world.source.synced = False
    world.source.value = make_capacity(cpu="0")
    async with world.running(60):
        assert world.allocatable() == make_capacity().allocatable
        world.source.synced = True
        world.source.publish(make_capacity(cpu="3"))
        await asyncio.sleep(2)
        assert world.allocatable() == {"cpu": "3", "pods": "10000"}


async def test_a_node_remade_while_capacity_is_incomplete_shows_the_last_known(
    world: World,
) -> None:
    async with world.running(60):
        world.source.synced = False
        world.api.remove()
        await asyncio.sleep(3)
        assert world.allocatable() == make_capacity().allocatable


async def test_compute_lost_and_found_moves_condition_and_taint_but_not_ready(
    world: World,
) -> None:
    async with world.running(60):
        world.reachable = False
        await asyncio.sleep(5)
        assert world.condition("vnode.dev/ComputeReachable")["status"] == "False"
        assert world.condition("Ready")["status"] == "True"
        assert world.taints() == ["vnode.dev/provider", "vnode.dev/compute-unreachable"]
        world.reachable = True
        await asyncio.sleep(5)
        assert world.condition("vnode.dev/ComputeReachable")["status"] == "True"
        assert world.taints() == ["vnode.dev/provider"]
        assert world.api.verbs()[1:] == ["patch", "patch/status"] * 2


async def test_heartbeats_of_conditions_come_every_five_minutes_and_write_nothing_else(
    world: World,
) -> None:
    async with world.running(4 * HEARTBEAT_INTERVAL - 1):
        writes = world.api.verbs()[1:]
        assert set(writes) == {"patch/status"}
        assert 3 <= len(writes) <= 4
        status = [cast("Body", cast("Body", c.body)["status"]) for c in world.api.calls[1:]]
        assert all(set(body) == {"conditions"} for body in status)


async def test_every_patch_is_bound_to_the_uid_of_the_node(world: World) -> None:
    async with world.running(60):
        world.reachable = False
        world.source.publish(make_capacity({"gpu": "A100"}, cpu="1"))
        await asyncio.sleep(5)
        taint, rest = (call.body for call in world.api.calls[1:])
        assert cast("list[Body]", taint)[0]["value"] == "uid-1"
        assert cast("Body", cast("Body", rest)["metadata"])["uid"] == "uid-1"


async def test_a_server_error_is_retried_until_the_write_succeeds(world: World) -> None:
    world.api.failures = [ServerError("etcd is slow", code=500) for _ in range(6)]
    async with world.running(60):
        assert world.api.verbs() == ["create"] * 7


async def test_nothing_is_ever_deleted(world: World) -> None:
    async with world.running(1000):
        world.api.remove()
        await asyncio.sleep(10)
    await asyncio.sleep(100)
    assert "Node" in world.api.objects


async def test_an_agent_that_knows_nothing_of_the_link_yet_leaves_what_the_node_shows(
    world: World,
) -> None:
    world.api.put("Node", node_json(make_desired(reachable=False)))
    world.reachable = None
    async with world.running(30):
        assert world.condition("vnode.dev/ComputeReachable")["status"] == "False"
        assert "vnode.dev/compute-unreachable" in world.taints()
        assert world.told == []
        world.reachable = True
        await asyncio.sleep(5)
        assert world.condition("vnode.dev/ComputeReachable")["status"] == "True"
        assert world.taints() == ["vnode.dev/provider"]
        assert world.told == [True]


async def test_each_turn_of_the_link_is_told_once_and_not_again_by_the_next_agent(
    world: World,
) -> None:
    async with world.running(10):
        assert world.told == []
        world.reachable = False
        await asyncio.sleep(30)
        assert world.told == [False]
    successor = World(world.api)
    successor.reachable = False
    async with successor.running(30):
        assert successor.told == []


async def test_a_node_that_is_made_again_has_the_annotations_that_must_not_be_lost(
    world: World,
) -> None:
    async with world.running(10):
        world.carried = {"vnode.dev/fenced": "{}"}
        world.api.remove()
        await asyncio.sleep(10)
        notes = cast("Body", cast("Body", world.api.node["metadata"])["annotations"])
        assert notes["vnode.dev/fenced"] == "{}"


async def test_a_refused_credential_is_told_from_silence_while_it_lasts(world: World) -> None:
    kind = "vnode.dev/ComputeReachable"
    async with world.running():
        world.reachable = False
        await asyncio.sleep(10)
        assert world.condition(kind)["reason"] == "ComputeUnreachable"
        world.refused = True
        await asyncio.sleep(10)
        shown = world.condition(kind)
        assert (shown["status"], shown["reason"]) == ("False", "ComputeRefusesAgent")
        assert "vnode join" in str(shown["message"])
        world.reachable, world.refused = True, False
        await asyncio.sleep(10)
        assert world.condition(kind)["status"] == "True"
    assert world.told == [False, True]
