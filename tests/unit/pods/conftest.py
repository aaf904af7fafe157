"""A world for tests of the whole controller."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.pods.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Two clusters without delays; start an agent with `world.start()`."""
    world = World()
    yield world
    await world.stop()
