"""One address before several replicas, as a Service of type LoadBalancer is one.

In: TCP connections. Out: the same bytes, to each of the targets in turn; one that refuses is passed
over. Owned by the test that starts it.
"""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

_CHUNK = 1 << 16


class Balancer:
    """Listens on one address and port; a context manager."""

    def __init__(self, address: str, port: int, targets: Sequence[str]) -> None:
        """Hand connections to the same port of `targets`, one after the other."""
        self._port = port
        self._targets = targets
        self._turn = itertools.count()
        self._listener = socket.create_server((address, port), backlog=128)
        self._connections: list[socket.socket] = []
        self.taken = dict.fromkeys(targets, 0)
        """Connections that each target took."""

    def __enter__(self) -> Balancer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections, so that whoever keeps some makes new ones."""
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = self._dial()
            if far is None:
                near.close()
                continue
            self._connections += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def _dial(self) -> socket.socket | None:
        first = next(self._turn)
        for number in range(len(self._targets)):
            target = self._targets[(first + number) % len(self._targets)]
            with suppress(OSError):
                far = socket.create_connection((target, self._port), timeout=2)
                far.settimeout(None)
                self.taken[target] += 1
                return far
        return None


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
