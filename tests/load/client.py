"""The client program: exec sessions over WebSocket, as kubectl opens them.

In: a `Way` (an API server and a namespace in which the pods are) and a pod. Out: an `Exec` that
was answered. Fails with `SessionError`. Protocol: v5.channel.k8s.io, KEP-4006: the first byte of a
message is its channel, 255 closes one.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from vnode.kube.config import Connection, load
from vnode.kube.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from vnode.kube.config import Access

PROTOCOL = "v5.channel.k8s.io"
CONTAINER = "main"
_STDIN, _STDOUT, _ERROR, _CLOSE = 0, 1, 3, 255
_PATIENCE = 60.0
"""Seconds for one answer, on a machine that is busy."""


class SessionError(Exception):
    """A session did not open, or did not answer as it should."""


@dataclass(frozen=True)
class Way:
    """How pods are reached: `direct` or `through`."""

    name: str
    kubeconfig: Path
    namespace: str


class Client:
    """Opens sessions one way. Made by `connected`."""

    def __init__(self, way: Way, access: Access, http: aiohttp.ClientSession) -> None:
        self.way = way
        self._access = access
        self._http = http

    async def open(self, pod: str, command: Sequence[str]) -> Exec:
        """Run a command with stdin and stdout. Raises SessionError."""
        began = time.perf_counter()
        query = [("container", CONTAINER), ("stdin", "true"), ("stdout", "true")]
        query += [("command", word) for word in command]
        path = f"/api/v1/namespaces/{self.way.namespace}/pods/{pod}/exec"
        url = f"{self._access.server}{path}?{urlencode(query, quote_via=quote)}"
        authorization = self._access.authorization
        try:
            async with asyncio.timeout(_PATIENCE):
                socket = await self._http.ws_connect(
                    URL(url, encoded=True),
                    protocols=(PROTOCOL,),
                    headers={"Authorization": authorization} if authorization else {},
                    max_msg_size=0,
                )
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SessionError(f"{self.way.name}: {type(error).__name__}: {error}") from error
        return Exec(socket, began=began, name=self.way.name)


class Exec:
    """One session. End it with `finish`; what is left ends with the client."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, *, began: float, name: str) -> None:
        self._socket = socket
        self._name = name
        self._began = began
        self.upgraded = time.perf_counter() - began
        """Seconds until the server had switched protocols."""
        self.answered = 0.0
        """Seconds from the beginning until the process gave its first answer."""

    async def echo(self, text: bytes) -> None:
        """Send a text to the process and read it back. Raises SessionError."""
        await self._send(bytes([_STDIN]) + text)
        received = b""
        while len(received) < len(text):
            channel, data = await self._receive()
            if channel != _STDOUT:
                raise SessionError(f"{self._name}: {data[:300]!r} instead of an answer")
            received += data
        if received != text:
            raise SessionError(f"{self._name}: sent {text!r}, got {received!r}")
        self.answered = self.answered or time.perf_counter() - self._began

    async def finish(self) -> None:
        """Close stdin; the process has to end well. Raises SessionError."""
        await self._send(bytes([_CLOSE, _STDIN]))
        while True:
            channel, data = await self._receive()
            if channel == _ERROR:
                break
        await self._socket.close()
        if json.loads(data).get("status") != "Success":
            raise SessionError(f"{self._name}: {data[:300]!r} at the end")

    async def _send(self, message: bytes) -> None:
        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, OSError) as error:
            raise SessionError(f"{self._name}: {error}") from error

    async def _receive(self) -> tuple[int, bytes]:
        """The next message that holds something."""
        while True:
            try:
                message = await self._socket.receive(timeout=_PATIENCE)
            except TimeoutError:
                raise SessionError(f"{self._name}: no answer in {_PATIENCE:g} s") from None
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise SessionError(f"{self._name}: the session ended: {message.type.name}")
            if len(message.data) > 1:
                return message.data[0], message.data[1:]


@asynccontextmanager
async def connected(way: Way) -> AsyncIterator[Client]:
    """A client for one way; every session has a connection of its own, as kubectl's have."""
    access = await load(Connection(way.name, way.kubeconfig))
    async with (
        aclosing(Sockets()) as sockets,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,
                force_close=True,
                ssl=access.tls or True,
                socket_factory=sockets.make,
            )
        ) as http,
    ):
        yield Client(way, access, http)
