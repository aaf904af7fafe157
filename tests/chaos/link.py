"""A way to an API server that we can break: TLS is ended here and begun again behind.

In: connections of an agent, with the certificate of the cluster's own CA. Out: the same bytes to
the API server, or not: see `Weather`. One request a connection at a time (HTTP/1.1 without
pipelining, as aiohttp does it) is what lets a chunk that begins with a verb be a new request. Owned
by the site; every connection is a task of the event loop that started the link.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

_CHUNK = 1 << 16
_WRITES = (b"POST ", b"PUT ", b"PATCH ", b"DELETE ")
_VERBS = (b"GET ", *_WRITES)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
_REASONS = {
    409: ("Conflict", "Conflict"),
    429: ("Too Many Requests", "TooManyRequests"),
    500: ("Internal Server Error", "InternalError"),
    503: ("Service Unavailable", "ServiceUnavailable"),
}
_CONFLICTING = b"PATCH "
"""The verb that 409 fits without a lie: the object has changed since."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What is wrong with a link."""

    cut: bool = False
    """Connections end, and none can be made."""
    silent: bool = False
    """Nothing passes, nothing ends."""
    deaf: bool = False
    """Requests pass; nothing comes back."""
    latency: float = 0.0
    """Seconds more for whatever passes, in each direction."""
    refuse: int = 0
    """Every other request is answered with this status code and goes no further."""
    lose: bool = False
    """Every other write is carried out, and its connection ends instead of its answer."""


FAIR = Weather()


class Link:
    """Between one agent and one API server."""

    def __init__(
        self,
        *,
        port: int,
        upstream: tuple[str, int],
        serving: ssl.SSLContext,
        client: ssl.SSLContext,
        seed: int,
    ) -> None:
        """`serving` and `client`: what the agent sees, and what the API server sees."""
        self.port = port
        self._upstream = upstream
        self._tls = serving
        self._client = client
        self._rng = random.Random(seed)
        self._weathers: list[Weather] = []
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._serve, "127.0.0.1", self.port, ssl=self._tls
            )

    async def stop(self) -> None:
        """End every connection and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._open):
            writer.transport.abort()
        if self._serving:
            await asyncio.wait(self._serving)

    @contextlib.asynccontextmanager
    async def suffering(self, weather: Weather) -> AsyncIterator[None]:
        """Break it for the length of the block; what others broke stays broken."""
        self._weathers.append(weather)
        await self._weather_changed()
        try:
            yield
        finally:
            self._weathers.remove(weather)
            await self._weather_changed()

    def _any(self, name: str) -> bool:
        return any(getattr(weather, name) for weather in self._weathers)

    async def _weather_changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        if self._any("cut"):
            await self.stop()
        else:
            await self.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        self._open.add(writer)
        up: asyncio.StreamWriter | None = None
        try:
            down, up = await asyncio.open_connection(*self._upstream, ssl=self._client)
            self._open.add(up)
            flow = _Flow()
            pumps = [
                asyncio.ensure_future(self._requests(reader, up, writer, flow)),
                asyncio.ensure_future(self._answers(down, writer, flow)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # The API server is not there: as if it were asked directly.
        finally:
            for each in (writer, up):
                if each is not None:
                    self._open.discard(each)
                    each.transport.abort()

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        up: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        flow: _Flow,
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._pass("silent")
            if data.startswith(_VERBS):
                flow.lose = self._any("lose") and data.startswith(_WRITES) and self._toss()
                if code := self._refusal(data):
                    await _swallow_body(reader, data)
                    back.write(_answer(code))
                    await back.drain()
                    return
            up.write(data)
            await up.drain()

    async def _answers(
        self, down: asyncio.StreamReader, back: asyncio.StreamWriter, flow: _Flow
    ) -> None:
        while data := await down.read(_CHUNK):
            if flow.lose:
                return
            await self._pass("silent", "deaf")
            back.write(data)
            await back.drain()

    def _toss(self) -> bool:
        return self._rng.random() < 0.5

    def _refusal(self, request: bytes) -> int:
        codes = [weather.refuse for weather in self._weathers if weather.refuse]
        if not codes or not self._toss():
            return 0
        return 503 if codes[0] == 409 and not request.startswith(_CONFLICTING) else codes[0]

    async def _pass(self, *held_by: str) -> None:
        if self._weathers:
            await asyncio.sleep(max(weather.latency for weather in self._weathers))
        while any(self._any(name) for name in held_by):
            await self._changed.wait()


@dataclass(slots=True)
class _Flow:
    """What the two directions of a connection know of each other."""

    lose: bool = False


async def _swallow_body(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read the rest of a request: an answer before its end would be lost in a reset."""
    while b"\r\n\r\n" not in head and (more := await reader.read(_CHUNK)):
        head += more
    top, _, body = head.partition(b"\r\n\r\n")
    found = _LENGTH.search(top)
    left = (int(found[1]) if found else 0) - len(body)
    while left > 0 and (more := await reader.read(left)):
        left -= len(more)


def _answer(code: int) -> bytes:
    phrase, reason = _REASONS[code]
    status = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "message": "chaos says no",
        "reason": reason,
        "code": code,
    }
    body = json.dumps(status).encode()
    head = f"HTTP/1.1 {code} {phrase}\r\nContent-Type: application/json\r\n"
    wait = "Retry-After: 1\r\n" if code == 429 else ""
    return f"{head}{wait}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
