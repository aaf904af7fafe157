"""What etcd's gateway sends, line by line."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from tests.chaos.history import History, Version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = base64.b64encode(b"/registry/pods/team-a/web").decode()


def _value(phase: str) -> str:
    pod = {"metadata": {"uid": "u1", "name": "web"}, "status": {"phase": phase}}
    return base64.b64encode(json.dumps(pod).encode()).decode()


def _put(phase: str, revision: int) -> dict[str, Any]:
    event = {"kv": {"key": KEY, "value": _value(phase)}}
    return {"header": {"revision": str(revision)}, "events": [event]}


def _delete(revision: int) -> dict[str, Any]:
    event = {"type": "DELETE", "kv": {"key": KEY}, "prev_kv": {"value": _value("Failed")}}
    return {"header": {"revision": str(revision)}, "events": [event]}


class _Etcd:
    """Sends the same lines to whoever watches pods."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self.results = list(results)
        self.over = asyncio.Event()

    async def watch(self, request: web.Request) -> web.StreamResponse:
        wanted = (await request.json())["create_request"]
        answer = web.StreamResponse()
        await answer.prepare(request)
        if base64.b64decode(wanted["key"]) == b"/registry/pods/":
            for result in self.results:
                await answer.write(json.dumps({"result": result}).encode() + b"\n")
        await self.over.wait()
        return answer


@pytest.fixture
async def etcd() -> _Etcd:
    return _Etcd({"header": {"revision": "1"}, "created": True})


@pytest.fixture
async def url(etcd: _Etcd, unused_tcp_port: int) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v3/watch", etcd.watch)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    yield f"http://127.0.0.1:{unused_tcp_port}"
    etcd.over.set()
    await runner.cleanup()


async def _read(url: str, revision: int) -> tuple[History, list[Version]]:
    heard: list[Version] = []
    reached = asyncio.Event()

    def listen(version: Version) -> None:
        heard.append(version)
        if len(heard) == revision:
            reached.set()

    history = History("a", url, listen)
    run = asyncio.create_task(history.run())
    await asyncio.wait([asyncio.create_task(reached.wait()), run], return_when="FIRST_COMPLETED")
    if not run.done():
        run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    return history, heard


async def test_every_version_is_told_and_the_last_one_lives(etcd: _Etcd, url: str) -> None:
    etcd.results += [_put("Pending", 2), _put("Running", 3)]
    history, heard = await _read(url, 2)
    assert [v.object["status"]["phase"] for v in heard] == ["Pending", "Running"]
    assert (heard[0].namespace, heard[0].name, heard[0].uid) == ("team-a", "web", "u1")
    assert history.of("pods", "team-a")["web"]["status"]["phase"] == "Running"
    assert not history.of("pods", "team-b")


async def test_what_is_gone_is_told_with_its_last_state(etcd: _Etcd, url: str) -> None:
    etcd.results += [_put("Running", 2), _delete(3)]
    history, heard = await _read(url, 2)
    assert [(v.gone, v.object["status"]["phase"]) for v in heard] == [
        (False, "Running"),
        (True, "Failed"),
    ]
    assert not history.live


async def test_a_watch_that_etcd_ends_is_an_error(etcd: _Etcd, url: str) -> None:
    etcd.results.append({"header": {"revision": "9"}, "canceled": True})
    with pytest.raises(ExceptionGroup, match="unhandled errors"):
        await History("a", url, lambda _version: None).run()
