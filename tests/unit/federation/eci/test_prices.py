"""The price table: what was configured, what the service says, and what nobody knows."""

from collections.abc import Iterable, Mapping

import pytest
from structlog.testing import capture_logs

from federation.backends.eci.api import EciApi
from federation.backends.eci.prices import Prices, PriceTable
from tests.eci.catalog import TYPES, size
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock

T4, A10 = "ecs.gn6i-c4g1.xlarge", "ecs.gn7i-c8g1.2xlarge"


def prices(
    api: EciApi, *, fixed: Mapping[str, float] | None = None, spot: Iterable[str] = ()
) -> Prices:
    return Prices(api, fixed=fixed or {}, types=[T4, A10], spot=spot, clock=SteppedClock())


async def test_two_sizes_tell_the_price_of_all_of_them(api: EciApi) -> None:
    asked = prices(api)
    await asked.refresh()
    table = asked.table
    assert table.currency == "CNY"
    assert table.of_size(cpu=16, memory=32) == pytest.approx(size(16, 32).price)


async def test_a_configured_price_is_not_asked_for(api: EciApi, emulator: Emulator) -> None:
    asked = prices(api, fixed={A10: 3.5})
    await asked.refresh()
    assert asked.table.of_type(A10) == 3.5
    assert asked.table.of_type(T4) == TYPES[T4].price
    assert emulator.calls.count("DescribeContainerGroupPrice") == 3


async def test_spot_prices_are_those_of_the_spot_market(api: EciApi) -> None:
    asked = prices(api, spot=[T4])
    await asked.refresh()
    cheap = asked.table.of_type(T4, spot=True)
    assert cheap is not None
    assert cheap < TYPES[T4].price
    assert asked.table.of_type(A10, spot=True) is None


def test_what_nobody_knows_has_no_price() -> None:
    table = PriceTable()
    assert table.of_size(cpu=1, memory=2) is None
    assert table.of_type(T4) is None


async def test_a_failed_question_leaves_the_table_as_it_was(
    api: EciApi, emulator: Emulator
) -> None:
    asked = prices(api)
    await asked.refresh()
    before = asked.table
    emulator.faults.fail("DescribeContainerGroupPrice")
    with capture_logs():
        await asked.refresh()
    assert asked.table == before
