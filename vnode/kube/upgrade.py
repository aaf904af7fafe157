"""An HTTP upgrade to an API server, and gluing the connection to another one.

Flow: `dial` sends the request and returns an `Upgraded` once the server answered 101. The kubelet
server writes that answer's head to its own client and calls `splice` with the client's transport.
From then on bytes are copied both ways unread (SPDY, WebSocket or whatever was negotiated), the
faster side waiting for the slower (bounded memory), until one side ends; the other is closed when
it has taken all, since TLS cannot half-close and Go's streams end both directions too. A client has
the idle limit for that, as before: somebody may read the end in a pager, or have stopped it.

Owned by the caller of `dial`: call `splice` or `abort`, exactly one of them, once.

This module alone relies on what aiohttp does not promise: that a connection stays ours after a 101
(`ClientResponse.connection`) and that early bytes are in `ResponseHandler._tail`; and on where
asyncio keeps what TLS has not sent yet (`_buffered`). The contract test is
tests/unit/kube/test_upgrade.py.
"""

import asyncio
import contextlib
import math
from collections.abc import Sequence
from typing import cast

import aiohttp

from vnode.kube.errors import ServerError, Unreachable
from vnode.kube.sockets import keep_alive
from vnode.kube.transport import CONNECT_TIMEOUT, Transport

__all__ = ["Splice", "Upgraded", "dial"]

IDLE_LIMIT = 4 * 3600.0
"""Seconds without a byte in either direction after which a splice ends, as in the kubelet."""
_HEAD_TIMEOUT = 60.0
_LINGER = 10.0
"""Seconds that a closing side has to take what was already sent to it."""
_DRAIN_POLL = 0.25
"""Seconds between two looks at how much of it is left."""
_NEGOTIATION = ("upgrade", "x-stream-protocol-version")


async def dial(
    transport: Transport,
    method: str,
    path: str,
    *,
    query: Sequence[tuple[str, str]],
    headers: Sequence[tuple[str, str]],
) -> "Upgraded":
    """Ask for an upgrade. Raises ApiError for every answer but 101, and Unreachable."""
    sent = [(name, value) for name, value in headers if _negotiates(name)]
    try:
        async with asyncio.timeout(_HEAD_TIMEOUT):
            response = await transport.send(
                method,
                path,
                query=query,
                headers=[*sent, ("Connection", "Upgrade")],
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
                session="upgrades",
            )
    except TimeoutError:
        raise Unreachable(f"{transport.name}: {method} {path}: no answer in time") from None
    try:
        if response.status != 101:
            with transport.translated(method, path):
                await transport.check(response)
            raise ServerError("the server did not switch protocols", code=response.status)
        return Upgraded(response)
    except BaseException:
        response.close()
        raise


def _negotiates(name: str) -> bool:
    name = name.lower()
    return name in _NEGOTIATION or name.startswith("sec-websocket-")


class Upgraded:
    """A connection that switched protocols (`vnode.backend.UpgradedConnection`)."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self.headers: Sequence[tuple[str, str]] = tuple(
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in response.raw_headers
        )
        """Headers of the 101 answer as they came, to be relayed."""
        self._response = response

    def splice(
        self, transport: object, *, early: bytes, idle_limit: float = IDLE_LIMIT
    ) -> "Splice":
        """Glue the connection to `transport`, an asyncio transport taken over by the caller.

        The 101 must have been written to it. `early` is what its client sent after the request.
        Its protocol is replaced; the old one still hears of `connection_lost`.
        """
        return Splice(
            self._response, cast("asyncio.Transport", transport), early, idle_limit=idle_limit
        )

    def abort(self) -> None:
        """Close without splicing."""
        self._response.close()


class Splice:
    """Two connections glued together. Ends by itself when one of them does."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        client: asyncio.Transport,
        early: bytes,
        *,
        idle_limit: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._idle_limit = idle_limit
        self._closed = self._loop.create_future()
        self._linger: asyncio.TimerHandle | None = None
        self._drained: asyncio.TimerHandle | None = None
        self._patience = math.inf
        self._left = 0
        self._last_byte = self._loop.time()
        self._idle = self._loop.call_later(idle_limit, self._check_idle)
        server, tail = _take_over(response)
        self._sides = tuple(_Side(self, end) for end in (client, server) if end is not None)
        if client.is_closing():
            # `connection_lost` may have been called before we could hear of it.
            self._abort()
            return
        if server is None:
            # It said everything right behind its 101 and ended: a short command over WebSocket.
            client.write(tail)
            self._drain()
            return
        # Before anything is written: a full buffer is told of once, and has to stop the other side.
        for side, peer in zip(self._sides, reversed(self._sides), strict=True):
            side.join(peer)
        if tail:
            client.write(tail)
        if early:
            server.write(early)

    async def wait_closed(self) -> None:
        """Return when both sides are closed."""
        await asyncio.shield(self._closed)

    def close(self) -> None:
        """Flush and close both sides; what is not taken within 10 s is dropped."""
        if self._drained is not None:
            self._drained.cancel()
        for side in self._sides:
            if not side.transport.is_closing():  # A second time would keep TLS from being aborted.
                side.transport.close()
        if self._linger is None and not self._closed.done():
            self._linger = self._loop.call_later(_LINGER, self._abort)

    def touch(self) -> None:
        """Bytes went through."""
        self._last_byte = self._loop.time()

    def side_ended(self, side: "_Side") -> None:
        """It sends no more, or is gone."""
        if all(each.lost for each in self._sides):
            self._finish()
            return
        if side is self._sides[0]:
            self._patience = _LINGER  # The client left: nobody waits for the other side.
        if self._drained is None and self._linger is None:
            self._drain()

    def _drain(self) -> None:
        """Close both sides once the one that is left has taken all, or takes nothing for too long.

        Not before: a TLS transport that is closing is cut by asyncio after 30 s. The idle limit
        ends this too.
        """
        left = sum(_buffered(side.transport) for side in self._sides if not side.ended)
        if left < self._left:
            self.touch()
        self._left = left
        if left and self._loop.time() - self._last_byte < self._patience:
            self._drained = self._loop.call_later(_DRAIN_POLL, self._drain)
        else:
            self.close()

    def _abort(self) -> None:
        for side in self._sides:
            side.transport.abort()
        self._finish()

    def _finish(self) -> None:
        for timer in (self._idle, self._linger, self._drained):
            if timer is not None:
                timer.cancel()
        self._response.close()
        if not self._closed.done():
            self._closed.set_result(None)

    def _check_idle(self) -> None:
        left = self._last_byte + self._idle_limit - self._loop.time()
        if left > 0:
            self._idle = self._loop.call_later(left, self._check_idle)
        else:
            self.close()


class _Side(asyncio.Protocol):
    """One of the two connections; whatever comes in goes out of its peer."""

    def __init__(self, splice: Splice, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.ended = False
        """It sends no more."""
        self.lost = False
        self._splice = splice
        self._former = cast("asyncio.Protocol", transport.get_protocol())
        self._peer: asyncio.Transport | None = None
        transport.set_protocol(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):  # Unix sockets have no such options
                keep_alive(sock, patient=True)

    def join(self, peer: "_Side") -> None:
        """Begin to copy to `peer`."""
        self._peer = peer.transport
        if not self.transport.is_reading():
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Copy."""
        self._splice.touch()
        if self._peer is not None and not self._peer.is_closing():
            self._peer.write(data)

    def pause_writing(self) -> None:
        """Our buffer is full: let the peer send no more."""
        if self._peer is not None and not self._peer.is_closing():
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        """There is room again."""
        if self._peer is not None and not self._peer.is_closing():
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        """End both sides, after what is on its way."""
        self.ended = True
        self._splice.side_ended(self)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol that made this connection, for its bookkeeping, and the splice."""
        self.ended = self.lost = True
        self._former.connection_lost(exc)
        self._splice.side_ended(self)


def _take_over(response: aiohttp.ClientResponse) -> tuple[asyncio.Transport | None, bytes]:
    """The raw transport of a 101 answer (None: it has ended) and the bytes right behind it."""
    connection = response.connection
    if connection is None or connection.protocol is None:
        raise Unreachable("the connection closed right after it switched protocols")
    tail = connection.protocol._tail
    connection.protocol._tail = b""
    transport = connection.transport
    return (None if transport is None or transport.is_closing() else transport), tail


def _buffered(transport: asyncio.Transport) -> int:
    """Bytes that were written to it and that the kernel has not taken yet."""
    size = transport.get_write_buffer_size()
    # TLS hands a part on to a transport of its own, to which asyncio shows no way.
    carrier = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return size if carrier is None else size + int(carrier.get_write_buffer_size())
