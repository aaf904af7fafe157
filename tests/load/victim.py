"""A server under attack, and ways to connect to it.

In: its address. Out: connections that are aborted at the end, and `HalfOpen`, which holds silent
ones. All of these believe whatever certificate they see.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    _Silent = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATIENCE = 5.0
"""Seconds that an attack waits for an answer."""
MOST_ANSWER = 1 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class Victim:
    """Where to connect, and what may be shown there."""

    host: str
    port: int
    tokens: tuple[str, ...] = field(repr=False)
    """Bearer tokens, good ones too; the empty one is none."""
    pods: tuple[str, ...]
    """Names that exist."""


def _believing() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


TLS = _believing()


@contextlib.asynccontextmanager
async def connection(
    victim: Victim, *, tls: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is aborted at the end."""
    reader, writer = await asyncio.open_connection(
        victim.host, victim.port, ssl=TLS if tls else None, limit=MOST_ANSWER
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def say(victim: Victim, data: bytes, *, tls: bool = True) -> None:
    """Send something and read what comes back."""
    async with connection(victim, tls=tls) as (reader, writer):
        writer.write(data)
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await reader.read(MOST_ANSWER)


@contextlib.asynccontextmanager
async def half_open(victim: Victim, count: int) -> AsyncIterator[HalfOpen]:
    """Connections that say nothing: half of them without, half after a TLS handshake."""
    held = HalfOpen(victim, count)
    try:
        yield held
    finally:
        held.leave()


class HalfOpen:
    """So many silent connections; those that the server closes are opened again by `renew`."""

    def __init__(self, victim: Victim, count: int) -> None:
        self._victim = victim
        self._count = count
        self._held: dict[bool, list[_Silent]] = {True: [], False: []}
        self.opened = 0

    async def renew(self) -> int:
        """Open what is missing; how many there are."""
        for tls, held in self._held.items():
            for connection in [each for each in held if _is_gone(each)]:
                connection[1].transport.abort()
                held.remove(connection)
            with contextlib.suppress(OSError, TimeoutError):  # the server takes no more now
                while len(held) < self._count // 2:
                    held.append(await self._open(tls=tls))
        return sum(map(len, self._held.values()))

    async def _open(self, *, tls: bool) -> _Silent:
        async with asyncio.timeout(PATIENCE):
            opened = await asyncio.open_connection(
                self._victim.host, self._victim.port, ssl=TLS if tls else None
            )
        self.opened += 1
        return opened

    def leave(self) -> None:
        """Drop all."""
        for held in self._held.values():
            for _, writer in held:
                writer.transport.abort()
            held.clear()


def _is_gone(connection: _Silent) -> bool:
    reader, writer = connection
    return reader.at_eof() or writer.transport.is_closing()
