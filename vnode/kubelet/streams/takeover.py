"""Turns an HTTP request that aiohttp serves into a bare connection.

In: a request whose answer has not begun, and a connection below that has switched protocols. Out:
both glued together, after the peer got the same 101. The peer sends nothing before it has the 101,
so nothing is lost between the two protocols; what came early all the same is passed on.

This is the only module that knows aiohttp's private parts: `RequestHandler._message_tail` (bytes
behind a WebSocket request's head) and that a replaced protocol is never told `connection_lost`,
which the server needs for its books. A test pins both.
"""

import asyncio

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from vnode.backend import SplicedConnection, UpgradedConnection
from vnode.kubelet.streams.query import kept_headers

__all__ = ["NoAnswer", "take_over"]


class NoAnswer(web.StreamResponse):
    """Stands for an answer that aiohttp must not write; ends the connection.

    `code` is for the books only: 101 for a tunnel, whose head `take_over` writes, or 499 for a
    client that left.
    """

    def __init__(self, code: int) -> None:
        super().__init__(status=code)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Write no head."""
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write no end."""


def take_over(request: web.BaseRequest, connection: UpgradedConnection) -> SplicedConnection:
    """Answer 101 and glue the client's connection to `connection`.

    Afterwards the handler has to wait until the tunnel ends and return a `NoAnswer`.

    Raises:
        ConnectionResetError: one of the two sides is gone; both are closed.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        connection.abort()
        raise ConnectionResetError("the client left while its stream was being opened")
    protocol = request.protocol
    early, protocol._message_tail = protocol._message_tail, b""
    # From here on aiohttp hears of this connection once, when its handler has ended.
    transport.set_protocol(asyncio.Protocol())
    request.task.add_done_callback(lambda _task: protocol.connection_lost(None))
    # aiohttp stops reading when much comes behind a WebSocket request's head.
    if not transport.is_reading():
        transport.resume_reading()
    transport.write(_head(connection))
    try:
        return connection.splice(transport, early=early)
    except Exception as error:
        connection.abort()
        transport.abort()
        raise ConnectionResetError("the connection below was cut when it was opened") from error


def _head(connection: UpgradedConnection) -> bytes:
    lines = ["HTTP/1.1 101 Switching Protocols"]
    lines += [f"{name}: {value}" for name, value in kept_headers(connection.headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
