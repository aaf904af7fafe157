"""When a copy that does not go is stuck, and when it waits for its turn."""

import pytest

from tests.fakes.clock import SteppedClock
from vnode.pods.memory import Departures


@pytest.fixture
def clock() -> SteppedClock:
    """A clock that stands."""
    return SteppedClock()


def test_a_copy_is_stuck_five_minutes_after_its_grace_period(clock: SteppedClock) -> None:
    ends = clock.time() + 30
    assert Departures(clock).stuck_in(ends) == 330


def test_a_copy_waits_for_its_turn_as_long_as_others_go(clock: SteppedClock) -> None:
    departures, ends = Departures(clock), clock.time()
    for _ in range(100):
        clock.now += 20
        departures.went(ends)
        assert departures.stuck_in(ends) == 300
    clock.now += 300
    assert departures.stuck_in(ends) == 0


def test_a_copy_is_stuck_when_those_go_whose_time_came_much_later(clock: SteppedClock) -> None:
    departures, ends = Departures(clock), clock.time()
    clock.now += 310
    departures.went(clock.time() - 20)
    assert departures.stuck_in(ends) > 0
    clock.now += 10
    departures.went(clock.time())
    assert departures.stuck_in(ends) <= 0


def test_one_that_goes_before_its_time_overtakes_nobody(clock: SteppedClock) -> None:
    departures, ends = Departures(clock), clock.time() + 30
    departures.went(clock.time() + 3600)
    assert departures.stuck_in(ends) == 330
