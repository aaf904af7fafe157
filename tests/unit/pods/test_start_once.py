"""startOnce: strict. A copy starts only when its tenant pod says that it was made."""

from dataclasses import replace

import pytest

from tests.builders import UID_1, UID_2, condition, make_error, make_pod
from tests.fakes.backend import UNREACHABLE, FakeBackend
from tests.unit.pods.world import World
from vnode.kube.errors import ConfigError
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey
from vnode.pods.start_once import StartOnce
from vnode.pods.view import FORWARDED, copy_mark

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")
STATUS = "patch pods/status"
BROKEN = make_error(500, "broken")


@pytest.fixture
def strict(world: World) -> World:
    world.start_once = StartOnce.STRICT
    return world


def forwarded(world: World) -> bool:
    mark = world.condition(KEY, FORWARDED)
    return mark is not None and mark["status"] == "True"


async def gated(world: World, *, marked: bool) -> None:
    """An agent died with a gated copy, before or after the tenant pod was marked."""
    world.tenant.fail(BROKEN, STATUS, times=100)
    world.below.fail("ungate")
    if marked:
        world.tenant.heal()
    world.start()
    world.create(make_pod())
    await world.settle(0.5)
    await world.stop()
    world.tenant.heal()
    assert world.below.copies[KEY].gated
    assert forwarded(world) is marked


class TestTheWay:
    async def test_a_copy_starts_after_the_mark(self, strict: World) -> None:
        order: list[str] = []
        strict.tenant.on_change.append(lambda plural, *_: order.append(plural))
        strict.below.watchers.append(lambda copy, _: order.append(f"gated={copy.gated}"))
        strict.start()
        strict.create(make_pod())
        await strict.settle(0.5)
        assert order == ["pods", "gated=True", "pods", "gated=False"]
        assert forwarded(strict)

    async def test_it_costs_two_writes_more(self, strict: World) -> None:
        strict.start()
        strict.create(make_pod("neighbour", uid=UID_2))  # shares the service variables
        await strict.settle(60)
        strict.tenant.calls.clear()
        strict.below.calls.clear()
        strict.create(make_pod())
        await strict.settle(0.5)
        strict.below.start(KEY)
        await strict.settle(60)
        assert strict.tenant.names() == [STATUS, STATUS]
        assert [call[0] for call in strict.below.calls] == ["apply", "ungate"]

    async def test_relaxed_has_no_gate(self, world: World) -> None:
        world.start()
        world.create(make_pod())
        await world.settle(0.5)
        assert not world.below.called("ungate")
        assert not world.below.copies[KEY].gated

    async def test_the_gate_is_no_waiting_reason(self, strict: World) -> None:
        strict.below.fail("ungate")
        strict.start()
        strict.create(make_pod())
        await strict.settle(0.5)
        assert strict.below.copies[KEY].gated
        assert "reason" not in strict.status(KEY)


class TestRestarts:
    @pytest.mark.parametrize("marked", [False, True])
    async def test_a_gated_copy_is_started(self, strict: World, marked: bool) -> None:
        await gated(strict, marked=marked)
        strict.start()
        await strict.settle(5)
        assert not strict.below.copies[KEY].gated
        assert forwarded(strict)
        assert strict.below.made[UID_1] == 1

    async def test_an_unmarked_one_that_went_meanwhile_is_made_again(self, strict: World) -> None:
        await gated(strict, marked=False)
        strict.below.evict(KEY)
        strict.start()
        await strict.settle(5)
        assert (strict.below.made[UID_1], strict.below.started[UID_1]) == (2, 1)

    async def test_a_marked_one_that_went_meanwhile_is_lost(self, strict: World) -> None:
        await gated(strict, marked=True)
        strict.below.evict(KEY)
        strict.start()
        await strict.settle(5)
        assert strict.status(KEY)["reason"] == "Evicted"
        assert (strict.below.made[UID_1], strict.below.started[UID_1]) == (1, 0)

    async def test_relaxed_makes_one_that_went_without_mark_again(self, world: World) -> None:
        """The window that strict closes: the first one may have run."""
        world.tenant.fail(BROKEN, STATUS, times=100)
        world.start()
        world.create(make_pod())
        await world.settle(0.5)
        await world.stop()
        world.tenant.heal()
        world.below.start(KEY)
        world.below.evict(KEY)
        world.start()
        await world.settle(5)
        assert world.below.started[UID_1] == 2

    @pytest.mark.parametrize("marked", [False, True])
    async def test_strict_copies_start_after_it_was_switched_off(
        self, world: World, marked: bool
    ) -> None:
        world.start_once = StartOnce.STRICT
        await gated(world, marked=marked)
        world.start_once = StartOnce.RELAXED
        world.start()
        await world.settle(5)
        assert not world.below.copies[KEY].gated
        assert forwarded(world)

    async def test_relaxed_copies_stay_as_they_are_after_it_was_switched_on(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        await world.settle(0.5)
        world.start_once = StartOnce.STRICT
        await world.restart()
        await world.settle(5)
        assert not world.below.called("ungate")
        assert world.below.made[UID_1] == 1


class TestASecondCopy:
    """A create of ours hung in the network, or the compute cluster was restored."""

    @pytest.mark.parametrize("ran", [False, True])
    @pytest.mark.parametrize("watched", [False, True])
    async def test_a_second_gated_copy_never_starts(
        self, strict: World, ran: bool, watched: bool
    ) -> None:
        strict.start()
        strict.create(make_pod())
        await strict.settle(5)
        late = replace(strict.below.copies[KEY], gated=True, handle="late", scheduled=False)
        if ran:
            strict.below.start(KEY)
            await strict.settle(5)
        if not watched:
            await strict.stop()
        strict.below.evict(KEY)
        strict.below.put(replace(late, status=b'{"phase":"Pending"}'))
        if not watched:
            strict.start()
        await strict.settle(30)
        assert strict.below.started[UID_1] == 1
        assert KEY not in strict.below.copies
        assert (strict.status(KEY)["phase"], strict.status(KEY)["reason"]) == ("Failed", "Evicted")

    async def test_a_copy_that_got_its_gate_back_never_starts_again(self, strict: World) -> None:
        strict.start()
        strict.create(make_pod())
        await strict.settle(5)
        before = replace(strict.below.copies[KEY], gated=True, scheduled=False)
        strict.below.start(KEY)
        await strict.settle(5)
        await strict.stop()
        strict.below.put(replace(before, status=b'{"phase":"Pending"}'))
        strict.start()
        await strict.settle(30)
        assert strict.below.started[UID_1] == 1
        assert strict.status(KEY)["reason"] == "Evicted"

    async def test_a_copy_that_is_only_seen_gated_is_not_deleted(self, strict: World) -> None:
        """The watch of an agent that has just taken over is behind."""
        strict.start()
        strict.create(make_pod())
        await strict.settle(5)
        strict.below.start(KEY)
        await strict.settle(5)
        agent = strict.agent
        assert agent is not None
        running = strict.below.copies[KEY]
        agent.backend._known[KEY] = replace(running, gated=True, status=b'{"phase":"Pending"}')
        agent.queue.add(KEY)
        await strict.settle(5)
        assert strict.below.called("delete")
        assert strict.below.copies[KEY] == running
        assert strict.status(KEY)["phase"] == "Running"

    async def test_a_mark_for_another_copy_is_not_written_over(self, strict: World) -> None:
        """Another replica has marked the pod for a copy of its own, which we have not heard of."""

        def mark(copy: object, version: int) -> None:
            strict.below.watchers.remove(mark)
            other = {**condition(FORWARDED), "message": f"place 1a2b3c4d copy {copy_mark('other')}"}
            strict.tenant.edit(PODS, KEY, lambda body: body["status"].update(conditions=[other]))

        strict._lag = 1.0
        strict.below.watchers.append(mark)
        strict.start()
        strict.create(make_pod())
        await strict.settle(60)
        assert strict.below.started[UID_1] == 0


class TestRemoval:
    async def test_one_that_others_remove_before_the_mark_is_made_again(
        self, strict: World
    ) -> None:
        strict.tenant.fail(BROKEN, STATUS, times=100)
        strict.start()
        strict.create(make_pod())
        await strict.settle(0.1)
        strict.below.evict(KEY)
        strict.tenant.heal()
        await strict.settle(30)
        assert (strict.below.made[UID_1], strict.below.started[UID_1]) == (2, 1)
        assert strict.status(KEY).get("reason") is None

    async def test_one_that_others_remove_after_the_mark_is_lost(self, strict: World) -> None:
        strict.below.fail("ungate")
        strict.start()
        strict.create(make_pod())
        await strict.settle(0.1)
        strict.below.evict(KEY)
        await strict.settle(30)
        assert strict.status(KEY)["reason"] == "Evicted"
        assert strict.below.made[UID_1] == 1

    @pytest.mark.parametrize("marked", [False, True])
    async def test_a_deleted_pod_goes_and_its_copy_never_starts(
        self, strict: World, marked: bool
    ) -> None:
        await gated(strict, marked=marked)
        strict.delete(KEY)
        strict.start()
        await strict.settle(5)
        assert strict.pod(KEY) is None
        assert KEY not in strict.below.copies
        assert strict.below.started[UID_1] == 0

    async def test_a_pod_that_goes_while_it_is_marked_starts_nothing(self, strict: World) -> None:
        strict.below.watchers.append(lambda copy, _: strict.tenant.drop(PODS, KEY))
        strict.start()
        strict.create(make_pod())
        await strict.settle(0.5)
        assert not strict.below.called("ungate")
        await strict.settle(30)
        assert KEY not in strict.below.copies

    async def test_a_pod_that_is_deleted_while_it_is_marked_starts_nothing(
        self, strict: World
    ) -> None:
        def delete_once(copy: object, version: int) -> None:
            strict.below.watchers.remove(delete_once)
            strict.delete(KEY)

        strict.below.watchers.append(delete_once)
        strict.start()
        strict.create(make_pod())
        await strict.settle(5)
        assert strict.below.started[UID_1] == 0
        assert strict.pod(KEY) is None

    async def test_a_successor_waits_until_a_gated_copy_is_gone(self, strict: World) -> None:
        await gated(strict, marked=True)
        strict.delete(KEY, grace=0)
        strict.create(make_pod(uid=UID_2))
        strict.start()
        await strict.settle(5)
        assert strict.below.copies[KEY].uid == UID_2
        assert strict.below.started[UID_1] == 0
        assert strict.below.started[UID_2] == 1


async def test_a_start_that_fails_is_tried_again_and_said(strict: World) -> None:
    for _ in range(3):
        strict.below.fail("ungate", error=UNREACHABLE)
    strict.start()
    strict.create(make_pod())
    await strict.settle(60)
    assert strict.below.started[UID_1] == 1
    assert "ComputeUnreachable" in strict.events()


async def test_a_start_of_which_the_answer_is_lost_happens_once(strict: World) -> None:
    strict.below.fail("ungate", after=True)
    strict.start()
    strict.create(make_pod())
    await strict.settle(60)
    assert strict.below.started[UID_1] == 1
    strict.below.start(KEY)
    await strict.settle(5)
    assert strict.status(KEY)["phase"] == "Running"


async def test_a_change_made_meanwhile_follows(strict: World) -> None:
    await gated(strict, marked=True)
    strict.tenant.edit(PODS, KEY, lambda body: body["metadata"].update(labels={"new": "yes"}))
    strict.start()
    await strict.settle(5)
    assert [call[0] for call in strict.below.calls][-2:] == ["ungate", "update"]


def test_a_place_that_cannot_hold_pods_back_is_refused(strict: World) -> None:
    without = replace(FakeBackend.capabilities, start_gates=False)
    with pytest.raises(ConfigError, match="startOnce: relaxed"):
        StartOnce.STRICT.require(without)
    StartOnce.RELAXED.require(without)
