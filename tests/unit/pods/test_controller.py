"""The pod controller between a tenant and a backend: what it brings below, and when."""

import pytest

from tests.builders import UID_1, UID_2, condition, make_pod, make_uid
from tests.unit.pods.acts import STATUS, running
from tests.unit.pods.world import World
from vnode.backend import Sight, WaitingReason
from vnode.kube.resources import PODS
from vnode.pods.view import FORWARDED

pytestmark = pytest.mark.looptime


class TestForwarding:
    async def test_a_life_costs_five_writes_and_no_read(self, world: World) -> None:
        world.start()
        world.create(make_pod("neighbour", uid=UID_2))  # shares the service variables
        await world.settle(60)
        world.tenant.calls.clear()
        world.below.calls.clear()
        key = world.create(make_pod())
        await world.settle(0.5)
        world.below.start(key)
        await world.settle(60)
        world.below.end(key)
        await world.settle(60)
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()

        assert world.pod(key) is None
        assert world.tenant.names() == [STATUS, STATUS, "delete pods"]
        assert [call[0] for call in world.below.calls] == ["apply", "delete"]

    async def test_a_running_pod_that_is_deleted_is_removed_once(self, world: World) -> None:
        world.start()
        key = await running(world)
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()

        assert world.pod(key) is None
        assert len(world.tenant.named("delete pods")) == 1

    async def test_a_pod_that_a_finalizer_keeps_is_not_deleted_again_and_again(
        self, world: World
    ) -> None:
        world.start()
        key = await running(world)
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(finalizers=["x/y"]))
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(labels={"a": "b"}))
        await world.settle()

        assert len(world.tenant.named("delete pods")) == 1
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(finalizers=[]))
        assert world.pod(key) is None

    async def test_a_quick_start_is_shown_with_one_status_write(self, world: World) -> None:
        world.start()
        key = world.create(make_pod())
        await world.settle(0.5)
        world.below.start(key)
        await world.settle()
        assert [call.name for call in world.tenant.calls if call.verb != "get"] == [STATUS]

    async def test_a_slow_start_is_marked_as_forwarded(self, world: World) -> None:
        world.start()
        key = world.create(make_pod())
        await world.settle()
        marked = world.condition(key, FORWARDED)
        assert marked is not None
        assert marked["status"] == "True"

    async def test_an_own_write_is_known_before_the_watch_tells_of_it(self) -> None:
        world = World(lag=5.0, seed=2)
        try:
            agent = world.start()
            await world.settle(6)
            key = world.create(make_pod())
            await world.settle(10)
            world.below.start(key)
            while world.status(key)["phase"] != "Running":
                await world.settle(0.01)
            calls = len(world.tenant.calls)
            for _ in range(5):
                agent.queue.add(key)
                await world.settle(0.01)
            assert len(world.tenant.calls) == calls
        finally:
            await world.stop()

    async def test_pods_of_other_nodes_are_nobody_s_business(self, world: World) -> None:
        world.start()
        world.create(make_pod(node="a-real-node"))
        await world.settle()
        assert not world.below.calls
        assert not world.tenant.calls

    async def test_a_changed_annotation_reaches_the_copy(self, world: World) -> None:
        world.start()
        key = await running(world)
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(annotations={"a": "b"}))
        await world.settle(1)
        assert len(world.below.called("update")) == 1

    async def test_a_restart_writes_nothing(self, world: World) -> None:
        world.start()
        for number in range(10):
            await running(world, name=f"job-{number}", uid=make_uid(number))
        calls, applied = len(world.tenant.calls), len(world.below.calls)

        await world.restart()
        await world.settle()

        assert len(world.tenant.calls) == calls
        assert len(world.below.calls) == applied

    async def test_an_end_that_was_missed_while_down_is_shown(self, world: World) -> None:
        world.start()
        key = await running(world)
        await world.stop()
        world.below.end(key, exit_code=3)
        world.start()
        await world.settle()
        assert world.status(key)["phase"] == "Failed"

    async def test_what_the_node_lifecycle_controller_wrote_is_put_right(
        self, world: World
    ) -> None:
        world.start()
        key = await running(world)
        not_ready = [condition("Ready", "False", reason="NodeNotReady")]
        world.edit_status(key, conditions=not_ready)
        await world.settle(1)
        ready = world.condition(key, "Ready")
        assert ready is not None
        assert ready["status"] == "True"
        assert "reason" not in ready


class TestBeforeAnythingIsSeen:
    async def test_a_short_while_says_nothing(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        world.create(make_pod())
        await world.settle(3)
        assert not world.tenant.calls

    async def test_a_long_one_is_explained_and_ends(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        agent.backend.unseen_because = WaitingReason("ComputeForbidden", "no right to look")
        key = world.create(make_pod())
        await world.settle(60)
        assert world.status(key)["reason"] == "ComputeForbidden"
        assert world.status(key)["message"] == "no right to look"
        assert world.tenant.names() == [STATUS]
        agent.backend.sights.clear()
        await world.settle(2)
        assert world.below.made[UID_1] == 1
        await world.settle(2)
        assert "reason" not in world.status(key)

    async def test_pods_that_may_have_a_copy_keep_their_status(self, world: World) -> None:
        world.start()
        key = await running(world)
        agent = await world.restart()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        calls = len(world.tenant.calls)
        await world.settle(120)
        assert len(world.tenant.calls) == calls
        assert world.status(key)["phase"] == "Running"
