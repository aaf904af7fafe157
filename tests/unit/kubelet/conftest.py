import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
import trustme
from prometheus_client import CollectorRegistry

from tests.unit.kubelet.fakes import NODE, FakeBackend, FakePods, ScriptedReviews, make_pod
from vnode.kubelet.access.authenticator import Authenticator
from vnode.kubelet.access.reviews import Reviews
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.server import KubeletServer
from vnode.kubelet.sessions import Sessions
from vnode.node.serving.key_pair import KeyPair
from vnode.node.serving.tls import ServingCertificate
from vnode.runtime.clock import SystemClock

HOST = "127.0.0.1"


class OffsetClock(SystemClock):
    """The real one, in another year if a test says so."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset


class Kubelet:
    """A served virtual node and clients for it."""

    def __init__(
        self,
        server_ca: trustme.CA,
        client_ca: trustme.CA,
        sessions: Sessions,
        passed_port: int | None = None,
    ) -> None:
        self.passed_port = passed_port
        self._server_ca = server_ca
        self._client_ca = client_ca
        self.sessions = sessions
        self.backend = FakeBackend()
        self.pods = FakePods(self.backend.as_backend(), [make_pod()])
        self.reviews = ScriptedReviews(
            tokens={"good": "reader", "useless": "nobody"},
            rights={
                (user, verb, subresource)
                for user in ("reader", "apiserver")
                for verb in ("get", "create")
                for subresource in ("proxy", "metrics", "stats")
            },
        )
        pair = server_ca.issue_cert(HOST)
        self.certificate = ServingCertificate(
            KeyPair(
                certificate=b"".join(blob.bytes() for blob in pair.cert_chain_pems),
                key=pair.private_key_pem.bytes(),
            ),
            client_ca=client_ca.cert_pem.bytes(),
        )
        self.clock = OffsetClock()
        self.server = KubeletServer(
            node=NODE,
            pods=self.pods,
            usage=self.backend,
            authenticator=Authenticator(Reviews(self.reviews, clock=SystemClock())),
            sessions=sessions,
            metrics=KubeletMetrics(CollectorRegistry(), sessions=sessions),
            host=HOST,
            port=0,
            passed_port=passed_port,
            tls=self.certificate,
            clock=self.clock,
        )

    def client_tls(self, user: str = "") -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._server_ca.configure_trust(context)
        if user:
            self._client_ca.issue_cert(f"{user}@example.com", common_name=user).configure_cert(
                context
            )
        return context

    @asynccontextmanager
    async def request(
        self,
        path: str,
        *,
        method: str = "GET",
        token: str = "good",
        user: str = "",
        tls: ssl.SSLContext | None = None,
        port: int | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=tls or self.client_tls(user), force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method, f"https://{HOST}:{port or self.server.port}{path}", headers=headers
            ) as response,
        ):
            yield response

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        token: str = "good",
        user: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, str]:
        asked = self.request(path, method=method, token=token, user=user, tls=tls)
        async with asked as response:
            return response.status, await response.text()

    async def raw(self, path: str, *, user: str = "") -> tuple[int, str]:
        """Ask for a path exactly as it is written; clients would put it right."""
        client = await self.dial(user)
        proof = () if user else (("Authorization", "Bearer good"),)
        status, headers = await client.open("GET", path, *proof)
        fields = dict(headers)
        body = b""
        if "Content-Length" in fields:
            body = await client.reader.readexactly(int(fields["Content-Length"]))
        await client.close()
        return status, body.decode()

    async def dial(
        self, user: str = "apiserver", *, tls: ssl.SSLContext | None = None
    ) -> "RawClient":
        reader, writer = await asyncio.open_connection(
            HOST, self.server.port, ssl=tls or self.client_tls(user)
        )
        return RawClient(reader, writer)


@dataclass
class RawClient:
    """A client that speaks for itself."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def open(
        self, method: str, path: str, *headers: tuple[str, str], early: bytes = b""
    ) -> tuple[int, list[tuple[str, str]]]:
        lines = [f"{method} {path} HTTP/1.1", "Host: x"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + early)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        answered = [(line.partition(": ")[0], line.partition(": ")[2]) for line in head[1:-2]]
        return int(head[0].split()[1]), answered

    async def close(self) -> None:
        self.writer.transport.abort()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


@pytest.fixture(scope="session")
def server_ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def client_ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    sessions = Sessions(per_namespace=3, total=10)
    yield sessions
    assert sessions.statistics().open == 0


@pytest.fixture
async def kubelet(
    server_ca: trustme.CA, client_ca: trustme.CA, sessions: Sessions, unused_tcp_port: int
) -> AsyncIterator[Kubelet]:
    kubelet = Kubelet(server_ca, client_ca, sessions, unused_tcp_port)
    await kubelet.server.start()
    try:
        yield kubelet
    finally:
        await kubelet.server.stop(drain_seconds=0)
