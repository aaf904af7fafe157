"""Quantities: what the API server reads and writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.kube.quantity import InvalidQuantity, Notation, Quantity

NANO = 10**9


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0", "0"),
        ("0Gi", "0"),
        ("1", "1"),
        ("1500m", "1500m"),
        ("2000m", "2"),
        ("0.5", "500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("+7", "7"),
        ("-1500m", "-1500m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("100000k", "100M"),
        ("1Ki", "1Ki"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("0.1Ki", "102400m"),
        ("-2048Mi", "-2Gi"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e5", "1200e3"),
        ("1e-3", "1e-3"),
        ("5e0", "5"),
        ("1E", "1E"),
        ("1Ei", "1Ei"),
        ("2000E", "2000E"),
        ("1u", "1u"),
        ("100n", "100n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.0000000001", "1000000001n"),
    ],
)
def test_texts_become_the_canonical_form_of_the_api_server(text: str, canonical: str) -> None:
    assert str(Quantity.parse(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1 ",
        "1x",
        "1kk",
        "1K",
        "1ki",
        "--1",
        "1e",
        "1e3m",
        "1,5",
        "e3",
        ".",
        "1e100",
        "١",
        "9" * 65,
    ],
)
def test_texts_that_are_no_quantities_are_refused(text: str) -> None:
    with pytest.raises(InvalidQuantity):
        Quantity.parse(text)


def test_equal_amounts_are_equal_however_they_are_written() -> None:
    assert Quantity.parse("1Ki") == Quantity.parse("1024") == Quantity.parse("1.024e3")
    assert len({Quantity.parse("1Ki"), Quantity.parse("1024")}) == 1
    assert Quantity.parse("999m") < Quantity.parse("1") < Quantity.parse("1Ki")


def test_sums_are_written_like_the_first_that_is_not_zero() -> None:
    assert str(Quantity.parse("1Gi") + Quantity.parse("1073741824")) == "2Gi"
    assert str(Quantity.parse("0") + Quantity.parse("1Gi")) == "1Gi"


QUANTITIES = st.builds(
    Quantity,
    st.integers(-(10**30), 10**30) | st.integers(-(10**6), 10**6).map(lambda n: n * NANO),
    st.sampled_from(Notation),
)


@given(QUANTITIES)
def test_writing_and_reading_loses_nothing(quantity: Quantity) -> None:
    assert Quantity.parse(str(quantity)) == quantity


@given(QUANTITIES, QUANTITIES)
def test_arithmetic_is_exact(left: Quantity, right: Quantity) -> None:
    assert (left + right) - right == left
    assert (left + right).nanos == left.nanos + right.nanos
    assert (left < right) == (left.nanos < right.nanos)


@given(st.integers(0, 10**15), st.sampled_from(["", "k", "M", "Ki", "Mi", "Gi", "m"]))
def test_suffixes_scale(number: int, suffix: str) -> None:
    scale = {"": 1, "k": 10**3, "M": 10**6, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "m": None}
    factor = scale[suffix]
    expected = number * NANO * factor if factor else number * NANO // 1000
    assert Quantity.parse(f"{number}{suffix}").nanos == expected
