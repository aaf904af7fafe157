"""The only place of `federation` that speaks HTTP: calls to Alibaba Cloud's OpenAPI.

In: a signed call, or the address of a command's websocket. Out: status and body of the answer, or a
`Socket`; or Unavailable. Nothing is retried, and no redirect is followed, since both would send
what was signed for something else. Owned by the `EciApi` that it was made for. Errors name the kind
of failure only: the URL holds every parameter, registry passwords and environment included, and
whoever knows a websocket's address is inside the container.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp
import yarl

from federation.backends.eci.errors import AnswerTooLarge, Unavailable
from federation.backends.eci.signature import Signed
from vnode.kube.permit import Permit, PermittedRequest, required

__all__ = ["WRITES", "Answer", "HttpTransport", "Socket", "Transport"]

WRITES = frozenset({"CreateContainerGroup", "DeleteContainerGroup", "RestartContainerGroup"})
"""Actions that change something."""
_LARGEST = 16 << 20
_CONNECT = 10.0
_OPENS = 20.0
"""Seconds for a websocket; its address is good for 30."""
_PING, _CLOSES = 30.0, 2.0
_IN_ORDER = frozenset({0, 1000})
"""Codes with which a websocket is closed by somebody's will; 0 is none."""
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes = field(repr=False)


class Socket(Protocol):
    """A websocket that is open."""

    async def send(self, data: bytes) -> None:
        """Send one binary message. Raises ConnectionError."""
        ...

    async def receive(self) -> bytes | str | None:
        """The next message, or None: closed in order. Raises ConnectionError."""
        ...

    async def close(self) -> None:
        """Close it, whatever goes on in it."""
        ...


class Transport(Protocol):
    """One endpoint of the API."""

    @property
    def host(self) -> str:
        """What the Host header says."""
        ...

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        """Make one call. `permit` is asked when nothing but the sending is left.

        Raises:
            Unavailable: no complete answer after `timeout` seconds.
            Withheld: not sent, as `permit` said no.
        """
        ...

    async def open_socket(self, url: str) -> Socket:
        """Open a websocket; `url` is a secret. Raises Unavailable."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class HttpTransport:
    """Connections to `endpoint`, such as https://eci.cn-beijing.aliyuncs.com. Make it in a loop.

    Raises ValueError for an endpoint that is not https, unless it is on this machine: parameters
    hold secrets, and a signature does not hide them. `connections`: at most, of calls that change
    something, and as many of the others; more than the workers of an agent that may wait for them.
    """

    def __init__(self, endpoint: str, *, connections: int = 128) -> None:
        self._url = yarl.URL(endpoint).with_path("/")
        self._is_here = self._url.host in _THIS_MACHINE
        if self._url.scheme != "https" and not self._is_here:
            raise ValueError(f"the endpoint of ECI must be https://, not {self._url.scheme}://")
        port = self._url.explicit_port
        self._host = (self._url.host or "") + (f":{port}" if port else "")
        # What is slow to be made takes no place from those who look whether the service answers.
        self._writing, self._reading = (
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=connections),
                auto_decompress=True,
                request_class=PermittedRequest,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            for _ in range(2)
        )
        # Many sessions stay open for hours: they take no place from calls.
        self._sockets = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )

    @property
    def host(self) -> str:
        """Host, with the port where the endpoint names one."""
        return self._host

    async def send(self, call: Signed, *, timeout: float, permit: Permit | None = None) -> Answer:
        """See `Transport.send`."""
        # Encoded already: the service verifies the very characters that were signed.
        url = yarl.URL(f"{self._url}?{call.query}", encoded=True)
        writes = call.headers.get("x-acs-action") in WRITES
        session = self._writing if writes else self._reading
        limits = aiohttp.ClientTimeout(total=timeout, connect=min(timeout, _CONNECT))
        try:
            with required(permit):
                async with session.post(
                    url, headers=dict(call.headers), timeout=limits, allow_redirects=False
                ) as response:
                    body = bytearray()
                    async for part in response.content.iter_any():
                        body += part
                        if len(body) > _LARGEST:
                            raise AnswerTooLarge(f"an answer of more than {_LARGEST} bytes")
                    return Answer(status=response.status, body=bytes(body))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no answer from {self._host}: {type(error).__name__}") from None

    async def open_socket(self, url: str) -> Socket:
        """See `Transport.open_socket`. It must be wss://, unless the endpoint is on this machine
        and so is the socket: what is typed may be secret.
        """
        try:
            where = yarl.URL(url, encoded=True)
        except ValueError:
            raise Unavailable("an address that is none") from None
        here = self._is_here and where.host in _THIS_MACHINE
        if where.scheme != "wss" and not (where.scheme == "ws" and here):
            raise Unavailable("an address that is no wss://")
        try:
            async with asyncio.timeout(_OPENS):
                return _HttpSocket(
                    await self._sockets.ws_connect(
                        where,
                        # A close is answered by `close`; failing there would hide its code.
                        autoclose=False,
                        heartbeat=_PING,
                        max_msg_size=_LARGEST,
                        timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSES),
                    )
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"no websocket: {type(error).__name__}") from None

    async def close(self) -> None:
        """Close all connections."""
        await self._writing.close()
        await self._reading.close()
        await self._sockets.close()


class _HttpSocket:
    """A `Socket` of aiohttp's."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        await self._socket.send_bytes(data)

    async def receive(self) -> bytes | str | None:
        message = await self._socket.receive()
        if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            data: bytes | str = message.data
            return data
        if message.type is aiohttp.WSMsgType.CLOSE and message.data in _IN_ORDER:
            return None
        raise ConnectionResetError("the websocket broke")

    async def close(self) -> None:
        await self._socket.close()
