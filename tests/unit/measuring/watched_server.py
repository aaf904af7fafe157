"""An API server of one collection that says what a test has written down."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATH = "/api/v1/namespaces/team-a/pods"


def pod(name: str, version: int) -> dict[str, Any]:
    """One version of a pod."""
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def line(kind: str, what: dict[str, Any]) -> bytes:
    """Of a watch."""
    return json.dumps({"type": kind, "object": what}).encode() + b"\n"


class WatchedServer:
    """Answers each watch with the next of its answers; after them a watch hangs."""

    def __init__(self, *answers: bytes | int, items: tuple[dict[str, Any], ...] = ()) -> None:
        """An answer is what a watch brings until it ends, or a status code."""
        self.asked: list[dict[str, str]] = []
        """Queries of all watches."""
        self._answers = list(answers)
        self._items = items
        self._over = asyncio.Event()

    @asynccontextmanager
    async def running(self, port: int, directory: Path) -> AsyncIterator[Path]:
        """Serve; gives the kubeconfig."""
        app = web.Application()
        app.router.add_get(PATH, self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        kubeconfig = directory / "kubeconfig"
        await asyncio.to_thread(kubeconfig.write_text, _kubeconfig(f"http://127.0.0.1:{port}"))
        try:
            yield kubeconfig
        finally:
            self._over.set()
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            metadata = {"resourceVersion": "10"}
            return web.json_response({"metadata": metadata, "items": self._items})
        self.asked.append(dict(request.query))
        said = self._answers.pop(0) if self._answers else b""
        if isinstance(said, int):
            return web.Response(status=said, text="not now")
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(said)
        if not said:
            await self._over.wait()
        return answer


def _kubeconfig(server: str) -> str:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": server}}],
        "users": [{"name": "a", "user": {"token": "t"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }
    return yaml.safe_dump(config)
