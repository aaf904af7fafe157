"""A loopback HTTP server that answers with what the test put on its list, faults included.

It knows nothing of Kubernetes. Requests beyond the script are held open without an answer, as a
dead peer would, until the server is closed.
"""

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from aiohttp import web

from vnode.kube.client import KubeClient
from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.transport import Transport

__all__ = ["Received", "Reply", "ScriptedServer", "bookmark", "connect", "page", "pod", "watch"]

End = Literal["ordinary", "cut", "hang"]


@dataclass(frozen=True)
class Reply:
    """One answer: its chunks are sent one by one, then it ends in one of three ways."""

    chunks: tuple[bytes, ...] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    end: End = "ordinary"
    pause: float = 0.0
    """Seconds after each chunk."""


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer:
    """`async with ScriptedServer(reply, ...) as server:`"""

    def __init__(self, *script: Reply) -> None:
        self.script = deque(script)
        self.requests: list[Received] = []
        self.url = ""
        self._arrived = asyncio.Condition()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        _, port = self._runner.addresses[0][:2]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        await self._runner.cleanup()

    def release(self) -> None:
        """End all answers that are held open, in the ordinary way."""
        self._closing.set()

    async def arrived(self, number: int) -> Received:
        """Wait until so many requests have come; return the last of them."""
        async with asyncio.timeout(2), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= number)
        return self.requests[number - 1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=request.headers.copy(),
            body=await request.read(),
        )
        async with self._arrived:
            self.requests.append(received)
            self._arrived.notify_all()
        reply = self.script.popleft() if self.script else Reply(end="hang")
        if reply.end == "hang" and not reply.chunks:
            await self._closing.wait()
            raise web.HTTPServiceUnavailable
        headers = {"Content-Type": "application/json", **reply.headers}
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        for chunk in reply.chunks:
            await response.write(chunk)
            await asyncio.sleep(reply.pause)
        if reply.end == "cut":
            assert request.transport is not None
            # Let what was written reach the client before the connection is reset.
            await asyncio.sleep(0.02)
            request.transport.abort()
        elif reply.end == "hang":
            await self._closing.wait()
        return response


def connect(
    url: str, *, name: str = "compute", authorization: str | None = None, limit: int = 64
) -> KubeClient:
    """A client of that server, without any file."""
    connection = Connection(name=name)
    access = Access(
        server=url,
        tls=None,
        authorization=authorization,
        certificate=None,
        ca_source="",
        tls_digest=b"",
    )

    async def load_nothing(_: Connection) -> Access:
        return access

    credentials = Credentials(connection, access, load=load_nothing)
    return KubeClient(Transport(connection, credentials, limit=limit))


def pod(name: str, version: int, *, namespace: str = "ns", node: str = "n1") -> dict[str, object]:
    """A pod as JSON value."""
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(version),
        },
        "spec": {"nodeName": node},
        "status": {"phase": "Pending"},
    }


def page(*items: object, version: int, continue_: str = "") -> Reply:
    """One page of a listing."""
    metadata = {"resourceVersion": str(version), "continue": continue_}
    return Reply(chunks=(json.dumps({"metadata": metadata, "items": items}).encode(),))


def status(code: int, message: str, *, reason: str = "", **headers: str) -> Reply:
    """A metav1.Status."""
    return Reply(
        status=code, headers=headers, chunks=(json.dumps(_status(code, message, reason)).encode(),)
    )


def watch(*events: tuple[str, object], end: End = "hang") -> Reply:
    """A watch: one chunk for each event."""
    lines = (json.dumps({"type": kind, "object": value}).encode() + b"\n" for kind, value in events)
    return Reply(chunks=tuple(lines) or (b"\n",), end=end)


def bookmark(version: int) -> tuple[str, object]:
    """A BOOKMARK event."""
    return "BOOKMARK", {"metadata": {"resourceVersion": str(version)}}


def error_event(code: int, message: str, *, reason: str = "") -> tuple[str, object]:
    """An ERROR event."""
    return "ERROR", _status(code, message, reason)


def _status(code: int, message: str, reason: str) -> dict[str, object]:
    return {
        "kind": "Status",
        "status": "Failure",
        "code": code,
        "message": message,
        "reason": reason,
    }
