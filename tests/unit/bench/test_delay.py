import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.bench import delay

_ROUND_TRIP = 0.08


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a link to a server that sends everything back."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.transport.abort()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        to = server.sockets[0].getsockname()[1]
        async with delay.listening(0, "127.0.0.1", to, _ROUND_TRIP) as port:
            yield port


async def test_a_round_trip_takes_longer(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    assert asyncio.get_running_loop().time() - began >= _ROUND_TRIP
    writer.transport.abort()


async def test_what_is_under_way_does_not_hold_up_what_follows(port: int) -> None:
    """One piece after the other would take more than 5 seconds."""
    size = 8 << 20
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(bytes(size))
    assert await reader.readexactly(size) == bytes(size)
    assert asyncio.get_running_loop().time() - began < 2.5
    writer.transport.abort()
