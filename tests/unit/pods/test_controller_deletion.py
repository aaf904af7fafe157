"""How pods and copies end when their users ask for it."""

import pytest

from tests.builders import UID_2, make_pod
from tests.fakes.backend import UNREACHABLE
from tests.unit.pods.acts import KEY, STATUS, running, running_then_down
from tests.unit.pods.world import World
from vnode.backend import Rejected, Sight, Waiting
from vnode.kube.resources import PODS

pytestmark = pytest.mark.looptime


class TestDeletion:
    async def test_a_copy_gets_what_is_left_of_the_grace_period_and_a_second(
        self, world: World
    ) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=30)
        await world.settle(12)
        world.start()
        await world.settle(1)
        assert [call[4] for call in world.below.called("delete")] == [19]

    async def test_after_a_long_outage_a_copy_gets_its_full_grace(self, world: World) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=30)
        await world.settle(3600)
        world.start()
        await world.settle(1)
        assert [call[4] for call in world.below.called("delete")] == [30]

    async def test_grace_is_counted_by_the_api_server_s_clock(self, world: World) -> None:
        world.tenant.clock_offset = 10.0
        world.start()
        await running(world)
        world.delete(KEY, grace=30)
        await world.settle(1)
        assert [call[4] for call in world.below.called("delete")] == [21]

    async def test_clocks_that_tell_whole_seconds_shorten_no_grace(self, world: World) -> None:
        world.tenant.clock_offset = 0.8
        world.start()
        await running(world)
        world.delete(KEY, grace=30)
        await world.settle(1)
        assert [call[4] for call in world.below.called("delete")] == [30]

    async def test_a_shorter_grace_is_sent_on_and_a_longer_one_is_not(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY, grace=30)
        await world.settle(1)
        world.delete(KEY, grace=60)
        await world.settle(1)
        world.delete(KEY, grace=5)
        await world.settle(1)
        assert [call[4] for call in world.below.called("delete")] == [30, 5]

    async def test_the_pod_stays_until_its_copy_is_gone_and_shows_how_it_ended(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        world.delete(KEY)
        await world.settle(100)
        assert world.pod(KEY) is not None
        world.below.finish_deletion(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None
        last = world.tenant.named(STATUS)[-1].body["status"]
        assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143

    async def test_a_copy_that_does_not_go_is_an_event(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY, grace=30)
        await world.settle(320)
        assert "CopyStuckTerminating" not in world.events()
        await world.settle(30)
        assert "CopyStuckTerminating" in world.events()

    async def test_a_deletion_is_tried_until_the_compute_cluster_takes_it(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        for _ in range(5):
            world.below.fail("delete", error=UNREACHABLE)
        world.delete(KEY)
        await world.settle(120)
        assert world.below.copies[KEY].deleting
        assert "ComputeUnreachable" in world.events()

    async def test_a_pod_whose_create_was_not_answered_is_not_removed_blindly(
        self, world: World
    ) -> None:
        world = World(lag=5.0, seed=3)
        try:
            world.start()
            await world.settle(6)
            world.below.fail("apply", after=True, error=UNREACHABLE)
            world.create(make_pod())
            while not world.below.copies:
                await world.settle(0.1)
            world.delete(KEY)
            await world.settle(8)
            assert world.pod(KEY) is not None
            assert world.below.copies[KEY].deleting
        finally:
            await world.stop()

    @staticmethod
    async def unanswered_then_barred(world: World, error: Waiting, *, made: bool) -> None:
        """A create fails, the next tries find the namespace barred, and the user deletes."""
        agent = world.start()
        agent.backend._take = lambda *_: None  # type: ignore[method-assign]  # its watch is down
        world.below.fail("apply", after=made, error=error)
        world.create(make_pod())
        await world.settle(0.5)
        assert bool(world.below.copies) is made
        agent.backend.sights["team-a"] = Sight.BARRED
        await world.settle(10)
        world.delete(KEY)
        await world.settle(100)

    async def test_a_create_that_was_not_answered_is_remembered_while_the_namespace_is_barred(
        self, world: World
    ) -> None:
        await self.unanswered_then_barred(world, UNREACHABLE, made=True)
        assert world.pod(KEY) is not None
        assert "ComputeNamespaceUnavailable" in world.events()

    async def test_a_create_that_was_answered_with_a_refusal_made_nothing(
        self, world: World
    ) -> None:
        refused = Waiting("exceeded quota", reason="QuotaExceeded", not_done=True)
        await self.unanswered_then_barred(world, refused, made=False)
        assert world.pod(KEY) is None

    async def test_a_later_refusal_says_nothing_of_a_create_that_was_not_answered(
        self, world: World
    ) -> None:
        agent = world.start()
        agent.backend._take = lambda *_: None  # type: ignore[method-assign]  # its watch is down
        world.below.fail("apply", after=True, error=UNREACHABLE)
        world.below.fail("apply", error=Rejected("no", field="spec"))
        world.create(make_pod())
        await world.settle(10)
        world.delete(KEY)
        await world.settle(100)
        assert world.pod(KEY) is not None

    async def test_a_create_that_was_answered_is_remembered_before_any_status_says_so(
        self, world: World
    ) -> None:
        agent = world.start()
        world.create(make_pod())
        await world.settle(0.1)
        assert world.below.copies
        assert not world.tenant.named(STATUS)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.delete(KEY)
        await world.settle(100)
        assert world.pod(KEY) is not None
        assert "ComputeNamespaceUnavailable" in world.events()

    async def test_a_namesake_is_not_removed_in_a_deleted_pod_s_place(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY)
        await world.settle(1)
        world.tenant.drop(PODS, KEY)
        world.create(make_pod(uid=UID_2))
        world.below.finish_deletion(KEY)
        await world.settle()
        body = world.pod(KEY)
        assert body is not None
        assert body["metadata"]["uid"] == UID_2
        assert not world.tenant.named("delete pods")
        assert world.below.copies[KEY].uid == UID_2


class TestAskingOnce:
    async def test_a_deletion_is_not_asked_for_again_before_the_watch_tells_of_it(
        self, world: World
    ) -> None:
        agent = world.start()
        await running(world)
        agent.backend._lag = lambda: 2.0
        world.delete(KEY, grace=30)
        for _ in range(15):
            await world.settle(0.1)
            agent.queue.add(KEY)
        assert len(world.below.called("delete")) == 1

    async def test_a_shorter_one_is_asked_for_at_once(self, world: World) -> None:
        agent = world.start()
        await running(world)
        agent.backend._lag = lambda: 2.0
        world.delete(KEY, grace=30)
        await world.settle(0.5)
        world.delete(KEY, grace=5)
        await world.settle(0.5)
        assert [call[4] for call in world.below.called("delete")] == [30, 5]

    async def test_one_that_the_watch_never_tells_of_is_asked_for_again(self, world: World) -> None:
        agent = world.start()
        await running(world)
        agent.backend._lag = lambda: 1000.0
        world.delete(KEY, grace=30)
        await world.settle(8)
        agent.queue.add(KEY)
        await world.settle(1)
        assert len(world.below.called("delete")) == 2
