"""How pods and copies end: deletion from both sides, orphans, losses, tokens, addresses."""

from dataclasses import replace

import pytest

from tests.builders import (
    NODE,
    NODE_ADDRESS,
    UID_1,
    UID_2,
    condition,
    container_status,
    make_copy,
    make_error,
    make_pod,
    make_uid,
    running_status,
)
from tests.fakes.backend import UNREACHABLE, FakeBackend
from tests.unit.pods.world import Agent, World
from vnode.backend import (
    ObservedPod,
    PodEvent,
    PodRequest,
    Rejected,
    Sight,
    TokenKey,
    Waiting,
)
from vnode.kube.resources import PODS
from vnode.kube.types import UID, ObjectKey, OwnerReference
from vnode.pods.view import FORWARDED

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")
STATUS = "patch pods/status"
HALF_DAY = 12 * 3600
FORBIDDEN = Waiting("no right to delete", reason="ComputeForbidden", not_done=True)
TOKEN_VOLUME = {
    "name": "kube-api-access-x",
    "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "t"}}]},
}


async def running(world: World, **pod: object) -> ObjectKey:
    """A pod that runs and is shown as running."""
    key = world.create(make_pod(**pod))  # type: ignore[arg-type]
    await world.settle(2)
    world.below.start(key)
    await world.settle(2)
    assert world.status(key)["phase"] == "Running"
    return key


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
        await world.settle(80)
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


async def running_then_down(world: World) -> None:
    world.start()
    await running(world)
    await world.stop()


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


class TestOrphans:
    async def test_a_force_deleted_pod_s_copy_is_deleted_with_its_own_grace(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        world.delete(KEY, grace=0)
        await world.settle(1)
        assert not world.below.called("delete"), "one sighting is not enough"
        await world.settle(5)
        assert [call[4] for call in world.below.called("delete")] == [None]

    async def test_also_when_the_agent_was_down(self, world: World) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=0)
        world.start()
        await world.settle(10)
        assert world.below.copies[KEY].deleting

    async def test_a_copy_stays_while_the_tenant_cannot_be_asked(self, world: World) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=0)
        world.tenant.fail(make_error(503), "get pods", times=1000)
        world.start()
        await world.settle(600)
        assert not world.below.called("delete")

    async def test_a_deletion_that_is_refused_is_tried_ever_more_rarely(self, world: World) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=0)
        for _ in range(1000):
            world.below.fail("delete", error=FORBIDDEN)
        world.start()
        await world.settle(120)
        early = len(world.below.called("delete"))
        assert 4 <= early <= 8
        await world.settle(600)
        assert 7 <= len(world.below.called("delete")) - early <= 11

    async def test_after_one_went_well_the_next_is_tried_as_eagerly(self, world: World) -> None:
        await running_then_down(world)
        world.delete(KEY, grace=0)
        for _ in range(20):
            world.below.fail("delete", error=FORBIDDEN)
        world.start()
        await world.settle(300)
        world.below.faults.clear()
        await world.settle(80)
        world.below.finish_deletion(KEY)
        await running(world, uid=UID_2)
        for _ in range(20):
            world.below.fail("delete", error=FORBIDDEN)
        before = len(world.below.called("delete"))
        world.delete(KEY, grace=0)
        await world.settle(20)
        assert len(world.below.called("delete")) - before >= 3

    async def test_a_copy_whose_pod_exists_after_all_stays(self, world: World) -> None:
        world.below.put(make_copy())
        world.tenant.put(PODS, make_pod(node="renamed"))
        world.start()
        await world.settle(600)
        assert not world.below.called("delete")

    async def test_a_copy_of_an_earlier_pod_of_that_name_goes(self, world: World) -> None:
        world.below.put(make_copy())
        world.tenant.put(PODS, make_pod(uid=UID_2, node="elsewhere"))
        world.start()
        await world.settle(10)
        assert world.below.copies[KEY].deleting


class TestLosses:
    async def test_an_evicted_pod_fails_with_what_operators_act_on(self, world: World) -> None:
        world.start()
        await running(world)
        world.below.evict(KEY)
        await world.settle(1)
        shown = world.status(KEY)
        assert (shown["phase"], shown["reason"]) == ("Failed", "Evicted")
        terminated = shown["containerStatuses"][0]["state"]["terminated"]
        assert terminated["exitCode"] == 137
        disrupted = world.condition(KEY, "DisruptionTarget")
        assert disrupted is not None
        assert disrupted["status"] == "True"
        assert world.events() == ["Evicted"]
        await world.settle()
        assert world.below.made[UID_1] == 1

    async def test_a_copy_that_went_while_the_agent_was_down_is_lost(self, world: World) -> None:
        await running_then_down(world)
        world.below.evict(KEY)
        world.start()
        await world.settle(2)
        assert world.status(KEY)["reason"] == "Evicted"

    async def test_nothing_is_lost_before_the_compute_side_confirms(self, world: World) -> None:
        agent = world.start()
        await running(world)
        agent.backend._known.clear()  # the watch lost it; it is there
        agent.queue.add(KEY)
        await world.settle(120)
        assert world.status(KEY)["phase"] == "Running"

    async def test_nothing_is_lost_while_the_compute_side_does_not_answer(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        for _ in range(100):
            world.below.fail("confirm_gone", error=UNREACHABLE)
        world.below.evict(KEY)
        await world.settle(600)
        assert world.status(KEY)["phase"] == "Running"

    async def test_a_lost_pod_is_shown_as_failed_although_a_write_fails(self, world: World) -> None:
        world.start()
        await running(world)
        world.tenant.fail(make_error(500), STATUS, times=3)
        world.below.evict(KEY)
        await world.settle(5)
        assert world.status(KEY)["phase"] == "Failed"

    async def test_somebody_s_kubectl_delete_below_is_a_loss_once_it_is_done(
        self, world: World
    ) -> None:
        world.start()
        await running(world)
        world.below.kill(KEY)
        await world.settle(5)
        assert world.status(KEY)["phase"] == "Running"
        world.below.finish_deletion(KEY)
        await world.settle(5)
        assert world.status(KEY)["reason"] == "Evicted"

    async def test_it_is_told_of_while_its_containers_end(self, world: World) -> None:
        world.start()
        await running(world)
        uid = world.below.copies[KEY].uid
        assert world.leaving == []
        world.below.kill(KEY)
        await world.settle(5)
        assert set(world.leaving) == {(uid, uid)}

    async def test_what_the_tenant_deletes_is_not_told_of(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY)
        await world.settle(5)
        assert world.below.copies[KEY].deleting
        world.below.finish_deletion(KEY)
        await world.settle(5)
        assert world.leaving == []

    async def test_a_terminal_pod_s_copy_is_stopped(self, world: World) -> None:
        world.start()
        await running(world)
        world.edit_status(KEY, phase="Failed", reason="Preempted")
        await world.settle(1)
        assert world.below.copies[KEY].deleting
        world.below.finish_deletion(KEY)
        await world.settle()
        assert world.status(KEY)["phase"] == "Failed"
        assert world.status(KEY)["reason"] == "Preempted"


class TestRefusedStatus:
    async def test_phase_and_containers_are_written_when_the_rest_is_refused(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(0.5)
        world.below.start(KEY)
        await world.settle(1)
        shown = world.status(KEY)
        assert shown["phase"] == "Running"
        assert shown["containerStatuses"][0]["ready"] is True
        assert "StatusRefused" in world.events()

    async def test_of_containers_only_what_every_api_server_takes_is_written_then(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(0.5)
        newer = container_status(user={"from": "the future"}, started=True)
        world.below.show(KEY, running_status(containerStatuses=[newer]))
        await world.settle(0.5)
        _, core = world.tenant.named(STATUS)[:2]
        (container,) = core.body["status"]["containerStatuses"]
        assert container.keys() == newer.keys() - {"user"}

    async def test_the_mark_of_forwarding_is_kept_in_any_case(self, world: World) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(3)
        assert world.condition(KEY, FORWARDED) is not None
        world.below.evict(KEY)
        await world.restart()
        await world.settle()
        assert world.below.made[UID_1] == 1
        assert world.status(KEY)["phase"] == "Failed"

    async def test_a_status_never_reaches_a_successor(self, world: World) -> None:
        world = World(latency=1.0, seed=1)
        try:
            world.start()
            world.create(make_pod())
            while not world.below.copies:
                await world.settle(0.05)
            world.below.start(KEY)
            world.tenant.drop(PODS, KEY)
            world.create(make_pod(uid=UID_2))
            await world.settle()
            assert "containerStatuses" not in world.status(KEY)
        finally:
            await world.stop()


class TestTokens:
    async def test_tokens_are_written_once_and_renewed_at_four_fifths(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        await world.settle(60)
        assert len(world.below.called("put_tokens")) == 1
        assert set(world.below.tokens["below-1"]) == {TokenKey("", HALF_DAY)}
        await world.settle(HALF_DAY * 0.74)
        assert len(world.below.called("put_tokens")) == 1
        await world.settle(HALF_DAY * 0.12)
        assert len(world.below.called("put_tokens")) == 2

    async def test_where_they_cannot_be_renewed_they_come_with_the_pod(self, world: World) -> None:
        can = replace(FakeBackend.capabilities, token_refresh=False, start_tokens=86400)
        world.start().backend.capabilities = can
        await running(world, volumes=[TOKEN_VOLUME])
        await world.settle(2 * HALF_DAY)
        (call,) = world.tenant.named("create serviceaccounts/token")
        assert call.body["spec"]["expirationSeconds"] == 86400
        assert set(world.below.tokens["below-1"]) == {TokenKey("", HALF_DAY)}
        assert not world.below.called("put_tokens")

    async def test_a_restart_asks_for_no_new_token(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        await world.restart()
        await world.settle(600)
        assert len(world.below.called("put_tokens")) == 1

    async def test_tokens_of_finished_pods_are_not_renewed(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        world.below.end(KEY)
        await world.settle(2 * HALF_DAY)
        assert len(world.below.called("put_tokens")) == 1

    async def test_a_token_that_is_refused_is_explained_and_asked_for_again(
        self, world: World
    ) -> None:
        world.start()
        error = make_error(403, 'serviceaccounts "default" is forbidden')
        world.tenant.fail(error, "create serviceaccounts/token", times=3)
        key = world.create(make_pod(volumes=[TOKEN_VOLUME]))
        await world.settle(1)
        assert "TokenRequestFailed" in world.events()
        await world.settle(60)
        assert len(world.below.called("put_tokens")) == 1
        assert "reason" not in world.status(key)

    async def test_it_is_bound_to_exactly_this_pod(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        (call,) = world.tenant.named("create serviceaccounts/token")
        assert call.key == ObjectKey("team-a", "default")
        assert call.body["spec"] == {
            "audiences": [],
            "expirationSeconds": HALF_DAY,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "job-0",
                "uid": UID_1,
            },
        }


class TestAddresses:
    async def test_isolated_pods_show_addresses_of_their_own(self, world: World) -> None:
        world.flat_network = False
        world.start()
        keys = [await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(20)]
        shown = {world.status(key)["podIP"] for key in keys}
        assert len(shown) == 20
        assert all(ip.startswith("198.18.0.") for ip in shown)
        assert world.status(keys[0])["podIPs"] == [{"ip": world.status(keys[0])["podIP"]}]

    async def test_they_keep_them_over_a_restart_and_nobody_gets_them_twice(
        self, world: World
    ) -> None:
        world.flat_network = False
        world.start()
        before = {
            key: world.status(key)["podIP"]
            for key in [await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(100)]
        }
        await world.restart()
        after = {
            key: world.status(key)["podIP"]
            for key in [
                await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(100, 200)
            ]
        }
        assert {key: world.status(key)["podIP"] for key in before} == before
        assert len({*before.values(), *after.values()}) == 200

    async def test_an_address_comes_back_when_its_pod_is_gone(self, world: World) -> None:
        world.flat_network = False
        agent = world.start()
        await running(world)
        assert len(agent.addresses) == 1
        world.delete(KEY)
        await world.settle(1)
        world.below.finish_deletion(KEY)
        await world.settle(1)
        assert len(agent.addresses) == 0

    async def test_without_a_free_address_the_pod_says_so(self, world: World) -> None:
        world.flat_network = False
        agent = world.start()
        for number in range(254):
            agent.addresses.learn(make_uid(1000 + number), f"198.18.0.{1 + number}")
        world.create(make_pod())
        await world.settle(1)
        world.below.start(KEY)
        await world.settle(5)
        assert world.events() == ["NoPodAddress"]

    async def test_flat_pods_show_the_address_of_their_copy(self, world: World) -> None:
        world.start()
        await running(world)
        assert world.status(KEY)["podIP"] == running_status()["podIP"]
        assert world.status(KEY)["hostIP"] == NODE_ADDRESS


class TestEventsFromBelow:
    @staticmethod
    def said(uid: str) -> PodEvent:
        return PodEvent(
            key=KEY,
            uid=UID_1 if uid == UID_1 else UID_2,
            node=NODE,
            type="Warning",
            reason="FailedMount",
            message="no such claim",
        )

    async def test_they_are_told_of_the_pod(self, world: World) -> None:
        world.start()
        await running(world)
        for watcher in world.below.event_watchers:
            watcher(self.said(UID_1))
        await world.settle(1)
        assert world.events() == ["FailedMount"]

    async def test_those_of_a_predecessor_are_not_told_of_its_successor(self, world: World) -> None:
        world.start()
        await running(world)
        for watcher in world.below.event_watchers:
            watcher(self.said(UID_2))
        await world.settle(1)
        assert world.events() == []


async def test_a_readiness_gate_of_the_tenant_holds_readiness_back(world: World) -> None:
    world.start()
    key = await running(world, readinessGates=[{"conditionType": "x/ready"}])
    ready = world.condition(key, "Ready")
    assert ready is not None
    assert ready["status"] == "False"

    conditions = [*world.status(key)["conditions"], condition("x/ready")]
    world.edit_status(key, conditions=conditions)
    await world.settle(1)
    ready = world.condition(key, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
