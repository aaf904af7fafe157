"""A tenant with a compute cluster; and an account on the ECI emulator whose time a test moves."""

from collections.abc import AsyncIterator

import pytest

from federation.backends.eci.api import EciApi
from tests.eci.connecting import KEYS, connected
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock
from tests.unit.federation.both_sides import Sides


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """The service."""
    async with Emulator(keys=KEYS, clock=SteppedClock()) as running:
        yield running


@pytest.fixture
async def api(emulator: Emulator) -> AsyncIterator[EciApi]:
    """A client of it."""
    async with connected(emulator) as client:
        yield client


@pytest.fixture
async def sides() -> AsyncIterator[Sides]:
    """Both clusters; start an agent with `sides.start()`."""
    sides = Sides()
    yield sides
    await sides.stop()
