"""The few API calls that the harness makes itself: readiness, nodes, and their status.

In: a path and an object. Out: the decoded answer. Blocking, one connection a client; not for
tests, which use `Cluster.kubectl` or a client of their own.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.clusters.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from tests.clusters.pki import Pair

_NETWORK_ERRORS = (OSError, http.client.HTTPException)
_IDLE_SECONDS = 60.0
"""API servers end connections that were idle for 90 s, whoever is about to use one."""


class AdminClient:
    """Talks to one API server with a client certificate."""

    def __init__(self, server: str, *, ca_file: Path, pair: Pair, timeout: float = 10) -> None:
        url = urlsplit(server)
        context = ssl.create_default_context(cafile=str(ca_file))
        context.load_cert_chain(pair.cert, pair.key)
        self._connection = http.client.HTTPSConnection(
            url.hostname or "", url.port, context=context, timeout=timeout
        )
        self._used = time.monotonic()

    def __enter__(self) -> AdminClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; the next call opens a new one."""
        self._connection.close()

    def status(self, path: str) -> int:
        """Status code of a GET; 0 when there is no answer at all."""
        try:
            return self._exchange("GET", path, b"", "application/json")[0]
        except _NETWORK_ERRORS:
            self._connection.close()
            return 0

    def get(self, path: str) -> Any:
        """The decoded object at a path."""
        return self._call("GET", path, b"", "application/json")

    def find(self, path: str) -> Any:
        """The same, None if it is not there; of a server that was restarted meanwhile too."""
        try:
            status, answer = self._exchange("GET", path, b"", "application/json")
        except _NETWORK_ERRORS:
            self.close()
            try:
                status, answer = self._exchange("GET", path, b"", "application/json")
            except _NETWORK_ERRORS as error:
                self.close()
                raise CommandError(f"GET {path}: {error}") from error
        return None if status == HTTPStatus.NOT_FOUND else _decoded("GET", path, status, answer)

    def create(self, path: str, body: Mapping[str, Any]) -> Any:
        """POSTs an object."""
        return self._call("POST", path, json.dumps(body).encode(), "application/json")

    def patch(self, path: str, body: Mapping[str, Any], *, whole_lists: bool = False) -> Any:
        """PATCHes an object; entries of lists are found by their keys, or lists are `whole_lists`.

        Custom resources only know whole lists.
        """
        merge = "merge" if whole_lists else "strategic-merge"
        kind = f"application/{merge}-patch+json"
        return self._call("PATCH", path, json.dumps(body).encode(), kind)

    def delete(self, path: str) -> None:
        """DELETEs an object."""
        self._call("DELETE", path, b"", "application/json")

    def _call(self, method: str, path: str, body: bytes, content_type: str) -> Any:
        try:
            status, answer = self._exchange(method, path, body, content_type)
        except _NETWORK_ERRORS as error:
            self._connection.close()
            raise CommandError(f"{method} {path}: {error}") from error
        return _decoded(method, path, status, answer)

    def _exchange(
        self, method: str, path: str, body: bytes, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self.close()
        self._connection.request(method, path, body=body or None, headers=headers)
        response = self._connection.getresponse()
        answer = response.status, response.read()
        self._used = time.monotonic()
        return answer


def _decoded(method: str, path: str, status: int, answer: bytes) -> Any:
    if status >= 300:
        raise CommandError(f"{method} {path}: {status} {answer[:500].decode()}")
    return json.loads(answer)


def is_usable(node: dict[str, Any]) -> bool:
    """Ready, and no longer tainted as not ready."""
    conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and not any(
        taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", [])
    )
