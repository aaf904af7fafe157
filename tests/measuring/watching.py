"""Every version of the objects of a collection, as an API server's watch brings them.

In: a kubeconfig, a collection, and how a line of a watch is read, with the time at which it came.
Out: what was read, in order. A server may end a watch at any time, and does so with one that it
thinks is slow: the next one goes on from the last version, so nothing is missed. Fails with
`WatchError` when a server refuses, or has forgotten what came in between.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import aiohttp
import msgspec

from tests.clusters.errors import HarnessError
from vnode.kube.config import Connection, load
from vnode.kube.sockets import Sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_MERGE = {"Content-Type": "application/merge-patch+json"}


class WatchError(HarnessError):
    """A cluster could not be watched, or not for as long as it had to be."""


class _AwayError(WatchError):
    """A server that cannot answer now."""


class Read(Protocol[_T_co]):
    """What is made of a line, and of the second of the monotonic clock at which it came.

    Returns the version that it brings, and what was seen; None if that is nothing. Raises
    WatchError.
    """

    def __call__(self, line: bytes, at: float, /) -> tuple[str, _T_co | None]: ...


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str


class _List(msgspec.Struct, frozen=True):
    metadata: _Metadata


_LISTS = msgspec.json.Decoder(_List)


class Api:
    """One API server. Made by `connected`."""

    def __init__(self, server: str, http: aiohttp.ClientSession) -> None:
        self._server = server
        self._http = http

    async def version(self, collection: str) -> str:
        """From which a watch brings all that comes later."""
        text = await self._bytes("GET", collection, params={"limit": "1"})
        return _LISTS.decode(text).metadata.resource_version

    async def get(self, path: str, **query: str) -> Any:
        """The decoded object at a path."""
        return msgspec.json.decode(await self._bytes("GET", path, params=query))

    async def merge(self, path: str, patch: Mapping[str, Any]) -> None:
        """Change the object at a path."""
        await self._bytes("PATCH", path, data=msgspec.json.encode(patch), headers=_MERGE)

    async def watch(
        self,
        collection: str,
        version: str,
        read: Read[_T],
        *,
        again: float | None = None,
        **query: str,
    ) -> AsyncIterator[_T]:
        """All that was read since then, until cancelled.

        Args:
            collection: path, such as `/api/v1/pods`.
            version: see `version`; that of a list brings all that came after it.
            read: what is made of a line.
            again: seconds after which a server that cannot be reached is asked once more; None: its
                absence is an error.
            query: of the request, such as a selector.
        """
        while True:
            try:
                async for line, at in self._lines(collection, version, query):
                    version, found = read(line, at)
                    if found is not None:
                        yield found
            except (aiohttp.ClientError, OSError, _AwayError):
                if again is None:
                    raise
                await asyncio.sleep(again)

    async def _lines(
        self, collection: str, version: str, query: Mapping[str, str]
    ) -> AsyncIterator[tuple[bytes, float]]:
        """Of one watch. What is cut off at its end is left out: the next one brings it again."""
        asked = {"watch": "1", "resourceVersion": version, **query}
        async with self._http.get(self._server + collection, params=asked) as answer:
            await self._see_answered(answer)
            rest = b""
            async for chunk in answer.content.iter_any():
                at = time.monotonic()
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line, at

    async def _bytes(self, method: str, path: str, **options: Any) -> bytes:
        async with self._http.request(method, self._server + path, **options) as answer:
            await self._see_answered(answer)
            return await answer.read()

    async def _see_answered(self, answer: aiohttp.ClientResponse) -> None:
        if answer.status == 200:
            return
        text = f"{self._server}: {answer.status} {(await answer.read())[:300]!r}"
        raise (_AwayError if answer.status in (429, 500, 502, 503, 504) else WatchError)(text)


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    """For the length of the block."""
    access = await load(Connection("watched", kubeconfig))
    headers = {"Authorization": access.authorization} if access.authorization else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0)
    async with (
        aclosing(Sockets()) as sockets,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.tls or True, socket_factory=sockets.make),
            timeout=timeout,
            headers=headers,
        ) as http,
    ):
        yield Api(access.server, http)
