"""When a reflector lists although nothing demands it."""

import random

from vnode.runtime.doubt import Doubt, Suspicion

TIMES = Suspicion()


def doubt(*, listed: float = 0.0) -> Doubt:
    it = Doubt(TIMES, rng=random.Random(1))
    it.listed(listed)
    return it


def test_nothing_is_due_without_an_outage() -> None:
    it = doubt()
    it.found(1000.0)
    assert it.due() is None
    assert not it.returned(1e9)


def test_a_listing_is_due_some_time_after_an_outage() -> None:
    it = doubt()
    it.lost(1000.0)
    it.lost(1004.0)
    assert it.due() is None
    it.found(1005.0)
    due = it.due()
    assert due is not None
    assert 1005 + TIMES.earliest <= due <= 1005 + TIMES.latest
    assert not it.returned(due - 0.1)
    assert it.returned(due)


def test_a_blip_is_no_outage() -> None:
    it = doubt()
    it.lost(1000.0)
    it.found(1000.0 + TIMES.away - 0.1)
    it.lost(1010.0)
    it.found(1010.0 + TIMES.away - 0.1)
    assert it.due() is None


def test_reflectors_of_one_server_do_not_list_at_the_same_time() -> None:
    rng = random.Random(1)
    due = set()
    for _ in range(20):
        it = Doubt(TIMES, rng=rng)
        it.lost(0.0)
        it.found(10.0)
        due.add(it.due())
    assert len(due) == 20


def test_a_thousand_reflectors_ask_a_server_that_is_back_for_ten_listings_a_second() -> None:
    rng = random.Random(1)
    due = []
    for _ in range(1000):
        it = Doubt(TIMES, rng=rng)
        it.lost(0.0)
        it.found(10.0, reflectors=1000)
        due.append(it.due() or 0.0)
    most = max(sum(start <= at < start + 5 for at in due) for start in range(200))
    assert most <= 75
    assert 10 + TIMES.earliest <= min(due)
    assert max(due) <= 10 + TIMES.earliest + 100


def test_a_link_that_comes_and_goes_asks_for_one_listing_a_minute() -> None:
    it, listings = doubt(), []
    for second in range(0, 3600, 6):
        it.lost(float(second))
        it.found(second + 3.0)
        if it.returned(second + 5.0):
            it.listed(second + 5.0)
            listings.append(second)
    assert 50 <= len(listings) <= 60


def test_a_listing_for_another_reason_settles_it() -> None:
    it = doubt()
    it.lost(0.0)
    it.found(100.0)
    it.missing(100.0)
    it.listed(101.0)
    assert it.due() is None


def test_what_the_server_does_not_have_is_looked_for_after_a_while_and_not_too_often() -> None:
    it = doubt(listed=995.0)
    it.missing(1000.0)
    it.missing(1001.0)
    assert it.due() == 995.0 + TIMES.gap
    it.explained()
    assert it.due() is None
    it.missing(2000.0)
    assert it.due() == 2000.0 + TIMES.settle
    assert not it.returned(3000.0)
