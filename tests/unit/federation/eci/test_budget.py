import pytest

from federation.backends.eci.budget import DOCUMENTED, Budget, Limit
from federation.backends.eci.errors import Throttled
from tests.eci.throttle import PER_MINUTE, Throttle
from tests.fakes.clock import SteppedClock

LIMITS = {"Create": Limit(rate=10, burst=5)}


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def budget(clock: SteppedClock) -> Budget:
    return Budget(clock=clock, limits=LIMITS)


async def take(budget: Budget, times: int) -> None:
    for _ in range(times):
        await budget.take("Create", patience=60)


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate(
    budget: Budget, clock: SteppedClock
) -> None:
    start = clock.now
    await take(budget, 5)
    assert clock.now == start

    await take(budget, 10)
    assert clock.now - start == pytest.approx(1.0, abs=1e-3)


async def test_a_call_that_would_wait_too_long_is_not_made(budget: Budget) -> None:
    await take(budget, 5)

    with pytest.raises(Throttled, match="not made"):
        await budget.take("Create", patience=0.05)


async def test_a_throttled_call_halves_the_rate_and_empties_the_bucket(
    budget: Budget, clock: SteppedClock
) -> None:
    budget.throttled("Create")
    start = clock.now
    await take(budget, 1)

    assert budget.statistics()["Create"].rate == 5
    assert clock.now - start == pytest.approx(0.2, abs=1e-3)


async def test_throttled_calls_that_were_on_the_way_together_are_one_blow(budget: Budget) -> None:
    for _ in range(20):
        budget.throttled("Create")

    assert budget.statistics()["Create"].rate == 5
    assert budget.statistics()["Create"].throttled == 20


async def test_the_rate_never_sinks_to_nothing_and_comes_back(
    budget: Budget, clock: SteppedClock
) -> None:
    for _ in range(50):
        budget.throttled("Create")
        clock.now += 2
    assert budget.statistics()["Create"].rate == pytest.approx(0.5)

    for _ in range(50):
        budget.answered("Create")
    assert budget.statistics()["Create"].rate == pytest.approx(10)


async def test_one_action_does_not_wait_for_another(budget: Budget, clock: SteppedClock) -> None:
    budget.throttled("Create")
    start = clock.now
    await budget.take("Describe", patience=1)

    assert clock.now == start


async def test_a_share_of_the_account_is_a_share_of_burst_and_rate(clock: SteppedClock) -> None:
    budget = Budget(clock=clock, limits=LIMITS, share=0.4)
    start = clock.now
    await take(budget, 3)

    assert clock.now - start == pytest.approx(0.25, abs=1e-3)


class FrozenClock(SteppedClock):
    """Time does not pass: everybody asks at the same moment and is told how long to wait."""

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize("action", sorted(DOCUMENTED))
@pytest.mark.parametrize("second", [0, 30, 59])
async def test_calls_that_all_ask_at_once_stay_within_the_documented_limit(
    action: str, second: int
) -> None:
    clock, throttle = FrozenClock(now=60_000.0 + second), Throttle()
    budget = Budget(clock=clock)
    many = int(DOCUMENTED[action].rate * 200)

    for _ in range(many):
        waits = len(clock.slept)
        await budget.take(action, patience=1e9)
        wait = clock.slept[-1] if len(clock.slept) > waits else 0.0
        throttle.admit(action, clock.now + wait)


@pytest.mark.parametrize(("action", "calls"), [*PER_MINUTE.items(), ("CreateContainerGroup", 1000)])
def test_no_minute_wherever_it_begins_has_more_calls_than_documented(
    action: str, calls: int
) -> None:
    limit = DOCUMENTED[action]

    assert limit.burst + limit.rate * 60 <= calls + 1e-6
