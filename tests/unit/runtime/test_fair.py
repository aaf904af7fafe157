"""A line in which groups take turns."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.runtime.fair import FairLine


def make_line(*keys: str) -> FairLine[str, int]:
    """Keys of the group that their first letter names, numbered."""
    line: FairLine[str, int] = FairLine(lambda key: key[0])
    for number, key in enumerate(keys):
        line.put(key, number)
    return line


def drained(line: FairLine[str, int]) -> list[str]:
    return [line.take()[0] for _ in range(len(line))]


def test_groups_take_turns_and_keep_their_own_order() -> None:
    assert drained(make_line("a1", "a2", "a3", "b1", "b2", "c1")) == [
        "a1", "b1", "c1", "a2", "b2", "a3",
    ]  # fmt: skip


def test_a_key_of_another_group_waits_for_one_key_however_many_there_are() -> None:
    line = make_line(*(f"a{number}" for number in range(10_000)))
    line.take()
    line.put("b", 0)
    assert [line.take()[0], line.take()[0]] == ["a1", "b"]


def test_a_key_that_is_there_keeps_its_place_and_gets_the_new_value() -> None:
    line = make_line("a1", "a2")
    line.put("a1", 7)
    assert len(line) == 2
    assert line.take() == ("a1", 7)


def test_a_removed_key_is_gone_and_its_group_with_the_last_one() -> None:
    line = make_line("a1", "b1")
    assert line.remove("a1") == 0
    assert line.remove("a1") is None
    assert "a1" not in line
    assert (line.of("a"), line.of("b"), len(line)) == (0, 1, 1)
    assert drained(line) == ["b1"]


def test_a_group_that_may_not_go_is_passed_over_and_keeps_its_turn() -> None:
    line = make_line("a1", "b1", "b2", "c1")
    assert line.take(lambda group: group != "a")[0] == "b1"
    assert drained(line) == ["a1", "c1", "b2"]
    with pytest.raises(KeyError):
        make_line("a1").take(lambda _: False)


def test_an_empty_line_gives_nothing() -> None:
    with pytest.raises(KeyError):
        make_line().take()


@given(st.lists(st.sampled_from(["a1", "a2", "a3", "b1", "b2", "c1"])), st.integers(0, 6))
def test_nothing_is_lost_or_doubled_and_the_count_is_right(keys: list[str], takes: int) -> None:
    line = make_line(*keys)
    expected = set(keys)
    assert len(line) == len(expected)
    taken = [line.take()[0] for _ in range(min(takes, len(line)))]
    rest = drained(line)
    assert Counter(taken + rest) == Counter(expected)
    assert list(line.values()) == []
