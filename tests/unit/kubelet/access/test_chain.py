"""The kubelet API, the Kubernetes client and an API server below that switches protocols."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.unit.kubelet.conftest import HOST, Kubelet
from vnode.backend import ObservedPod, StreamRequest, UpgradedConnection
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection

SPDY = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("Content-Length", "0"))
WEBSOCKET = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
EXEC = "/exec/team/web/main?command=cat&input=1&output=1"
GREETING = b"right behind the head"


class ServerBelow:
    """Answers every request with 101 and then sends back what it gets."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.ended = asyncio.Event()
        self.hang_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        upgrade = b"websocket" if b"websocket" in self.heads[-1] else b"SPDY/3.1"
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
            b"Upgrade: " + upgrade + b"\r\n\r\n" + GREETING
        )
        echo = asyncio.create_task(self._echo(reader, writer))
        hang_up = asyncio.create_task(self.hang_up.wait())
        await asyncio.wait((echo, hang_up), return_when=asyncio.FIRST_COMPLETED)
        echo.cancel()
        hang_up.cancel()
        await asyncio.gather(echo, hang_up, return_exceptions=True)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        self.ended.set()

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def joined(kubelet: Kubelet, directory: Path) -> AsyncIterator[ServerBelow]:
    """`kubelet` with a backend whose streams go through a `KubeClient`."""
    below = ServerBelow()
    server = await asyncio.start_server(below.serve, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(
        f"""
apiVersion: v1
kind: Config
current-context: x
clusters: [{{name: x, cluster: {{server: "http://{HOST}:{port}"}}}}]
users: [{{name: x, user: {{token: compute-credential}}}}]
contexts: [{{name: x, context: {{cluster: x, user: x}}}}]
"""
    )
    connection = Connection(
        name="below", kubeconfig=kubeconfig, context=None, user_agent="vnode-test"
    )
    async with server, await KubeClient.connect(connection) as client:

        async def upgrade(pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
            return await client.upgrade(
                request.method, "/api/v1/pods", query=[("tty", "true")], headers=request.headers
            )

        kubelet.backend.upgrade = upgrade  # type: ignore[method-assign]
        yield below


@pytest.mark.parametrize(("method", "headers"), [("POST", SPDY), ("GET", WEBSOCKET)])
async def test_bytes_go_through_unchanged_and_both_ends_close(
    kubelet: Kubelet, tmp_path: Path, method: str, headers: tuple[tuple[str, str], ...]
) -> None:
    async with joined(kubelet, tmp_path) as below:
        client = await kubelet.dial()
        status, _ = await client.open(
            method, EXEC, *headers, ("Authorization", "Bearer tenant-credential")
        )
        assert status == 101
        assert await client.reader.readexactly(len(GREETING)) == GREETING
        sent = hashlib.sha256(b"seed").digest() * 65536  # 2 MiB

        async def send() -> None:
            client.writer.write(sent)
            await client.writer.drain()

        _, received = await asyncio.gather(send(), client.reader.readexactly(len(sent)))
        assert received == sent
        await client.close()
        await asyncio.wait_for(below.ended.wait(), 5)
        await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
    assert b"tenant-credential" not in below.heads[0]
    _, metrics = await kubelet.ask("/metrics")
    assert 'vnode_kubelet_requests_total{code="101",route="exec"} 1.0' in metrics


async def test_when_the_side_below_ends_the_client_gets_everything_and_an_end(
    kubelet: Kubelet, tmp_path: Path
) -> None:
    async with joined(kubelet, tmp_path) as below:
        client = await kubelet.dial()
        await client.open("POST", EXEC, *SPDY)
        below.hang_up.set()
        assert await client.reader.read() == GREETING
        await client.close()
        await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)


async def test_stop_ends_real_tunnels(kubelet: Kubelet, tmp_path: Path) -> None:
    async with joined(kubelet, tmp_path) as below:
        client = await kubelet.dial()
        await client.open("POST", EXEC, *SPDY)
        await kubelet.server.stop(drain_seconds=0)
        await asyncio.wait_for(below.ended.wait(), 5)
        assert await client.reader.read() == GREETING
        await client.close()
