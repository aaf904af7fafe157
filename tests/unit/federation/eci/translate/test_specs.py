"""Sizes that ECI sells."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.eci.translate.specs import (
    DEFAULT,
    SIZES,
    Asked,
    Size,
    rounded,
    total,
)

cpus = st.fractions(min_value=Fraction(1, 1000), max_value=70, max_denominator=1000)
memories = st.fractions(min_value=Fraction(1, 1024), max_value=600, max_denominator=1024)


@given(cpus, memories)
def test_a_size_is_legal_large_enough_and_the_smallest(cpu: Fraction, memory: Fraction) -> None:
    size = rounded(Asked(cpu=cpu, memory=memory))
    holding = [one for one in SIZES if one.cpu >= cpu and one.memory >= memory]
    if size is None:
        assert not holding
        return
    assert size in holding
    assert not [one for one in holding if one.cpu < size.cpu]
    assert not [one for one in holding if one.cpu == size.cpu and one.memory < size.memory]


@pytest.mark.parametrize(
    ("cpu", "memory", "size"),
    [
        (7, 13, Size(8, 16)),  # the documentation's example, by the sizes of all regions
        (1, 1, Size(1, 2)),
        (2, 1, Size(2, 1)),
        (1, 16, Size(2, 16)),
        (53, 1, Size(64, 128)),
    ],
)
def test_an_amount_is_rounded_up(cpu: int, memory: int, size: Size) -> None:
    assert rounded(Asked(cpu=Fraction(cpu), memory=Fraction(memory))) == size


def test_who_asks_for_nothing_gets_the_default() -> None:
    assert rounded(Asked()) == DEFAULT == Size(2, 4)


def test_containers_are_summed_up_and_init_containers_run_before_them() -> None:
    asked = total(
        [Asked(cpu=Fraction(1)), Asked(cpu=Fraction(2), memory=Fraction(1))],
        before=[Asked(memory=Fraction(5)), Asked(cpu=Fraction(2))],
    )
    assert (asked.cpu, asked.memory) == (Fraction(3), Fraction(5))
