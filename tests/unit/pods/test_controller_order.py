"""What comes first while more is asked for than can be done at once."""

from collections.abc import AsyncIterator

import pytest

from tests.builders import make_pod
from tests.unit.pods.world import World
from vnode.kube.types import UID, ObjectKey

pytestmark = pytest.mark.looptime

NEW = 60


@pytest.fixture
async def slow() -> AsyncIterator[World]:
    """Every call takes up to two seconds."""
    world = World(latency=2.0)
    yield world
    await world.stop()


async def running(world: World) -> ObjectKey:
    """A pod that is shown as running by an agent that begins now."""
    world.start()
    key = world.create(make_pod())
    await world.settle(30)
    world.below.start(key)
    await world.settle(30)
    assert world.status(key)["phase"] == "Running"
    return key


def flood(world: World) -> None:
    """More new pods than can be made in half a minute."""
    for number in range(NEW):
        world.create(make_pod(f"new-{number}", uid=UID(f"uid-new-{number}")))


async def test_an_end_is_shown_before_new_pods_are_made(slow: World) -> None:
    key = await running(slow)
    flood(slow)
    await slow.settle(3)
    slow.below.end(key)
    await slow.settle(8)
    assert slow.status(key)["phase"] == "Succeeded"
    assert len(slow.below.made) < NEW // 2
    await slow.settle(600)
    assert len(slow.below.made) == NEW + 1


async def test_a_deletion_goes_before_new_pods(slow: World) -> None:
    key = await running(slow)
    flood(slow)
    await slow.settle(3)
    slow.delete(key)
    await slow.settle(8)
    assert slow.below.called("delete")
    assert len(slow.below.made) < NEW // 2
    await slow.settle(600)
    assert len(slow.below.made) == NEW + 1
