"""A second pair of eyes: every version of some objects, for as long as a block lasts.

In: a cluster's kubeconfig and collections. Out: each version to a listener, on a thread of its own.
Unlike a poll it misses nothing, so "never" can be asked of what it heard. A server that is away for
a while is waited for; what ends it early is told by `check`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from tests.measuring.background import Background
from tests.measuring.watching import WatchError, connected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.measuring.watching import Api

_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Collection:
    """Some objects of a kind."""

    path: str
    """Such as `/api/v1/namespaces/team-a/pods`."""
    selector: str = ""
    """Of labels."""


class Version(NamedTuple):
    """One object at one moment."""

    collection: Collection
    type: str
    """`ADDED`, `MODIFIED` or `DELETED`."""
    object: Mapping[str, Any]
    at: float
    """Unix seconds at which we heard of it."""


class Onlooker:
    """Tells a listener what there is as it begins, and all that comes later."""

    def __init__(
        self, kubeconfig: Path, collections: Sequence[Collection], hear: Callable[[Version], None]
    ) -> None:
        self._kubeconfig = kubeconfig
        self._collections = collections
        self._hear = hear
        self._background = Background(self._look)

    def __enter__(self) -> Onlooker:
        self._background.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._background.__exit__(kind, error, trace)

    def check(self) -> None:
        """Raises MeasurementError if it sees no more."""
        self._background.check()

    async def _look(self, began: Callable[[], None]) -> None:
        async with connected(self._kubeconfig) as api, asyncio.TaskGroup() as tasks:
            for collection in self._collections:
                version = await self._list(api, collection)
                tasks.create_task(self._follow(api, collection, version))
            began()

    async def _list(self, api: Api, collection: Collection) -> str:
        found = await api.get(collection.path, labelSelector=collection.selector)
        for item in found["items"]:
            self._hear(Version(collection, "ADDED", item, time.time()))
        return str(found["metadata"]["resourceVersion"])

    async def _follow(self, api: Api, collection: Collection, version: str) -> None:
        seen = api.watch(
            collection.path,
            version,
            _read,
            again=_AGAIN_SECONDS,
            labelSelector=collection.selector,
            allowWatchBookmarks="true",
        )
        async for kind, found in seen:
            self._hear(Version(collection, kind, found, time.time()))


def _read(line: bytes, _: float) -> tuple[str, tuple[str, Mapping[str, Any]] | None]:
    event = msgspec.json.decode(line)
    kind, found = event["type"], event["object"]
    if kind == "ERROR":
        raise WatchError(str(found.get("message")))
    version = found["metadata"]["resourceVersion"]
    return version, None if kind == "BOOKMARK" else (kind, found)
