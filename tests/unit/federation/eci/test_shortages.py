import pytest

from federation.backends.eci.shortages import Shortages
from federation.backends.eci.translate.purchase import Purchase
from federation.backends.eci.translate.specs import Size
from tests.builders import NODE, UID_1, UID_2
from tests.fakes.clock import SteppedClock
from vnode.backend import Waiting
from vnode.kube.types import NodeName

SMALL = (NODE, Purchase(size=Size(1, 2)))
LARGE = (NODE, Purchase(size=Size(64, 128)))
WHY = Waiting("sold out", reason="NoStock", not_done=True)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def shortages(clock: SteppedClock) -> Shortages:
    shortages = Shortages(clock)
    shortages.refused(LARGE, UID_1, WHY)
    return shortages


def test_who_was_refused_first_asks_again_and_others_wait(shortages: Shortages) -> None:
    shortages.refused(LARGE, UID_2, WHY)

    shortages.require(LARGE, UID_1)
    with pytest.raises(Waiting, match="sold out"):
        shortages.require(LARGE, UID_2)


def test_who_wants_something_else_does_not_wait(shortages: Shortages) -> None:
    shortages.require(SMALL, UID_2)
    shortages.require((NodeName("vnode-b"), LARGE[1]), UID_2)


def test_another_one_asks_when_the_first_comes_no_more(
    shortages: Shortages, clock: SteppedClock
) -> None:
    clock.now += 89
    with pytest.raises(Waiting):
        shortages.require(LARGE, UID_2)
    clock.now += 1
    shortages.require(LARGE, UID_2)
    shortages.tries(LARGE, UID_2)

    with pytest.raises(Waiting):
        shortages.require(LARGE, UID_1)


def test_all_may_ask_when_it_was_bought(shortages: Shortages) -> None:
    shortages.bought(LARGE)

    shortages.require(LARGE, UID_2)


def test_what_nobody_wants_any_more_is_forgotten(shortages: Shortages, clock: SteppedClock) -> None:
    clock.now += 3601
    shortages.refused(SMALL, UID_2, WHY)

    assert len(shortages) == 1
