"""kill -9 at each write of a pod's life, and what the next agent makes of it (DESIGN 5).

Many pods live at once, each in a world of its own: made, running, deleted, gone. Agent n dies at
its write n, before it is sent or when it was carried out and not answered; the next one ends what
it left. Those whose number is higher than there are writes do not die. Lives differ by a few
writes, as statuses that follow each other closely are one: what all have is died at in any case,
and the last number is beyond the end of every life.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.e2e.lifecycle.needs import Need, needs
from tests.e2e.lifecycle.tenant import until
from tests.fakes.crash import Moment
from vnode.kube.resources import CONFIG_MAPS
from vnode.pods.start_once import StartOnce

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.e2e.lifecycle.world import World

OBJECTS = 2
"""A ConfigMap, and the service variables that each pod has."""
LEAST = OBJECTS + 5 + OBJECTS
"""Writes of a life. Between its objects: the copy, that it runs, its deletion, how it ended, and
the removal of the pod."""
LEAST_OF_STRICT = LEAST + 2
"""And that it was made, before it is let start."""
SPARE = 4
"""More there may be: statuses for waiting and for ending, and what has to be tried again."""
LONG = 40.0
CONFIG = {"name": "c", "configMap": {"name": "settings"}}


async def _die_everywhere(
    worlds: Callable[[], Awaitable[World]], moment: Moment, start_once: StartOnce
) -> None:
    least = LEAST_OF_STRICT if start_once is StartOnce.STRICT else LEAST
    made = await asyncio.gather(*(worlds() for _ in range(least + SPARE)))
    for world in made:
        world.start_once = start_once
    lives = (_one_life(world, number, moment) for number, world in enumerate(made))
    died = await asyncio.gather(*lives)
    assert all(died[:least])
    assert not died[-1]


async def _one_life(world: World, number: int, moment: Moment) -> bool:
    """Whether the agent died in it."""
    tenant, place = world.tenant, world.place
    await tenant.put(CONFIG_MAPS, "settings", key="value")
    agent = await world.start()
    agent.crash.arm(number, moment)
    uid = await tenant.create(volumes=[CONFIG])
    going_on = asyncio.create_task(_go_on(world))
    await world.started()
    await place.start("pod")
    await tenant.phase("Running", patience=LONG)
    await tenant.delete(grace=30)
    await world.deleting()
    await place.finish_deletion("pod")
    await tenant.gone()

    async def tidy() -> bool:
        return await place.config("pod", "settings") is None

    await until(tidy, "nothing is left", patience=LONG)
    await until(lambda: agent.crash.ended_with("drop_object", OBJECTS), "the agent is at rest")
    died = agent.crash.died.is_set()
    if died:
        await going_on
    going_on.cancel()
    await asyncio.wait([going_on])
    assert await place.made(uid) == 1
    assert await place.ran(uid) == 1
    return died


async def _go_on(world: World) -> None:
    """Another agent, when this one has died."""
    await world.agent.crash.died.wait()
    await world.restart()


@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
async def test_whichever_write_it_dies_at_the_next_agent_ends_it(
    worlds: Callable[[], Awaitable[World]], moment: Moment
) -> None:
    await _die_everywhere(worlds, moment, StartOnce.RELAXED)


@needs(Need.START_GATES)
@pytest.mark.parametrize("moment", [Moment.BEFORE, Moment.AFTER])
async def test_so_does_the_next_one_where_copies_are_held_back(
    worlds: Callable[[], Awaitable[World]], moment: Moment
) -> None:
    await _die_everywhere(worlds, moment, StartOnce.STRICT)


@needs(Need.START_GATES)
async def test_a_copy_that_never_started_is_made_again_and_starts_once(world: World) -> None:
    """It dies when the copy is made, before the tenant knows of it; others remove the copy."""
    world.start_once = StartOnce.STRICT
    agent = await world.start()
    agent.crash.arm_on("apply")
    uid = await world.tenant.create()
    await agent.crash.died.wait()
    assert (await world.copied(uid=uid)).gated
    await world.kill()
    await world.place.remove("pod")
    await world.start()
    await world.started()
    await world.place.start("pod")
    await world.tenant.phase("Running")
    assert await world.place.made(uid) == 2
    assert await world.place.ran(uid) == 1


@needs(Need.START_GATES)
async def test_no_copy_starts_before_its_pod_says_that_it_was_made(world: World) -> None:
    """It dies when it is about to let the copy start."""
    world.start_once = StartOnce.STRICT
    agent = await world.start()
    agent.crash.arm_on("ungate")
    uid = await world.tenant.create()
    await agent.crash.died.wait()
    await until(
        lambda: world.tenant.condition("vnode.dev/Forwarded").get("status") == "True",
        "the tenant knows of it",
    )
    assert await world.place.ran(uid) == 0
    await world.kill()
    await world.place.remove("pod")
    await world.start()
    assert (await world.tenant.phase("Failed"))["reason"] == "Evicted"
    assert await world.place.ran(uid) == 0
