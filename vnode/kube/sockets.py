"""TCP sockets that notice dead peers, and their end.

In: addresses, from aiohttp's connectors. Out: sockets. Owned by whoever owns the connectors, who
calls `Sockets.aclose` after they are closed.
"""

import asyncio
import contextlib
import socket
from weakref import WeakSet

__all__ = ["Sockets", "keep_alive"]

_LOOKS, _PAUSE = 100, 0.01


class Sockets:
    """The sockets of one client: when it is closed, none of them is open.

    A connection that is left in the middle of an answer belongs to no pool any more, but over TLS
    it stays up to 30 s for the peer's goodbye (close_notify): longer than many an event loop.
    """

    def __init__(self) -> None:
        self._made: WeakSet[socket.socket] = WeakSet()

    def make(self, address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """Make one, as `socket_factory` of an `aiohttp.TCPConnector`."""
        family, kind, protocol, _, _ = address
        sock = socket.socket(family, kind, protocol)
        keep_alive(sock)
        self._made.add(sock)
        return sock

    async def aclose(self) -> None:
        """Let the peers' goodbyes go: return when all are closed, after a second at the latest."""
        for sock in self._open():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for _ in range(_LOOKS):
            if not self._open():
                return
            await asyncio.sleep(_PAUSE)

    def _open(self) -> list[socket.socket]:
        return [sock for sock in self._made if sock.fileno() >= 0]


def keep_alive(sock: socket.socket, *, patient: bool = False) -> None:
    """Make a TCP socket notice within about a minute that its peer is gone.

    `patient`: for streams, whose peers may be alive and take nothing for long: somebody who reads
    in a pager, a process that does not read its input. TCP_USER_TIMEOUT would cut them, since it
    counts a closed window like silence (tcp(7)). A peer that goes while bytes are on their way to
    it is then found by TCP's own retries, in about 15 minutes.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", 30),
        ("TCP_KEEPINTVL", 10),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 0 if patient else 30_000),
    ):
        number = getattr(socket, option, None)  # not every system has them
        if number is not None:
            sock.setsockopt(socket.IPPROTO_TCP, number, value)
