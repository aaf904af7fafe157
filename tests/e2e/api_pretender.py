"""An API server that pretends: to be of another version, and to live at another time.

In: requests of a client that was told to come here over plain HTTP, with whatever credential. Out:
the answers of the real API server behind, but for the Date of all and the body of /version. Runs in
a thread of its own; the clients here are programs.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import ssl
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters import Cluster

_PASSED_ON = ("Authorization", "Content-Type", "Accept")


@contextlib.contextmanager
def pretender(cluster: Cluster, *, version: str = "", ahead: float = 0.0) -> Iterator[str]:
    """The URL of a server before `cluster`: of that gitVersion, `ahead` seconds in the future."""
    trust = ssl.create_default_context(cafile=str(cluster.ca_file))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            headers = {n: self.headers[n] for n in _PASSED_ON if n in self.headers}
            request = urllib.request.Request(
                cluster.server + self.path,
                data=self.rfile.read(length) if length else None,
                headers=headers,
                method=self.command,
            )
            try:
                with urllib.request.urlopen(request, context=trust, timeout=20) as answer:
                    code, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                code, body = error.code, error.read()
            if version and self.path == "/version":
                body = json.dumps({**json.loads(body), "gitVersion": version}).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _pass_on  # noqa: N815 - the names of the standard library

        def date_time_string(self, timestamp: float | None = None) -> str:
            now = time.time() if timestamp is None else timestamp
            return email.utils.formatdate(now + ahead, usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
