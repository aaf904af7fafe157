"""A world whose watches and calls take their time."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.pods.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Nothing runs yet: fixtures run in real time, looptime is for the test alone."""
    made = World(lag=0.05, latency=0.01)
    yield made
    await made.stop()
