"""Waiting times between retries."""

import random

import pytest

from vnode.runtime.backoff import Backoff


def test_waits_double_up_to_the_maximum_and_begin_again_after_a_reset() -> None:
    backoff = Backoff(1.0, 5.0, jitter=0.0, rng=random.Random(1))
    assert [backoff.next() for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    backoff.reset()
    assert backoff.next() == 1.0


def test_jitter_spreads_waits_but_never_beyond_the_maximum() -> None:
    backoff = Backoff(10.0, 12.0, factor=1.0, jitter=0.3, rng=random.Random(1))
    waits = [backoff.next() for _ in range(200)]
    assert min(waits) >= 7.0
    assert max(waits) == 12.0
    assert len({round(wait, 3) for wait in waits}) > 50


@pytest.mark.parametrize(
    ("initial", "maximum", "factor", "jitter"),
    [(0, 1, 2, 0.1), (2, 1, 2, 0.1), (1, 2, 0.5, 0.1), (1, 2, 2, 1.0)],
)
def test_settings_that_make_no_sense_are_refused(
    initial: float, maximum: float, factor: float, jitter: float
) -> None:
    with pytest.raises(ValueError, match="need 0 < initial"):
        Backoff(initial, maximum, factor=factor, jitter=jitter, rng=random.Random(1))
