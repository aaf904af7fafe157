"""A tenant and a compute cluster with Fluid, listed."""

import pytest

from tests.unit.federation.fluid.world import World


@pytest.fixture
async def world() -> World:
    """With the configuration of most tests."""
    made = World()
    await made.open()
    return made
