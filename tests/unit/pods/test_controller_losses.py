"""One side without the other: copies whose pod is gone, pods whose copy is gone."""

import pytest

from tests.builders import UID_1, UID_2, make_copy, make_error, make_pod, make_uid
from tests.fakes.backend import UNREACHABLE
from tests.unit.pods.acts import KEY, STATUS, running, running_then_down
from tests.unit.pods.world import World
from vnode.backend import InLine, Waiting
from vnode.kube.resources import PODS

pytestmark = pytest.mark.looptime

FORBIDDEN = Waiting("no right to delete", reason="ComputeForbidden", not_done=True)


def put_orphans(world: World, count: int) -> None:
    """So many copies without tenant pod."""
    for n in range(count):
        pod = make_pod(f"job-{n}", uid=make_uid(n))
        world.below.put(make_copy(pod, handle=f"below-{n}"))


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

    @pytest.mark.parametrize(
        "error",
        [InLine("others are first", seconds=5.0), Waiting("busy", reason="Busy", not_done=True)],
    )
    async def test_deletions_that_were_not_carried_out_count_for_none(
        self, world: World, error: Waiting
    ) -> None:
        """At most 50 go in a minute."""
        put_orphans(world, 60)
        for _ in range(60):
            world.below.fail("delete", error=error)
        world.start()
        await world.settle(50)
        assert sum(copy.deleting for copy in world.below.copies.values()) == 50

    async def test_one_that_may_have_been_carried_out_counts_once(self, world: World) -> None:
        put_orphans(world, 50)
        for _ in range(10):
            world.below.fail("delete", error=UNREACHABLE)
        world.start()
        await world.settle(50)
        assert all(copy.deleting for copy in world.below.copies.values())

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
