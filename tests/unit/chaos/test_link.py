"""A link between a client and a server that writes down what reaches it."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from tests.chaos.link import Link, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GET = b"GET /x HTTP/1.1\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
PATIENCE = 5.0
"""Seconds for an answer that comes."""
SILENCE = 0.2
"""Seconds without one that comes never."""
ALWAYS = 12


class _Upstream:
    """Answers every request."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.asked = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.got.append(data)
            self.asked.set()
            writer.write(ANSWER)
        writer.close()


class _Way:
    """A link and what is on both ends of it."""

    def __init__(self, link: Link, upstream: _Upstream, tls: ssl.SSLContext) -> None:
        self.link = link
        self.upstream = upstream
        self._tls = tls

    async def ask(self, request: bytes, *, patience: float = PATIENCE) -> bytes:
        """Send it on a connection of its own; what comes back of it, nothing included."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.link.port, ssl=self._tls, server_hostname="127.0.0.1"
        )
        try:
            writer.write(request)
            async with asyncio.timeout(patience):
                return await reader.read(1 << 16)
        except TimeoutError:
            return b"nothing"
        finally:
            writer.transport.abort()

    async def ask_often(self, request: bytes) -> set[bytes]:
        """What came back of many."""
        return {await self.ask(request) for _ in range(ALWAYS)}


@pytest.fixture
async def way(unused_tcp_port: int) -> AsyncIterator[_Way]:
    authority = trustme.CA()
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    upstream = _Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, ssl=serving)
    address = server.sockets[0].getsockname()[:2]
    link = Link(port=unused_tcp_port, upstream=address, serving=serving, client=client, seed=1)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(server.wait_closed)
        stack.callback(server.close)
        await link.start()
        stack.push_async_callback(link.stop)
        yield _Way(link, upstream, client)


async def test_in_fair_weather_all_passes(way: _Way) -> None:
    assert await way.ask_often(POST) == {ANSWER}
    assert way.upstream.got == [POST] * ALWAYS


async def test_a_cut_link_refuses_and_is_back_afterwards(way: _Way) -> None:
    async with way.link.suffering(Weather(cut=True)):
        with pytest.raises(ConnectionError):
            await way.ask(GET)
    assert await way.ask(GET) == ANSWER


async def test_two_cuts_end_with_the_second(way: _Way) -> None:
    async with way.link.suffering(Weather(cut=True)):
        async with way.link.suffering(Weather(cut=True)):
            pass
        with pytest.raises(ConnectionError):
            await way.ask(GET)
    assert await way.ask(GET) == ANSWER


async def test_a_silent_link_lets_nothing_pass(way: _Way) -> None:
    async with way.link.suffering(Weather(silent=True)):
        assert await way.ask(POST, patience=SILENCE) == b"nothing"
        assert not way.upstream.got


async def test_a_deaf_link_carries_the_write_out(way: _Way) -> None:
    async with way.link.suffering(Weather(deaf=True)):
        asked = asyncio.create_task(way.ask(POST, patience=PATIENCE))
        await asyncio.wait_for(way.upstream.asked.wait(), PATIENCE)
        assert not (await asyncio.wait([asked], timeout=SILENCE))[0]
    assert await asked == ANSWER
    assert way.upstream.got == [POST]


async def test_refused_requests_do_not_reach_the_server(way: _Way) -> None:
    async with way.link.suffering(Weather(refuse=429)):
        answers = await way.ask_often(POST)
    refused = answers - {ANSWER}
    assert len(answers) == 2
    assert b"429 Too Many Requests" in next(iter(refused))
    assert len(way.upstream.got) < ALWAYS


async def test_a_conflict_is_for_patches_only(way: _Way) -> None:
    async with way.link.suffering(Weather(refuse=409)):
        gets = await way.ask_often(GET) - {ANSWER}
        patches = await way.ask_often(POST.replace(b"POST", b"PATCH")) - {ANSWER}
    assert b" 503 " in next(iter(gets))
    assert b" 409 " in next(iter(patches))


async def test_an_answer_is_lost_after_the_write_was_done(way: _Way) -> None:
    async with way.link.suffering(Weather(lose=True)):
        assert await way.ask_often(POST) == {ANSWER, b""}
    assert way.upstream.got == [POST] * ALWAYS


async def test_answers_of_reads_are_not_lost(way: _Way) -> None:
    async with way.link.suffering(Weather(lose=True)):
        assert await way.ask_often(GET) == {ANSWER}
