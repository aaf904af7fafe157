"""What a watch brings over its interruptions, and what ends it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.measuring.watching import WatchError, connected
from tests.unit.measuring.watched_server import PATH, WatchedServer, line, pod

if TYPE_CHECKING:
    from pathlib import Path


def _read(text: bytes, _: float) -> tuple[str, str | None]:
    event = json.loads(text)
    if event["type"] == "ERROR":
        raise WatchError("gone")
    metadata = event["object"]["metadata"]
    return metadata["resourceVersion"], metadata.get("name")


async def _seen(
    server: WatchedServer, *, port: int, directory: Path, number: int, **options: Any
) -> list[str]:
    """The first so many."""
    found: list[str] = []
    async with (
        server.running(port, directory) as kubeconfig,
        connected(kubeconfig) as api,
        asyncio.timeout(10),
    ):
        version = await api.version(PATH)
        async for name in api.watch(PATH, version, _read, **options):
            found.append(name)
            if len(found) == number:
                break
    return found


async def test_a_watch_that_a_server_ends_goes_on_from_the_last_version(
    unused_tcp_port: int, tmp_path: Path
) -> None:
    server = WatchedServer(
        line("ADDED", pod("a", 11)) + line("ADDED", pod("b", 12)), line("ADDED", pod("c", 13))
    )
    found = await _seen(server, port=unused_tcp_port, directory=tmp_path, number=3, labels="x")
    assert found == ["a", "b", "c"]
    asked = [(query["resourceVersion"], query["labels"]) for query in server.asked]
    assert asked == [("10", "x"), ("12", "x")]


async def test_a_line_that_is_cut_off_is_brought_again(
    unused_tcp_port: int, tmp_path: Path
) -> None:
    whole = line("ADDED", pod("b", 12))
    server = WatchedServer(line("ADDED", pod("a", 11)) + whole[:-5], whole)
    found = await _seen(server, port=unused_tcp_port, directory=tmp_path, number=2)
    assert found == ["a", "b"]
    assert [query["resourceVersion"] for query in server.asked] == ["10", "11"]


async def test_what_says_nothing_moves_the_version_on(unused_tcp_port: int, tmp_path: Path) -> None:
    bookmark = line("BOOKMARK", {"metadata": {"resourceVersion": "90"}})
    server = WatchedServer(bookmark, line("ADDED", pod("a", 91)))
    found = await _seen(server, port=unused_tcp_port, directory=tmp_path, number=1)
    assert found == ["a"]
    assert [query["resourceVersion"] for query in server.asked] == ["10", "90"]


async def test_a_server_that_is_away_for_a_while_is_waited_for_if_asked(
    unused_tcp_port: int, tmp_path: Path
) -> None:
    server = WatchedServer(503, 429, line("ADDED", pod("a", 11)))
    found = await _seen(server, port=unused_tcp_port, directory=tmp_path, number=1, again=0.0)
    assert found == ["a"]


@pytest.mark.parametrize(
    ("answer", "again"),
    [(503, None), (403, None), (403, 0.0), (line("ERROR", {"code": 410}), 0.0)],
)
async def test_a_refusal_ends_it(
    answer: bytes | int, again: float | None, unused_tcp_port: int, tmp_path: Path
) -> None:
    server = WatchedServer(answer)
    with pytest.raises(WatchError):
        await _seen(server, port=unused_tcp_port, directory=tmp_path, number=1, again=again)
