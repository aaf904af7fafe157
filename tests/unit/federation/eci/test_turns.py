from itertools import pairwise

import pytest

from federation.backends.eci.budget import Budget, Limit
from federation.backends.eci.turns import Turns
from tests.fakes.clock import SteppedClock
from vnode.backend import InLine

RATE, BURST = 10, 5


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def budget(clock: SteppedClock) -> Budget:
    return Budget(clock=clock, limits={"Create": Limit(rate=RATE, burst=BURST)})


@pytest.fixture
def turns(budget: Budget, clock: SteppedClock) -> Turns:
    return Turns(budget, "Create", what="pods are made", clock=clock)


def ask(turns: Turns, *keys: str) -> dict[str, float]:
    """Seconds after which each has to come again; 0: it may call now."""
    found = {}
    for key in keys:
        try:
            turns.require(key)
        except InLine as line:
            found[key] = line.seconds
        else:
            found[key] = 0.0
    return found


def names(count: int) -> list[str]:
    return [f"pod-{number}" for number in range(count)]


async def call(turns: Turns, budget: Budget, key: str) -> None:
    turns.went(key)
    await budget.take("Create", patience=60)


def test_a_burst_may_call_and_the_rest_comes_again_one_after_the_other(turns: Turns) -> None:
    told = list(ask(turns, *names(30)).values())

    waiting = [seconds for seconds in told if seconds]
    assert told[:BURST] == [0.0] * BURST
    assert len(told) - len(waiting) <= BURST + RATE  # Nobody sleeps on the budget for long.
    assert [b - a for a, b in pairwise(waiting)] == pytest.approx([1 / RATE] * (len(waiting) - 1))


def test_who_comes_too_soon_keeps_its_turn(turns: Turns, clock: SteppedClock) -> None:
    first = ask(turns, *names(30))["pod-29"]
    clock.now += 0.5

    assert ask(turns, "pod-29")["pod-29"] == pytest.approx(first - 0.5)


async def test_all_of_many_have_called_in_the_time_that_the_rate_needs(
    turns: Turns, budget: Budget, clock: SteppedClock
) -> None:
    start, due = clock.now, dict.fromkeys(names(100), 0.0)
    while due:
        key = min(due, key=lambda each: due[each])
        clock.now = max(clock.now, start + due[key])
        if not (seconds := ask(turns, key)[key]):
            await call(turns, budget, key)
            del due[key]
        else:
            due[key] = clock.now - start + seconds

    assert clock.now - start == pytest.approx((100 - BURST) / RATE, abs=1.0)
    assert len(turns) == 0


async def test_somebody_new_does_not_overtake_those_in_line(turns: Turns, budget: Budget) -> None:
    for key in names(BURST + 1):
        await call(turns, budget, key)
    ask(turns, *names(30))

    assert ask(turns, "late")["late"] > 0


def test_a_rate_that_sank_makes_turns_later(
    turns: Turns, budget: Budget, clock: SteppedClock
) -> None:
    told = ask(turns, *names(30))
    clock.now += told["pod-20"]
    for _ in range(6):
        clock.now += 1.1
        budget.throttled("Create")

    later = ask(turns, "pod-20", "pod-21", "pod-22")
    assert later["pod-20"] == 0
    assert later["pod-22"] > later["pod-21"] > 1 / RATE


def test_who_only_asks_takes_nobodys_turn(turns: Turns) -> None:
    for key in names(30) * 3:
        turns.wait(key)

    assert ask(turns, "new") == {"new": 0.0}


def test_who_stands_in_line_is_told_so_until_it_is_due_and_keeps_its_place(
    turns: Turns, clock: SteppedClock
) -> None:
    due = ask(turns, *names(30))["pod-20"]
    with pytest.raises(InLine) as line:
        turns.wait("pod-20")
    assert line.value.seconds == pytest.approx(due)

    clock.now += due
    turns.wait("pod-20")

    assert ask(turns, "pod-29")["pod-29"] > 0
    assert ask(turns, "pod-20") == {"pod-20": 0.0}


def test_who_was_let_go_twice_is_on_the_way_since_the_second_time(
    turns: Turns, clock: SteppedClock
) -> None:
    ask(turns, "first", "second")
    clock.now += 4
    ask(turns, "first")
    clock.now += 4
    ask(turns, "third")

    assert list(turns._going) == ["first", "third"]


def test_those_that_were_let_go_and_never_called_hold_nobody_up_for_long(
    turns: Turns, clock: SteppedClock
) -> None:
    ask(turns, *names(30))
    clock.now += 60

    assert ask(turns, *(f"new-{n}" for n in range(BURST))) == {
        f"new-{n}": 0.0 for n in range(BURST)
    }
