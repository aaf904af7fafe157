"""What an onlooker tells, and how it says that it sees no more."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from tests.measuring.onlooker import Collection, Onlooker, Version
from tests.measuring.waiting import MeasurementError
from tests.unit.measuring.watched_server import PATH, WatchedServer, line, pod

if TYPE_CHECKING:
    from pathlib import Path

PODS = Collection(PATH, "app=web")


class _Heard:
    def __init__(self, number: int) -> None:
        self.versions: list[Version] = []
        self.all = threading.Event()
        self._number = number

    def hear(self, version: Version) -> None:
        self.versions.append(version)
        if len(self.versions) == self._number:
            self.all.set()


async def test_it_tells_what_there_is_and_all_that_comes_later(
    unused_tcp_port: int, tmp_path: Path
) -> None:
    server = WatchedServer(
        line("BOOKMARK", pod("none", 11)) + line("MODIFIED", pod("a", 12)),
        line("DELETED", pod("a", 13)),
        items=(pod("a", 9),),
    )
    heard = _Heard(3)

    def look(kubeconfig: Path) -> None:
        with Onlooker(kubeconfig, [PODS], heard.hear) as onlooker:
            assert heard.all.wait(10)
            onlooker.check()

    async with server.running(unused_tcp_port, tmp_path) as kubeconfig:
        await asyncio.to_thread(look, kubeconfig)
    assert [(v.collection, v.type) for v in heard.versions] == [
        (PODS, "ADDED"),
        (PODS, "MODIFIED"),
        (PODS, "DELETED"),
    ]
    assert [v.object["metadata"]["resourceVersion"] for v in heard.versions] == ["9", "12", "13"]
    assert server.asked[0]["labelSelector"] == "app=web"


async def test_it_says_when_it_sees_no_more(unused_tcp_port: int, tmp_path: Path) -> None:
    gone = line("ERROR", {"kind": "Status", "message": "too old resource version"})
    heard = _Heard(1)

    def look(kubeconfig: Path) -> None:
        with Onlooker(kubeconfig, [PODS], heard.hear) as onlooker:
            assert heard.all.wait(10)
            onlooker._background._thread.join(10)
            onlooker.check()

    server = WatchedServer(line("ADDED", pod("a", 11)) + gone)
    async with server.running(unused_tcp_port, tmp_path) as kubeconfig:
        with pytest.raises(MeasurementError, match="too old resource version"):
            await asyncio.to_thread(look, kubeconfig)


async def test_it_does_not_begin_where_it_sees_nothing(
    unused_tcp_port: int, tmp_path: Path
) -> None:
    def look(kubeconfig: Path) -> None:
        with Onlooker(kubeconfig, [Collection("/not/there")], print):
            pytest.fail("began")

    async with WatchedServer().running(unused_tcp_port, tmp_path) as kubeconfig:
        with pytest.raises(MeasurementError, match="404"):
            await asyncio.to_thread(look, kubeconfig)
