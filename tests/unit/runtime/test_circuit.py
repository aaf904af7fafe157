"""When a link counts as lost, and when as found again."""

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from vnode.runtime.circuit import GAP, PATIENCE, STEADIEST, STEADY, Circuit


class Link:
    """A link that is asked every five seconds."""

    EVERY = 5.0

    def __init__(self) -> None:
        self.now = 1000.0
        self.circuit = Circuit(self.now)
        self.changes: list[bool] = []

    @property
    def lost(self) -> bool:
        return self.circuit.lost_since(self.now) is not None

    def ask(self, seconds: float, answers: Callable[[float], bool]) -> "Link":
        """For some seconds; `answers` says whether it does at second n of these."""
        began, before = self.now, self.lost
        while self.now < began + seconds:
            self.now += self.EVERY
            answer = self.circuit.good if answers(self.now - began) else self.circuit.bad
            answer(self.now)
            if self.lost is not before:
                before = self.lost
                self.changes.append(not before)
        return self


def _always(_: float) -> bool:
    return True


def _never(_: float) -> bool:
    return False


def test_a_link_is_lost_after_the_patience_and_since_then() -> None:
    link = Link().ask(30, _always).ask(PATIENCE - 5, _never)
    assert not link.lost
    link.ask(30, _never)
    assert link.circuit.lost_since(link.now) == 1030 + PATIENCE
    assert link.circuit.silent_for(link.now) == link.now - 1030 - PATIENCE


def test_a_link_on_which_every_third_answer_is_lost_holds() -> None:
    rng = random.Random(1)
    assert Link().ask(3600, lambda _: rng.random() > 0.3).changes == []


def test_a_link_with_an_answer_now_and_then_stays_lost() -> None:
    link = Link().ask(3600, lambda second: second % 60 == 0)
    assert link.changes == [False]


def test_while_a_lost_link_answers_it_is_not_silent() -> None:
    link = Link().ask(100, _never).ask(5, _always)
    assert link.lost
    assert link.circuit.silent_for(link.now) is None


def test_silence_counts_from_the_last_good_answer_and_not_from_the_loss() -> None:
    link = Link().ask(600, _never).ask(30, lambda second: second % 15 == 0)
    assert link.circuit.silent_for(link.now) is None
    answered = link.now
    link.ask(PATIENCE - 5, _never)
    assert link.circuit.silent_for(link.now) is None
    link.ask(100, _never)
    assert link.circuit.silent_for(link.now) == link.now - answered - PATIENCE


def test_one_bad_answer_after_minutes_of_good_ones_is_no_silence() -> None:
    link = Link()
    for _ in range(5):
        link.ask(60, _never).ask(300, _always)
    link.ask(510, _never).ask(5, _always)
    assert link.lost
    link.ask(5, _never)
    assert link.circuit.silent_for(link.now) is None


def test_a_link_that_comes_and_goes_changes_ever_more_rarely() -> None:
    link = Link().ask(7200, lambda second: second % 90 < 35)
    assert len(link.changes) <= 7  # 160 without the growing proof
    assert link.lost


def test_loss_alone_does_not_keep_it_lost() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        link = Link()
        for _ in range(5):
            link.ask(60, _never).ask(200, _always)
        link.ask(60, _never)
        assert link.lost
        link.ask(300, lambda _: rng.random() > 0.2)  # noqa: B023 - called at once
        assert not link.lost


def test_answers_too_far_apart_prove_nothing() -> None:
    link = Link().ask(100, _never).ask(600, lambda second: second % (GAP + 5) == 0)
    assert link.lost


def test_after_a_quiet_time_the_proof_is_short_again() -> None:
    link = Link().ask(2000, lambda second: second % 120 < 60).ask(1000, _always)
    assert not link.lost
    link.ask(PATIENCE + 20, _never).ask(STEADY + Link.EVERY, _always)
    assert not link.lost


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 30)), max_size=60))
def test_it_is_lost_exactly_when_long_silent_and_found_only_by_steady_answers(
    history: list[tuple[bool, float]],
) -> None:
    now, circuit, good_at, run = 0.0, Circuit(0.0), 0.0, 0.0
    """`run`: seconds of good answers close to each other up to now."""
    was_lost, first_good = False, None
    for good, seconds in history:
        now += seconds
        lost = circuit.lost_since(now) is not None
        assert lost == (was_lost or now - good_at >= PATIENCE)
        (circuit.good if good else circuit.bad)(now)
        if good:
            far = first_good is None or not was_lost or now - good_at > GAP
            first_good = now if far else first_good
            run = now - (first_good or 0.0)
        was_lost = circuit.lost_since(now) is not None
        if lost and not was_lost:
            assert good
            assert run >= STEADY
        if lost and good and run >= STEADIEST:
            assert not was_lost
        good_at = now if good else good_at
