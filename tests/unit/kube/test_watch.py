"""Cutting a stream into lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnode.kube.errors import ServerError
from vnode.kube.watch import LineSplitter

CHUNKS = st.lists(st.text(alphabet="ab\n", max_size=8).map(str.encode), max_size=20)


@given(CHUNKS)
def test_however_the_stream_is_cut_the_lines_are_the_same(chunks: list[bytes]) -> None:
    splitter = LineSplitter(1000)
    lines = [line for chunk in chunks for line in splitter.feed(chunk)]
    *whole, _half = b"".join(chunks).split(b"\n")
    assert lines == [line for line in whole if line]


def test_a_line_may_be_as_long_as_the_limit_and_no_longer() -> None:
    splitter = LineSplitter(4)
    assert splitter.feed(b"aa") == []
    assert splitter.feed(b"aa\nbbbb") == [b"aaaa"]
    with pytest.raises(ServerError, match="exceeds 4 bytes"):
        splitter.feed(b"b")
