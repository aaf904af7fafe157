"""A link that is long: `python -m tests.bench.delay PORT HOST:PORT SECONDS`, a process of its own.

In: connections to a port of this machine. Out: the same bytes to and from another one, each half
the seconds later: a round trip takes so much longer. What is under way does not hold up what
follows, as in a long cable. TLS passes untouched. Runs until it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK = 1 << 16
_UNDER_WAY = 1024
"""Chunks that may be under way in each direction of a connection."""


@contextlib.asynccontextmanager
async def listening(port: int, host: str, to: int, seconds: float) -> AsyncIterator[int]:
    """For the length of the block; `seconds` is what a round trip takes longer. Gives the port."""
    serving: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        task.add_done_callback(serving.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await _join(reader, writer, host, to, seconds / 2)
        writer.transport.abort()

    server = await asyncio.start_server(connection, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)


async def _join(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    host: str,
    to: int,
    seconds: float,
) -> None:
    there, back = await asyncio.open_connection(host, to)
    ways = [
        asyncio.ensure_future(_carry(reader, back, seconds)),
        asyncio.ensure_future(_carry(there, writer, seconds)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back.transport.abort()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
) -> None:
    """Until one end closes; what was sent before still arrives."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)

    async def deliver() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return
            writer.write(data)
            await writer.drain()

    delivering = asyncio.ensure_future(deliver())
    try:
        while data := await reader.read(_CHUNK):
            await waiting.put((loop.time() + seconds, data))
        await waiting.put((loop.time() + seconds, b""))
        await delivering
    finally:
        delivering.cancel()
        await asyncio.gather(delivering, return_exceptions=True)


async def main(arguments: list[str]) -> None:
    """Until it is ended; an empty line on stdout says that it listens."""
    port, target, seconds = arguments
    host, _, to = target.rpartition(":")
    async with listening(int(port), host, int(to), float(seconds)):
        print(flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
