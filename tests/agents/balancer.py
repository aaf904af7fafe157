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
    from collections.abc import Iterable, Sequence
    from types import TracebackType

_CHUNK = 1 << 16
_DIAL_SECONDS = 2.0


class Balancer:
    """Listens on one address and port; a context manager."""

    def __init__(self, address: str, port: int, targets: Sequence[str]) -> None:
        """Hand connections to the same port of `targets`, one after the other."""
        self._port = port
        self._targets = targets
        self._turn = itertools.count()
        self._listener = socket.create_server((address, port), backlog=128)
        self._connections: list[socket.socket] = []
        self._ended = False
        self._lock = threading.Lock()
        """Of both: clients connect again while their connections are being cut."""
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self.taken = dict.fromkeys(targets, 0)
        """Connections that each target took."""

    def __enter__(self) -> Balancer:
        self._thread.start()
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
        with self._lock:
            self._ended = True
        self.cut()
        self._thread.join(2 * _DIAL_SECONDS * len(self._targets))

    def cut(self) -> None:
        """End all connections, so that whoever keeps some makes new ones."""
        with self._lock:
            ended, self._connections = self._connections, []
        _close(ended)

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
            with self._lock:
                ended = self._ended
                if not ended:
                    self._connections += [near, far]
            if ended:
                _close([near, far])
                return
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()

    def _dial(self) -> socket.socket | None:
        first = next(self._turn)
        for number in range(len(self._targets)):
            target = self._targets[(first + number) % len(self._targets)]
            with suppress(OSError):
                far = socket.create_connection((target, self._port), timeout=_DIAL_SECONDS)
                far.settimeout(None)
                self.taken[target] += 1
                return far
        return None


def _close(connections: Iterable[socket.socket]) -> None:
    for connection in connections:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
