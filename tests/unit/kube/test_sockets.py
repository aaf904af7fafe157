"""A client that is closed has nothing open, whatever its peers do."""

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trustme

from tests.unit.kube.test_kubeconfig import write
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"


@contextmanager
def _never_saying_goodbye(context: ssl.SSLContext) -> Iterator[int]:
    """A server of one connection that begins an answer and then neither reads nor writes."""
    done = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            taken, _ = listening.accept()
            with context.wrap_socket(taken, server_side=True) as connection:
                connection.recv(1 << 16)
                connection.sendall(_ANSWER)
                done.wait(30)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            done.set()
            thread.join()


def test_a_connection_left_in_an_answer_ends_with_the_client(tmp_path: Path) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.cert_pem.write_to_path(str(tmp_path / "ca.crt"))

    async def leave(port: int) -> None:
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority": "ca.crt"}
        path = write(tmp_path, cluster=cluster)
        async with (
            await KubeClient.connect(Connection("c", path)) as client,
            client.stream("/watch", idle_timeout=5) as stream,
        ):
            assert await anext(aiter(stream)) == b"{"

    with _never_saying_goodbye(context) as port, warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        asyncio.run(leave(port))
        gc.collect()
    assert [str(each.message) for each in left] == []
