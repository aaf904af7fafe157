"""Pods and copies that end where the agent cannot see all: after a restart, and hidden copies."""

import pytest

from tests.builders import UID_2, make_pod
from tests.unit.pods.acts import KEY, STATUS, running
from tests.unit.pods.world import Agent, World
from vnode.backend import ObservedPod, PodRequest, Rejected, Sight
from vnode.kube.types import UID, ObjectKey, OwnerReference
from vnode.pods.view import FORWARDED

pytestmark = pytest.mark.looptime


class TestAfterARestartWithoutSight:
    """An agent before this one may have asked for a copy, and died before it was answered."""

    @staticmethod
    async def restart_barred(world: World, sight: Sight = Sight.BARRED) -> Agent:
        agent = await world.restart()
        agent.backend.sights["team-a"] = sight
        return agent

    @staticmethod
    async def die_on_a_create(world: World) -> None:
        """The agent is killed while the answer is on its way."""
        world._latency = 1.0
        while not world.below.copies:
            await world.settle(0.01)
        await world.stop()
        world._latency = 0.0

    async def test_a_pod_that_may_have_a_copy_stays_until_that_can_be_seen(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        await self.die_on_a_create(world)
        agent = await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(300)
        assert world.pod(KEY) is not None
        assert "ComputeNamespaceUnavailable" in world.events()
        agent.backend.sights.clear()
        await world.settle(80)
        assert world.below.copies[KEY].deleting
        world.below.finish_deletion(KEY)
        await world.settle(5)
        assert world.pod(KEY) is None

    async def test_a_pod_that_only_waited_for_its_namespace_goes_at_once(
        self, world: World
    ) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.BARRED
        world.create(make_pod())
        await world.settle(5)
        await self.restart_barred(world)
        await world.settle(5)
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_what_it_waited_for_counts_no_more_once_a_copy_was_asked_for(
        self, world: World
    ) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.BARRED
        world.create(make_pod())
        await world.settle(5)
        mark = world.condition(KEY, FORWARDED)
        assert mark is not None
        assert mark["status"] == "False"
        agent.backend.sights.clear()
        await self.die_on_a_create(world)
        await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(300)
        assert world.pod(KEY) is not None

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_a_place_that_opens_on_the_way_of_a_create_may_hold_a_copy(
        self, world: World, restarted: bool
    ) -> None:
        """The backend finds it open again, the answer is lost, and it is closed once more."""
        agent = world.start()
        world.create(make_pod("neighbour", uid=UID_2))  # brings what every pod refers to
        await world.settle(5)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.create(make_pod())
        await world.settle(5)
        apply = agent.backend.apply

        async def open_then_apply(request: PodRequest) -> ObservedPod:
            agent.backend.apply = apply  # type: ignore[method-assign]
            agent.backend.sights.clear()
            try:
                return await apply(request)
            finally:
                agent.backend.sights["team-a"] = Sight.BARRED

        agent.backend.apply = open_then_apply  # type: ignore[method-assign]
        world.below.fail("apply", after=True)
        await world.settle(61)
        assert KEY in world.below.copies
        if restarted:
            await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(300)
        assert world.pod(KEY) is not None

    async def test_a_daemonset_pod_that_was_left_goes_at_once(self, world: World) -> None:
        owner = OwnerReference(api_version="apps/v1", kind="DaemonSet", name="d", controller=True)
        world.start()
        world.create(make_pod(owners=[owner]))
        await world.settle(5)
        await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_a_rejected_pod_goes_at_once(self, world: World) -> None:
        agent = world.start()
        agent.backend.refuses = lambda _: Rejected("no")
        world.create(make_pod(restart="Always"))
        await world.settle(5)
        await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_a_listed_pod_that_was_rejected_goes_at_once(self, world: World) -> None:
        world.create(make_pod(restart="Always"))
        agent = world.start()
        agent.backend.refuses = lambda _: Rejected("no")
        await world.settle(5)
        await self.restart_barred(world)
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_a_listed_pod_of_which_all_was_seen_goes_at_once(self, world: World) -> None:
        world.create(make_pod())
        agent = world.start()
        agent.backend.rejects = lambda _: Rejected("no")
        await world.settle(5)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_a_listed_pod_whose_copy_turns_up_late_stays(self, world: World) -> None:
        world.start()
        world.create(make_pod(restart="Always"))
        await self.die_on_a_create(world)
        copy = world.below.copies.pop(KEY)  # The listing is older than it.
        agent = world.start()
        agent.backend.refuses = lambda _: Rejected("no")
        await world.settle(5)
        world.below.put(copy)
        await world.settle(0.2)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.delete(KEY)
        await world.settle(300)
        assert world.pod(KEY) is not None

    async def test_a_pod_of_a_namespace_that_is_never_brought_here_goes_at_once(
        self, world: World
    ) -> None:
        world.create(make_pod())
        await self.restart_barred(world, Sight.NOWHERE)
        world.delete(KEY)
        await world.settle(1)
        assert world.pod(KEY) is None

    async def test_one_that_was_brought_here_before_that_stays_with_its_copy(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        await self.die_on_a_create(world)
        await self.restart_barred(world, Sight.NOWHERE)
        world.delete(KEY)
        await world.settle(300)
        assert world.pod(KEY) is not None
        assert "ComputeNamespaceUnavailable" in world.events()
        world.below.evict(KEY)
        await world.settle(80)
        assert world.pod(KEY) is None

    async def test_waiting_for_a_namespace_costs_two_more_writes(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.BARRED
        world.create(make_pod())
        await world.settle(100)
        assert world.tenant.named(STATUS) == world.tenant.named(STATUS)[:1]
        agent.backend.sights.clear()
        await world.settle(61)
        world.below.start(KEY)
        await world.settle(5)
        assert world.status(KEY)["phase"] == "Running"
        assert len(world.tenant.named(STATUS)) <= 4
        mark = world.condition(KEY, FORWARDED)
        assert mark is not None
        assert mark["status"] == "True"


class TestHiddenCopies:
    """A watch by label says DELETED of what lost its label."""

    @pytest.mark.parametrize("deleted_first", [False, True])
    async def test_a_pod_whose_copy_runs_unseen_is_not_removed(
        self, world: World, deleted_first: bool
    ) -> None:
        world.start()
        await running(world)
        if deleted_first:
            world.delete(KEY)
            await world.settle(1)
        world.below.hide(KEY)
        await world.settle(60)
        world.delete(KEY)
        await world.settle()
        assert world.pod(KEY) is not None
        assert "CopyNotSeen" in world.events()

    async def test_it_is_removed_once_the_copy_is_gone(self, world: World) -> None:
        world.start()
        await running(world)
        world.below.hide(KEY)
        await world.settle(60)
        world.delete(KEY)
        await world.settle(60)
        world.below.evict(KEY)
        await world.settle(80)
        assert world.pod(KEY) is None

    async def test_a_copy_that_is_seen_again_is_mirrored_and_deleted_in_order(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        world.below.hide(KEY)
        await world.settle(60)
        assert world.status(KEY)["phase"] == "Running"
        world.below.put(world.below.copies[KEY])
        world.delete(KEY)
        await world.settle(5)
        assert world.below.copies[KEY].deleting
        world.below.finish_deletion(KEY)
        await world.settle(5)
        assert world.pod(KEY) is None

    async def test_the_compute_side_is_asked_ever_more_rarely(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agent, asked = world.start(), []
        confirm = agent.backend.confirm_gone

        async def counted(key: ObjectKey, uid: UID) -> bool:
            asked.append(key)
            return await confirm(key, uid)

        monkeypatch.setattr(agent.backend, "confirm_gone", counted)
        await running(world)
        world.below.hide(KEY)
        await world.settle(600)
        assert 10 <= len(asked) <= 16

    async def test_the_normal_end_of_a_pod_asks_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agent = world.start()

        async def unexpected(key: ObjectKey, uid: UID) -> bool:
            raise AssertionError("a read on the hot path")

        monkeypatch.setattr(agent.backend, "confirm_gone", unexpected)
        await running(world)
        world.delete(KEY)
        await world.settle(5)
        world.below.finish_deletion(KEY)
        await world.settle(5)
        assert world.pod(KEY) is None
