"""Nonsense for an HTTPS server, one coroutine per kind.

In: a `Victim` and a source of random numbers. Out: nothing; every kind ends by itself within
seconds, whatever the server does, and leaves no connection behind. What the server answers is not
judged here: it only must go on serving (`tests.load.watchdog`).

Kinds follow RFC 9112 (requests), 9110 (fields, upgrades) and the kubelet's routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
import zlib
from typing import TYPE_CHECKING

from tests.load.victim import PATIENCE, TLS, connection, say

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from tests.load.victim import Victim

    Attack = Callable[[Victim, random.Random], Awaitable[None]]

_DRIP_SECONDS = 0.2
_DRIPS = 20
_BOMB = 200
"""MiB of zeros, which pack to a thousandth."""
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get")
_ROUTES = (
    "/healthz",
    "/pods",
    "/runningpods/",
    "/metrics",
    "/metrics/resource",
    "/stats/summary",
    "/configz",
    "/containerLogs/{ns}/{pod}/{c}",
    "/exec/{ns}/{pod}/{c}",
    "/attach/{ns}/{pod}/{c}",
    "/portForward/{ns}/{pod}",
    "/run/{ns}/{pod}/{c}",
    "/{ns}/{pod}/{c}",
)
_PARTS = (
    "team-a",
    "kube-system",
    "main",
    "..",
    ".",
    "%2e%2e%2f",
    "%00",
    "%ff%fe",
    "%",
    "%zz",
    "a" * 300,
    "ü",
    "",
    "*",
    "'\"<>",
)
_QUERIES = (
    "",
    "?command=id&output=1",
    "?tailLines=-1",
    "?follow=true&tailLines=" + "9" * 400,
    "?limitBytes=0&sinceSeconds=x",
    "?sinceTime=2026-99-99",
    "?port=0&port=65536&port=" + "1" * 5000,
    "?" + "&".join(f"command=c{n}" for n in range(2000)),
    "?%%%&&&===",
    "?stdin=true&tty=true",
)


def _noise(random: random.Random, most: int) -> bytes:
    return random.randbytes(random.randrange(1, most))


def _path(victim: Victim, random: random.Random) -> str:
    parts = (*_PARTS, *victim.pods)
    names = {name: random.choice(parts) for name in ("ns", "pod", "c")}
    if random.random() < 0.3:
        names = {"ns": "team-a", "pod": random.choice(victim.pods), "c": "main"}
    return random.choice(_ROUTES).format(**names) + random.choice(_QUERIES)


def _authorization(victim: Victim, random: random.Random) -> str:
    unknown = f"{random.getrandbits(128):x}"
    token = random.choice((*victim.tokens, "nonsense", unknown, "x" * 9000))
    return f"Authorization: Bearer {token}\r\n" if token else ""


async def malformed_request_lines(victim: Victim, random: random.Random) -> None:
    """What no server takes for a request."""
    lines = (
        b"GET\r\n\r\n",
        b"\r\n" * 1000,
        b"GET  /  HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\nHost: x\n\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET //evil:99999/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\x00\xff HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        _noise(random, 4000),
        b"A" * random.randrange(1, 200_000),
        b"GET /" + b"a" * (2 << 20) + b" HTTP/1.1\r\n\r\n",
    )
    await say(victim, random.choice(lines), tls=random.random() < 0.8)


async def malformed_headers(victim: Victim, random: random.Random) -> None:
    """A good line, and fields that are none."""
    fields = (
        b"Host: a\r\nHost: b\r\n",
        b": empty\r\n",
        b"No Colon\r\n",
        b"X: a\r\n folded\r\n",
        b"X\x00Y: 1\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        b"Transfer-Encoding: gzip, chunked, identity\r\n",
        b"Authorization: Bearer \xff\xfe\r\n",
        b"Expect: 200-ok\r\n",
        b"Content-Encoding: nonsense\r\n",
        b"Connection: \x01\r\n",
    )
    head = f"GET {_ascii(_path(victim, random))} HTTP/1.1\r\n".encode()
    await say(victim, head + random.choice(fields) + b"\r\nbody")


async def huge_headers(victim: Victim, random: random.Random) -> None:
    """Fields of more than 32 KiB, or very many."""
    size = random.choice((33 << 10, 200 << 10, 2 << 20))
    heads = (
        b"X-Big: " + b"a" * size + b"\r\n",
        b"X" * size + b": 1\r\n",
        b"".join(b"X-%d: 1\r\n" % n for n in range(size // 12)),
        b"Cookie: " + b"a=b; " * (size // 5) + b"\r\n",
        b"Authorization: Bearer " + b"a" * size + b"\r\n",
    )
    await say(victim, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + random.choice(heads) + b"\r\n")


async def invalid_chunks(victim: Victim, random: random.Random) -> None:
    """A body whose pieces are not what their sizes say."""
    chunks = (
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n",
        b"5\r\nhelloworld\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nx",
        b"5;" + b"e" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhel",
        b"0\r\n" + b"Trailer: x\r\n" * 5000 + b"\r\n",
        _noise(random, 2000),
    )
    head = (
        f"POST {_ascii(_path(victim, random))} HTTP/1.1\r\nHost: x\r\n"
        f"{_authorization(victim, random)}Transfer-Encoding: chunked\r\n\r\n"
    )
    await say(victim, head.encode() + random.choice(chunks))


@functools.cache
def _bomb() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(_BOMB)) + packer.flush()


async def compressed_bodies(victim: Victim, random: random.Random) -> None:
    """Little that inflates to very much, or to nothing."""
    body = random.choice((_bomb(), b"\x1f\x8b" + _noise(random, 1000)))
    coding = random.choice(("gzip", "deflate", "br"))
    head = (
        f"POST {_ascii(_path(victim, random))} HTTP/1.1\r\nHost: x\r\n"
        f"{_authorization(victim, random)}Content-Encoding: {coding}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    await say(victim, head.encode() + body)


async def slow_requests(victim: Victim, random: random.Random) -> None:
    """Head or body byte by byte, then not at all."""
    heads = (
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * _DRIPS,
        b"POST /run/team-a/any/main HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
        b"POST /pods HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    )
    async with connection(victim) as (_, writer):
        data = random.choice(heads)
        writer.write(data[:-_DRIPS])
        for number in range(_DRIPS):
            writer.write(data[len(data) - _DRIPS + number :][:1])
            await asyncio.sleep(_DRIP_SECONDS)
            if writer.transport.is_closing():
                return


async def likely_requests(victim: Victim, random: random.Random) -> None:
    """Routes as clients ask for them, with names, queries and credentials at random."""
    head = (
        f"{random.choice(_METHODS)} {_ascii(_path(victim, random))} HTTP/1.1\r\nHost: x\r\n"
        f"{_authorization(victim, random)}Connection: close\r\n\r\n"
    )
    await say(victim, head.encode())


async def pipelines(victim: Victim, random: random.Random) -> None:
    """Many requests in one go, whose answers nobody reads."""
    one = f"GET {random.choice(('/healthz', '/pods', '/nothing'))} HTTP/1.1\r\nHost: x\r\n"
    one += f"{_authorization(victim, random)}\r\n"
    async with connection(victim) as (_, writer):
        writer.write(one.encode() * random.randrange(1, 500))
        await asyncio.sleep(random.random())


async def abandoned_upgrades(victim: Victim, random: random.Random) -> None:
    """exec and its like, left as soon as they are asked for, or just after the answer."""
    pod = random.choice(victim.pods)
    routes = (
        f"/exec/team-a/{pod}/main?command=cat&input=1&output=1",
        f"/attach/team-a/{pod}/main?output=1",
        f"/portForward/team-a/{pod}?port=1",
    )
    upgrades = (
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: v5.channel.k8s.io\r\n",
        "Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n",
        "Upgrade: nonsense\r\n",
        "Upgrade: websocket\r\nSec-WebSocket-Protocol: v5.\xff\r\n",
        "Upgrade: websocket\r\nSec-WebSocket-Key: short\r\n",
    )
    head = (
        f"GET {random.choice(routes)} HTTP/1.1\r\nHost: x\r\n{_authorization(victim, random)}"
        f"Connection: Upgrade\r\n{random.choice(upgrades)}\r\n"
    )
    async with connection(victim) as (reader, writer):
        writer.write(head.encode("latin-1") + _noise(random, 3000) * random.randrange(2))
        await writer.drain()
        if random.random() < 0.5:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await reader.read(100)
                    writer.write(_noise(random, 100_000))
                    await writer.drain()


async def answers_unread(victim: Victim, random: random.Random) -> None:
    """Long answers to a client that does not read."""
    pod = random.choice(victim.pods)
    route = random.choice(("/metrics", "/pods", f"/containerLogs/team-a/{pod}/main?follow=true"))
    async with connection(victim) as (_, writer):
        head = f"GET {route} HTTP/1.1\r\nHost: x\r\n{_authorization(victim, random)}\r\n"
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of sockets
        writer.write(head.encode() * 20)
        await asyncio.sleep(2.0)


async def broken_handshakes(victim: Victim, random: random.Random) -> None:
    """TLS that begins well and goes on badly."""
    async with connection(victim, tls=False) as (reader, writer):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = TLS.wrap_bio(incoming, outgoing)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello = bytearray(outgoing.read())
        for _ in range(random.randrange(4)):
            hello[random.randrange(len(hello))] = random.randrange(256)
        writer.write(hello[: random.randrange(1, len(hello) + 1)])
        await writer.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(random.random()):
                await reader.read(1 << 16)
        writer.write(_noise(random, 1000))


def _ascii(path: str) -> str:
    return path.encode("ascii", "replace").decode()


ATTACKS: tuple[Attack, ...] = (
    malformed_request_lines,
    malformed_headers,
    huge_headers,
    invalid_chunks,
    compressed_bodies,
    slow_requests,
    likely_requests,
    pipelines,
    abandoned_upgrades,
    answers_unread,
    broken_handshakes,
)
