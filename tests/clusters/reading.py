"""Reads of tests that look again and again until something is so.

In: a way to connect. Out: decoded objects. Connections are kept, one a thread: kubectl takes 60 ms
of the processor and a TLS handshake each time, and a test that waits looks four times a second.
Owned by the control plane, closed by its harness.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters.api import AdminClient


class Reader:
    """Reads of one API server, by any thread."""

    def __init__(self, connect: Callable[[], AdminClient]) -> None:
        self._connect = connect
        self._mine = threading.local()
        self._all: list[AdminClient] = []

    def find(self, path: str) -> Any:
        """The decoded object at a path, None if it is not there. Raises CommandError."""
        client: AdminClient | None = getattr(self._mine, "client", None)
        if client is None:
            client = self._mine.client = self._connect()
            self._all.append(client)
        return client.find(path)

    def close(self) -> None:
        """End the connections of all threads."""
        for client in self._all:
            client.close()
