"""Stock of instance types, as the newest answers say."""

from structlog.testing import capture_logs

from federation.backends.eci.api import EciApi
from federation.backends.eci.stock import Stock, TypeStock
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock

T4, A10 = "ecs.gn6i-c4g1.xlarge", "ecs.gn7i-c8g1.2xlarge"


async def test_nothing_is_known_before_the_first_answer(api: EciApi) -> None:
    stock = Stock(api, [T4], clock=SteppedClock())
    assert stock.of(T4) is None
    assert not stock.sold_out([T4])


async def test_types_are_sold_out_only_if_all_of_them_are(api: EciApi, emulator: Emulator) -> None:
    emulator.faults.no_stock = {T4}
    stock = Stock(api, [A10, T4], clock=SteppedClock())

    await stock.refresh()

    assert stock.sold_out([T4])
    assert not stock.sold_out([T4, A10])
    assert not stock.sold_out([T4, "ecs.unheard.of"])
    assert not stock.sold_out([])


async def test_a_failed_question_leaves_what_was_known(api: EciApi, emulator: Emulator) -> None:
    told: list[tuple[str, TypeStock]] = []
    stock = Stock(api, [T4], clock=SteppedClock(), changed=lambda *news: told.append(news))
    await stock.refresh()
    before = stock.of(T4)
    emulator.faults.fail("DescribeAvailableResource")

    with capture_logs() as logs:
        await stock.refresh()
        await stock.refresh()

    assert stock.of(T4) is before is told[0][1]
    assert len(told) == 1
    assert [line["event"] for line in logs] == ["stock is not known"]


async def test_what_was_sold_out_a_quarter_of_an_hour_ago_is_not_known_any_more(
    api: EciApi, emulator: Emulator
) -> None:
    clock, told = SteppedClock(), list[bool]()
    stock = Stock(api, [T4], clock=clock)
    emulator.faults.no_stock = {T4}
    await stock.refresh()
    stock.subscribe(lambda: told.append(stock.sold_out([T4])))
    emulator.faults.fail("DescribeAvailableResource")

    clock.now += 899
    with capture_logs():
        await stock.refresh()
        clock.now += 2
        await stock.refresh()

    assert told == [True, False]
    assert stock.of(T4) is None


async def test_a_type_that_nobody_knows_does_not_hide_the_others(api: EciApi) -> None:
    stock = Stock(api, ["ecs.a.typo", T4], clock=SteppedClock())
    with capture_logs():
        await stock.refresh()
    known = stock.of(T4)
    assert known is not None
    assert known.anywhere
