"""Upgrades and splices over real sockets: the contract test of what we rely on in aiohttp."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import pytest
import trustme

from vnode.kube import upgrade
from vnode.kube.client import KubeClient
from vnode.kube.config import Access, Connection
from vnode.kube.credentials import Credentials
from vnode.kube.errors import Forbidden, ServerError, Unreachable
from vnode.kube.transport import Transport
from vnode.kube.upgrade import Splice, Upgraded

if TYPE_CHECKING:
    from vnode.backend import UpgradedConnection

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: SPDY/3.1\r\nConnection: Upgrade\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Tls:
    """Contexts of both ends; None: plain."""

    server: ssl.SSLContext | None = None
    client: ssl.SSLContext | None = None


@pytest.fixture(scope="module", params=["plain", "tls"])
def tls(request: pytest.FixtureRequest) -> Iterator[Tls]:
    if request.param == "plain":
        yield Tls()
        return
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    yield Tls(server, client)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@dataclass
class Upstream:
    """An API server that answers every request with `head` and goes on with `serve`."""

    serve: Serve = echo
    head: bytes = HEAD + b"X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n"
    requests: list[bytes] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self.head)
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.ended.set()
            writer.close()


@asynccontextmanager
async def serving(upstream: Upstream, tls: Tls) -> AsyncIterator[KubeClient]:
    server = await asyncio.start_server(upstream.handle, "127.0.0.1", 0, ssl=tls.server)
    upstream.port = server.sockets[0].getsockname()[1]
    access = Access(
        server=f"{'https' if tls.client else 'http'}://127.0.0.1:{upstream.port}",
        tls=tls.client,
        authorization="Bearer ours",
        certificate=None,
        ca_source="",
        tls_digest=b"",
    )
    connection = Connection(name="compute")
    try:
        credentials = Credentials(connection, access)
        async with KubeClient(Transport(connection, credentials, limit=2)) as client:
            yield client
    finally:
        server.close()


class Acceptor(asyncio.Protocol):
    """Stands for the kubelet server's protocol: gives its transport away."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.connected = asyncio.Event()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.connected.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


@dataclass
class Session:
    """A spliced connection as the client at its end sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    acceptor: Acceptor
    splice: Splice


@asynccontextmanager
async def spliced(
    upgraded: Upgraded,
    tls: Tls,
    *,
    early: bytes = b"",
    idle_limit: float = 60.0,
    narrow: bool = False,
) -> AsyncIterator[Session]:
    """A client at the other end; `narrow`: the kernel keeps little of what it does not read."""
    acceptor = Acceptor()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: acceptor, "127.0.0.1", 0, ssl=tls.server)
    port = server.sockets[0].getsockname()[1]
    sock = socket.socket()
    if narrow:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    sock.setblocking(False)
    await loop.sock_connect(sock, ("127.0.0.1", port))
    name = "127.0.0.1" if tls.client else None
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=tls.client, server_hostname=name, limit=1024
    )
    await acceptor.connected.wait()
    assert acceptor.transport is not None
    if narrow:
        if tls.client:  # TLS reads ahead.
            cast("Any", writer.transport).set_read_buffer_limits(high=1024)
        accepted = acceptor.transport.get_extra_info("socket")
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    splice = upgraded.splice(acceptor.transport, early=early, idle_limit=idle_limit)
    try:
        async with asyncio.timeout(5):
            yield Session(reader, writer, acceptor, splice)
            splice.close()
            writer.close()
            await splice.wait_closed()
    finally:
        server.close()


async def dial(client: KubeClient, *headers: tuple[str, str], method: str = "POST") -> Upgraded:
    sent = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io"), *headers]
    query = [("command", "sh"), ("command", "-c"), ("command", "a b&c")]
    return await client.upgrade(method, "/api/v1/x/exec", query=query, headers=sent)


async def test_bytes_go_both_ways(tls: Tls) -> None:
    upstream = Upstream()
    async with serving(upstream, tls) as client:
        upgraded = await dial(client)
        seam: UpgradedConnection = upgraded  # checked by mypy
        assert seam is upgraded
        assert upgraded.status == 101
        assert ("X-Stream-Protocol-Version", "v4.channel.k8s.io") in upgraded.headers
        async with spliced(upgraded, tls) as session:
            for word in (b"hello", b"world"):
                session.writer.write(word)
                assert await session.reader.readexactly(5) == word


async def test_early_bytes_of_both_sides_arrive_first(tls: Tls) -> None:
    upstream = Upstream(head=HEAD + b"\r\nfrom-server:")
    async with serving(upstream, tls) as client:
        upgraded = await dial(client)
        async with spliced(upgraded, tls, early=b"from-client:") as session:
            session.writer.write(b"later")
            assert await session.reader.readexactly(29) == b"from-server:from-client:later"


async def test_more_early_bytes_than_any_buffer_arrive_whole(tls: Tls) -> None:
    early = bytes(range(256)) * 8192

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(early)
        await writer.drain()
        await reader.read()

    async with serving(Upstream(serve=flood), tls) as client:
        upgraded = await dial(client)
        await asyncio.sleep(0.1)  # let the other side fill what it can
        async with spliced(upgraded, tls) as session:
            assert await session.reader.readexactly(len(early)) == early


async def test_a_fast_side_waits_for_a_slow_one(tls: Tls) -> None:
    begin = asyncio.Event()
    received = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await begin.wait()
        while data := await reader.read(1 << 20):
            received += len(data)

    total = 64 * 1024 * 1024
    upstream = Upstream(serve=slow)
    async with serving(upstream, tls) as client, spliced(await dial(client), tls) as session:

        async def send() -> int:
            sent = 0
            for _ in range(total // (1 << 18)):
                session.writer.write(bytes(1 << 18))
                await session.writer.drain()
                sent += 1 << 18
            return sent

        sending = asyncio.create_task(send())
        done, _ = await asyncio.wait([sending], timeout=0.3)
        assert not done, "64 MiB went into buffers"
        assert session.acceptor.transport is not None
        assert not session.acceptor.transport.is_reading()
        begin.set()
        assert await sending == total
        session.writer.close()
        await session.splice.wait_closed()
        await upstream.ended.wait()
    assert received == total


async def test_what_the_server_sent_before_it_closed_still_arrives(tls: Tls) -> None:
    last = b"x" * 3_000_000

    async def finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(last)
        await writer.drain()

    upstream = Upstream(serve=finish)
    async with serving(upstream, tls) as client, spliced(await dial(client), tls) as session:
        assert len(await session.reader.read()) == len(last)


async def test_early_bytes_for_a_client_that_does_not_read_hold_the_server_back(tls: Tls) -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(256):
            writer.write(bytes(1 << 18))
            await writer.drain()

    upstream = Upstream(head=HEAD + b"\r\n" + bytes(400_000), serve=flood)
    async with serving(upstream, tls) as client:
        upgraded = await dial(client)
        await asyncio.sleep(0.1)  # more than a buffer is there when the two are glued together
        async with spliced(upgraded, tls, narrow=True) as session:
            below, above = session.splice._sides
            await asyncio.sleep(0.3)
            assert not above.transport.is_reading()
            assert upgrade._buffered(below.transport) < 32 << 20
            session.writer.transport.abort()


END = 60_000
"""Bytes: not as many as would hold a server back, so it ends while most of them are on their way"""


async def send_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(END))
    await writer.drain()


async def send_the_end_when_asked(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readexactly(1)
    await send_the_end(reader, writer)


@pytest.mark.parametrize("serve", [send_the_end, send_the_end_when_asked])
async def test_a_client_that_pauses_gets_the_end_later(
    tls: Tls, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    monkeypatch.setattr(upgrade, "_LINGER", 0.05)
    upstream = Upstream(serve=serve)
    async with (
        serving(upstream, tls) as client,
        spliced(await dial(client), tls, narrow=True, early=b"x") as session,
    ):
        await upstream.ended.wait()
        await asyncio.sleep(0.7)
        assert upgrade._buffered(session.splice._sides[0].transport) > 0
        assert len(await session.reader.read()) == END
        await session.splice.wait_closed()


@pytest.mark.parametrize("why", ["shutdown", "idle"])
async def test_a_client_that_takes_no_end_is_cut(
    tls: Tls, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(upgrade, "_LINGER", 0.05)
    upstream = Upstream(serve=send_the_end_when_asked)
    limit = 0.3 if why == "idle" else 60.0
    async with (
        serving(upstream, tls) as client,
        spliced(await dial(client), tls, narrow=True, early=b"x", idle_limit=limit) as session,
    ):
        await upstream.ended.wait()
        await asyncio.sleep(0.1)
        if why == "shutdown":
            session.splice.close()
            session.splice.close()  # by whoever waits for it, too
        await asyncio.wait_for(session.splice.wait_closed(), 2)
        await asyncio.sleep(0.05)
        assert session.acceptor.lost
        session.writer.transport.abort()


async def test_a_client_that_goes_away_ends_the_other_side(tls: Tls) -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, tls) as client, spliced(await dial(client), tls) as session:
        session.writer.transport.abort()
        await asyncio.wait_for(upstream.ended.wait(), 2)
        await session.splice.wait_closed()
        assert session.acceptor.lost


async def test_a_silent_session_ends_at_the_idle_limit(tls: Tls) -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, tls) as client:
        upgraded = await dial(client)
        async with spliced(upgraded, tls, idle_limit=0.2) as session:
            session.writer.write(b"x")
            await asyncio.wait_for(session.splice.wait_closed(), 2)
        await asyncio.wait_for(upstream.ended.wait(), 2)


async def test_closing_the_client_ends_its_sessions(tls: Tls) -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, tls) as client, spliced(await dial(client), tls) as session:
        await client.close()
        await asyncio.wait_for(session.splice.wait_closed(), 2)


async def test_a_client_that_is_gone_before_the_splice_leaves_nothing_open(tls: Tls) -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, tls) as client:
        upgraded = await dial(client)
        loop = asyncio.get_running_loop()
        acceptor = Acceptor()
        server = await loop.create_server(lambda: acceptor, "127.0.0.1", 0)
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await acceptor.connected.wait()
        assert acceptor.transport is not None
        acceptor.transport.abort()
        splice = upgraded.splice(acceptor.transport, early=b"")
        await asyncio.wait_for(splice.wait_closed(), 1)
        await asyncio.wait_for(upstream.ended.wait(), 1)
        writer.close()
        server.close()


async def test_an_upgrade_that_is_not_wanted_is_closed(tls: Tls) -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, tls) as client:
        (await dial(client)).abort()
        await asyncio.wait_for(upstream.ended.wait(), 2)


async def test_only_what_negotiates_the_protocol_is_sent_with_our_own_credentials() -> None:
    upstream = Upstream(serve=hold)
    async with serving(upstream, Tls()) as client:
        upgraded = await dial(
            client,
            ("X-Stream-Protocol-Version", "v3.channel.k8s.io"),
            ("Sec-WebSocket-Key", "k"),
            ("Authorization", "Bearer theirs"),
            ("Cookie", "theirs"),
            ("Impersonate-User", "theirs"),
            ("X-Remote-User", "theirs"),
            ("X-Forwarded-For", "theirs"),
        )
        upgraded.abort()
    head = upstream.requests[0].decode()
    assert head.startswith("POST /api/v1/x/exec?command=sh&command=-c&command=a%20b%26c HTTP/1.1")
    assert "theirs" not in head
    assert "Authorization: Bearer ours\r\n" in head
    assert head.count("X-Stream-Protocol-Version") == 2
    assert "Sec-WebSocket-Key: k\r\n" in head
    assert "Connection: Upgrade\r\n" in head
    assert "Content-Length: 0\r\n" in head


STATUS = b'{"kind":"Status","status":"Failure","reason":"Forbidden","message":"no","code":403}'


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%b" % (len(STATUS), STATUS), Forbidden),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ServerError),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", ServerError),
        (b"SSH-2.0-OpenSSH\r\n", Unreachable),
    ],
    ids=["403", "200", "302", "no HTTP"],
)
async def test_every_answer_but_101_is_an_error(head: bytes, kind: type[Exception]) -> None:
    async with serving(Upstream(head=head), Tls()) as client:
        with pytest.raises(kind):
            await dial(client)


async def test_get_upgrades_for_websockets_work_the_same() -> None:
    head = HEAD.replace(b"SPDY/3.1", b"websocket") + b"\r\n"
    async with serving(Upstream(head=head), Tls()) as client:
        upgraded = await client.upgrade(
            "GET", "/x", query=[], headers=[("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k")]
        )
        async with spliced(upgraded, Tls()) as session:
            session.writer.write(b"hello")
            assert await session.reader.readexactly(5) == b"hello"


async def test_both_sides_are_probed_and_may_take_nothing_for_long(tls: Tls) -> None:
    async with (
        serving(Upstream(serve=hold), tls) as client,
        spliced(await dial(client), tls) as session,
    ):
        assert len(session.splice._sides) == 2
        for side in session.splice._sides:
            sock = side.transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
            # Counts a closed window like silence: whoever reads in a pager would be cut.
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
