"""Pods that were given up, when the link is back or the agent was restarted."""

import asyncio

import pytest

from tests.builders import UID_1, make_copy, make_error
from tests.fakes.backend import UNREACHABLE
from tests.unit.pods.partition.silence import finish_deletions, patient, run
from tests.unit.pods.world import World

pytestmark = pytest.mark.looptime


async def test_when_the_link_is_back_the_copy_goes_and_then_its_fence(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.mend()
    await world.settle(30)
    assert world.below.copies[key].deleting
    assert len(world.fenced()) == 1  # It may still run.
    finish_deletions(world)
    await world.settle(30)
    assert world.fenced() == []
    assert world.status(key)["phase"] == "Failed"
    assert world.below.made[UID_1] == 1


async def test_a_copy_that_ended_meanwhile_needs_no_fence_and_revives_nothing(
    world: World,
) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.below.end(key)
    world.mend()
    await world.settle(60)
    assert world.fenced() == []
    assert world.status(key)["phase"] == "Failed"


async def test_a_link_that_answers_in_time_spares_the_pod(world: World) -> None:
    key = await run(world, patient())
    for _ in range(5):
        world.cut()
        await world.settle(50)
        world.mend()
        await world.settle(5)
    assert world.status(key)["phase"] == "Running"
    assert world.fenced() == []


async def test_a_place_that_was_exchanged_proves_nothing(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    assert world.agent is not None
    world.agent.backend.places["team-a"] = "another"
    world.below.evict(key)
    world.mend()
    await world.settle(300)
    assert len(world.fenced()) == 1


async def test_a_create_that_lands_late_still_finds_its_fence(world: World) -> None:
    world.start()
    world.below.fail("apply", error=UNREACHABLE)
    key = world.create(patient(say="fail-after=5s"))
    asyncio.get_running_loop().call_later(0.2, world.cut)
    await world.settle(30)
    assert [f.uid for f in world.fenced()] == [UID_1]
    world.mend()
    await world.settle(40)
    assert len(world.fenced()) == 1  # Nothing is seen, but it may be on its way.
    world.below.put(make_copy(patient()))
    await world.settle(30)
    assert world.below.copies[key].deleting
    finish_deletions(world)
    await world.settle(10)
    assert world.fenced() == []


async def test_a_copy_that_cannot_be_seen_stays_fenced(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.below.hide(key)
    world.mend()
    await world.settle(300)
    assert len(world.fenced()) == 1
    assert key in world.below.copies


async def test_a_pod_that_was_being_deleted_is_given_up_and_then_goes(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(10)
    world.delete(key)
    await world.settle(30)
    assert world.pod(key) is not None
    await world.settle(100)
    assert world.pod(key) is None
    assert [f.uid for f in world.fenced()] == [UID_1]


# --- restarts -------------------------------------------------------------------------------------


async def test_after_a_restart_the_time_begins_anew(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(50)
    await world.restart()
    await world.settle(50)
    assert world.status(key)["phase"] == "Running"
    await world.settle(30)
    assert world.status(key)["phase"] == "Failed"


@pytest.mark.parametrize("call", ["patch nodes", "patch pods/status"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("back", [False, True])
async def test_an_agent_that_dies_at_a_write_leaves_nothing_unfenced(
    world: World, call: str, after: bool, back: bool
) -> None:
    key = await run(world, patient())
    world.tenant.calls.clear()
    world.tenant.fail(make_error(500, "killed"), call, after=after, times=10**6)
    world.cut()
    for _ in range(500):
        if world.tenant.named(call):
            break
        await world.settle(0.3)
    await world.stop()
    world.tenant.heal()
    assert (world.status(key)["phase"] == "Failed") <= bool(world.fenced())
    if back:
        world.mend()
    world.start()
    await world.settle(300)
    if world.status(key)["phase"] == "Failed" and not back:
        assert [f.uid for f in world.fenced()] == [UID_1]
    world.mend()
    await world.settle(100)
    finish_deletions(world)
    await world.settle(100)
    assert world.fenced() == []
    assert world.below.made[UID_1] == 1
    runs = key in world.below.copies
    assert runs == (world.status(key)["phase"] == "Running")
