"""Cutting a stream into lines, and lines into groups."""

import dataclasses
import time
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.runtime.scripted_server import ScriptedServer, connect, pod
from tests.unit.runtime.scripted_server import watch as changing
from vnode.kube.errors import ServerError
from vnode.kube.listing import Selection
from vnode.kube.resources import PODS
from vnode.kube.types import PartialObject
from vnode.kube.watch import LineSplitter, watch

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


@pytest.mark.parametrize("gather", [0.0, 0.2])
async def test_changes_are_gathered_where_none_is_urgent_and_all_of_them_come(
    gather: float,
) -> None:
    changes = [("ADDED", pod(f"p{number}", number, node=3000 * "n")) for number in range(200)]
    trickle = dataclasses.replace(changing(*changes, end="ordinary"), pause=0.005)
    async with ScriptedServer(trickle) as server, connect(server.url) as client:
        groups = watch(
            client,
            Selection(PODS),
            PartialObject,
            resource_version="1",
            timeout_seconds=10,
            idle_timeout=10,
            gather=gather,
        )
        async with aclosing(groups):
            found = [[event.object for event in group] async for group in groups]
    names = [found.metadata.name for group in found for found in group if found is not None]
    assert names == [f"p{number}" for number in range(200)]
    assert (len(found) < 30) is (gather > 0)


async def test_a_stream_that_is_full_is_not_slowed_down() -> None:
    changes = [("ADDED", pod(f"p{number}", number, node=20_000 * "n")) for number in range(250)]
    full = changing(*changes, end="ordinary")
    async with ScriptedServer(full) as server, connect(server.url) as client:
        groups = watch(
            client,
            Selection(PODS),
            PartialObject,
            resource_version="1",
            timeout_seconds=10,
            idle_timeout=10,
            gather=0.5,
        )
        began = time.monotonic()
        async with aclosing(groups):
            found = [event for group in [g async for g in groups] for event in group]
    assert len(found) == 250
    assert time.monotonic() - began < 3  # 5 MB; at a buffer of 512 KiB in each half second it is 5
