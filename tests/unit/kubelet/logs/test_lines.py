from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.backend import LogOptions
from vnode.kubelet.logs.lines import choose

TEXT = (
    b"2026-11-23T01:00:00.123456789Z one\n"
    b"2026-11-23T09:00:10.5+08:00 two words\n"
    b"2026-11-23T01:00:20Z three\n"
)
NOW = 1_795_395_630.0  # 2026-11-23T01:00:30Z


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        ({}, b"one\ntwo words\nthree\n"),
        ({"timestamps": True}, TEXT),
        ({"tail_lines": 2}, b"two words\nthree\n"),
        ({"tail_lines": 0}, b""),
        ({"tail_lines": 9}, b"one\ntwo words\nthree\n"),
        ({"limit_bytes": 5}, b"one\nt"),
        ({"since_time": "2026-11-23T01:00:10Z"}, b"two words\nthree\n"),
        ({"since_seconds": 15}, b"three\n"),
        ({"since_seconds": 25, "tail_lines": 5, "limit_bytes": 3}, b"two"),
    ],
)
def test_lines_are_chosen_as_asked_for(options: dict[str, Any], chosen: bytes) -> None:
    assert choose(TEXT, LogOptions("main", **options), now=NOW) == chosen


def test_a_line_without_a_time_is_shown_whatever_time_is_asked_for() -> None:
    options = LogOptions("main", since_seconds=1, timestamps=True)
    assert choose(b"no time here\n", options, now=NOW) == b"no time here\n"


@given(st.lists(st.text(st.characters(blacklist_characters="\r\n", codec="ascii"))), st.integers(0))
def test_a_tail_is_the_end_of_the_whole(words: list[str], count: int) -> None:
    stamped = "".join(f"2026-11-23T01:00:00Z {word}\n" for word in words).encode()
    whole = choose(stamped, LogOptions("main"), now=NOW)
    tail = choose(stamped, LogOptions("main", tail_lines=count), now=NOW)
    assert whole.endswith(tail)
