"""Connections that are passed on to the replica that serves, over loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from tests.fakes.clock import LoopClock
from vnode.kubelet.passing import PassedConnections, Passing

HOST = "127.0.0.1"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Holder:
    """Who serves: gives back what it gets, or what a test wants."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[Streams] = asyncio.Queue()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._take, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.taken.put_nowait((reader, writer))


class Replica:
    """One that does not serve."""

    def __init__(self, target: int, port: int, *, most: int = 100, idle: float = 60.0) -> None:
        self.port = port
        self.holder = HOST
        self.registry = CollectorRegistry()
        self.passing = Passing(
            host=HOST,
            ports={port: target},
            holder=lambda: self.holder,
            connections=PassedConnections(most=most, registry=self.registry),
            clock=LoopClock(),
            idle_seconds=idle,
        )
        self.running: asyncio.Task[None] | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self.running = asyncio.create_task(self.passing.run())
        await self.listens()

    async def listens(self) -> None:
        for _ in range(200):
            try:
                _, writer = await asyncio.open_connection(HOST, self.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.transport.abort()
                return
        raise AssertionError("it does not listen")

    async def connect(self, source: str = HOST) -> Streams:
        reader, writer = await asyncio.open_connection(HOST, self.port, local_addr=(source, 0))
        self._writers.append(writer)
        return reader, writer

    def count(self, result: str) -> float:
        name = "vnode_kubelet_passed_connections_total"
        return self.registry.get_sample_value(name, {"result": result}) or 0.0

    @property
    def open(self) -> float:
        return self.registry.get_sample_value("vnode_kubelet_passing_connections") or 0.0

    async def has_open(self, number: int) -> None:
        for _ in range(500):
            if self.open == number:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{self.open:g} connections are open")

    async def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        if self.running is not None:
            self.running.cancel()
            await asyncio.wait([self.running])


@pytest.fixture
async def holder() -> AsyncIterator[Holder]:
    made = Holder()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def make(
    holder: Holder, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Callable[..., Coroutine[Any, Any, Replica]]]:
    made: list[Replica] = []

    async def replica(**settings: Any) -> Replica:
        one = Replica(holder.port, unused_tcp_port_factory(), **settings)
        made.append(one)
        await one.start()
        _, writer = await holder.taken.get()  # The probe of `listens` is passed on too.
        writer.close()
        await one.has_open(0)
        return one

    yield replica
    for one in made:
        await one.stop()


Make = Callable[..., Awaitable[Replica]]


@asynccontextmanager
async def soon() -> AsyncIterator[None]:
    async with asyncio.timeout(5):
        yield


async def closed(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        assert await reader.read() == b""


async def joined(replica: Replica, holder: Holder, source: str = HOST) -> tuple[Streams, Streams]:
    async with soon():
        near = await replica.connect(source)
        return near, await holder.taken.get()


async def test_bytes_go_both_ways_as_they_are(make: Make, holder: Holder) -> None:
    replica = await make()
    (reader, writer), (far_reader, far_writer) = await joined(replica, holder)
    async with soon():
        writer.write(b"\x16\x03\x01 hello")
        assert await far_reader.readexactly(9) == b"\x16\x03\x01 hello"[:9]
        far_writer.write(b"answer")
        assert await reader.readexactly(6) == b"answer"
    assert replica.open == 1


async def test_a_side_that_has_said_all_still_hears_the_other(make: Make, holder: Holder) -> None:
    replica = await make()
    (reader, writer), (far_reader, far_writer) = await joined(replica, holder)
    async with soon():
        writer.write(b"question")
        writer.write_eof()
        assert await far_reader.read() == b"question"
        far_writer.write(b"a long answer" * 100_000)
        far_writer.write_eof()
        assert len(await reader.read()) == 1_300_000
        far_writer.close()
        await replica.has_open(0)


async def test_who_takes_nothing_is_sent_no_more_than_buffers_hold(
    make: Make, holder: Holder
) -> None:
    replica = await make()
    (reader, _), (_, far_writer) = await joined(replica, holder)
    sent, piece = 0, bytes(1 << 20)
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while sent < 200:
                sent += 1
                far_writer.write(piece)
                await far_writer.drain()
    assert sent < 50
    async with soon():  # And it goes on when it is read.
        assert await reader.readexactly(sent << 20)


async def test_when_one_side_is_gone_so_is_the_other(make: Make, holder: Holder) -> None:
    replica = await make()
    for of_holder in (True, False):
        near, far = await joined(replica, holder)
        gone, left = (far, near) if of_holder else (near, far)
        gone[1].transport.abort()
        async with soon():
            assert await left[0].read() == b""
            left[1].close()
        await replica.has_open(0)


async def test_a_holder_that_is_not_known_is_a_closed_connection(make: Make) -> None:
    replica = await make()
    replica.holder = ""
    reader, _ = await replica.connect()
    async with soon():
        await closed(reader)
    assert replica.count("no_holder") == 1
    assert replica.open == 0


async def test_a_holder_that_does_not_answer_is_a_closed_connection(
    make: Make, holder: Holder
) -> None:
    replica = await make()
    await holder.stop()
    reader, _ = await replica.connect()
    async with soon():
        await closed(reader)
    assert replica.count("unreachable") == 1


async def test_more_than_the_limit_are_closed(make: Make, holder: Holder) -> None:
    replica = await make(most=2)
    await joined(replica, holder, "127.0.0.2")
    await joined(replica, holder, "127.0.0.3")
    reader, _ = await replica.connect("127.0.0.4")
    async with soon():
        await closed(reader)
    assert replica.count("full") == 1


async def test_one_address_has_a_quarter_and_leaves_the_rest_to_others(
    make: Make, holder: Holder
) -> None:
    replica = await make(most=8)
    (_, writer), (_, far_writer) = await joined(replica, holder, "127.0.0.2")
    await joined(replica, holder, "127.0.0.2")
    reader, _ = await replica.connect("127.0.0.2")
    async with soon():
        await closed(reader)
    assert replica.count("full") == 1
    await joined(replica, holder, "127.0.0.3")
    writer.close()
    far_writer.close()
    async with soon():
        await replica.has_open(2)
    await joined(replica, holder, "127.0.0.2")


async def test_a_holder_that_does_not_answer_is_said_now_and_then(
    make: Make, holder: Holder
) -> None:
    replica = await make()
    await holder.stop()
    with capture_logs() as lines:
        for _ in range(20):
            reader, _ = await replica.connect()
            async with soon():
                await closed(reader)
    assert replica.count("unreachable") == 20
    assert [line["holder"] for line in lines] == [HOST]


async def test_without_a_byte_for_long_a_connection_ends(make: Make, holder: Holder) -> None:
    replica = await make(idle=0.2)
    (reader, _), _ = await joined(replica, holder)
    async with soon():
        assert await reader.read() == b""


async def test_while_this_replica_serves_its_ports_are_free_and_nothing_is_passed(
    make: Make, holder: Holder
) -> None:
    replica = await make()
    (reader, _), _ = await joined(replica, holder)
    async with replica.passing.aside():
        own = await asyncio.start_server(lambda _r, _w: None, HOST, replica.port)
        async with soon():
            await closed(reader)
        assert replica.open == 0
        own.close()
        await own.wait_closed()
    async with soon():
        await replica.listens()


async def test_who_is_cancelled_while_the_ports_become_free_passes_on_again(
    make: Make, holder: Holder
) -> None:
    replica = await make()

    async def serve() -> None:
        async with replica.passing.aside():
            raise AssertionError("the ports are not free yet")

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()
    async with soon():
        await replica.listens()


async def test_ports_that_somebody_has_are_tried_again(
    holder: Holder, unused_tcp_port_factory: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vnode.kubelet.passing._BIND_AGAIN_SECONDS", 0.05)
    replica = Replica(holder.port, unused_tcp_port_factory())
    other = await asyncio.start_server(lambda _r, w: w.close(), HOST, replica.port)
    replica.running = asyncio.create_task(replica.passing.run())
    await asyncio.sleep(0.1)
    assert not replica.running.done()
    other.close()
    await other.wait_closed()
    await replica.listens()
    await joined(replica, holder)
    await replica.stop()


async def test_at_the_end_connections_have_a_moment_and_no_new_one_is_taken(
    make: Make, holder: Holder
) -> None:
    replica = await make()
    (_, writer), (far_reader, far_writer) = await joined(replica, holder)
    assert replica.running is not None
    replica.running.cancel()
    await asyncio.sleep(0.05)
    with pytest.raises(ConnectionRefusedError):
        await replica.connect()
    writer.write(b"last words")
    async with soon():
        assert await far_reader.readexactly(10) == b"last words"
    writer.close()
    far_writer.close()
    async with asyncio.timeout(1):
        await asyncio.wait([replica.running])
