"""Commands that run in memory: the Session form of exec and attach.

A *program* is a coroutine that reads and writes through a `Process`; `MemorySession` is the other
end of it, which a backend returns. Queues hold a few pieces, as pipes do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from vnode.backend import StreamError, StreamRequest, StreamVerb

PIPE = 4
"""Pieces that fit into a queue."""


@dataclass
class Process:
    """What a running program sees."""

    request: StreamRequest
    stdin: "asyncio.Queue[bytes]" = field(default_factory=lambda: asyncio.Queue(PIPE))
    output: "asyncio.Queue[tuple[int, bytes] | None]" = field(
        default_factory=lambda: asyncio.Queue(PIPE)
    )
    sizes: list[tuple[int, int]] = field(default_factory=list)
    resized: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0
    """Bytes that the program has got rid of."""

    async def read(self) -> bytes:
        """The next piece of input; empty at its end."""
        return await self.stdin.get()

    async def write(self, data: bytes, *, stream: int = 1) -> None:
        """Write to stdout (1) or stderr (2)."""
        await self.output.put((stream, data))
        self.written += len(data)


Program = Callable[[Process], Awaitable[int]]
"""Returns the exit code."""


class MemorySession:
    """A running program (`vnode.backend.ExecSession`)."""

    def __init__(self, request: StreamRequest, program: Program) -> None:
        self.process = Process(request)
        self.closed = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(program))

    async def _run(self, program: Program) -> int:
        try:
            return await program(self.process)
        finally:
            await self.process.output.put(None)

    async def write_stdin(self, data: bytes) -> None:
        if self._task.done():
            raise StreamError("the process has ended", code=410)
        await self.process.stdin.put(data)

    async def close_stdin(self) -> None:
        await self.process.stdin.put(b"")

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while (piece := await self.process.output.get()) is not None:
            yield piece

    async def resize(self, *, width: int, height: int) -> None:
        self.process.sizes.append((width, height))
        self.process.resized.set()

    async def exit_code(self) -> int:
        return await self._task

    async def close(self) -> None:
        self._task.cancel()
        while not self.process.output.empty():  # A program that is cancelled says that it ended.
            self.process.output.get_nowait()
        await asyncio.gather(self._task, return_exceptions=True)
        self.closed.set()


async def cat(process: Process) -> int:
    """Sends its input back."""
    while data := await process.read():
        await process.write(data)
    return 0


async def main_process(process: Process) -> int:
    """What attach finds: a `cat` that ends badly."""
    await cat(process)
    return 3


async def say(process: Process) -> int:
    """`say OUT ERR CODE`."""
    _, out, err, code = process.request.command
    await process.write(out.encode())
    await process.write(err.encode(), stream=2)
    return int(code)


async def flood(process: Process) -> int:
    """`flood MEBIBYTES`: much output."""
    for _ in range(int(process.request.command[1]) * 16):
        await process.write(b"x" * 65536)
    return 0


async def size(process: Process) -> int:
    """Prints the size of its terminal when it hears of one."""
    await process.resized.wait()
    width, height = process.sizes[-1]
    await process.write(f"{width}x{height}".encode())
    return 0


async def sleep(process: Process) -> int:
    """Reads nothing and says nothing, until it is stopped."""
    await asyncio.Event().wait()
    return 0


PROGRAMS: Mapping[str, Program] = {
    "cat": cat,
    "say": say,
    "flood": flood,
    "size": size,
    "sleep": sleep,
}


def open_session(request: StreamRequest) -> MemorySession:
    """Start the program that a request names."""
    if request.verb is StreamVerb.ATTACH:
        return MemorySession(request, main_process)
    name = request.command[0]
    program = PROGRAMS.get(name)
    if program is None:
        raise StreamError(f'executable "{name}" not found', code=500)
    return MemorySession(request, program)
