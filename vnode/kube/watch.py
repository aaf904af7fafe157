"""One watch request: the events that the API server sends, in order.

In: what to watch and from which resourceVersion. Out: `Event`s, bookmarks included, until the
server ends the watch (`timeoutSeconds`, a restart). A half line at the end is dropped: its event
comes again, since nobody has moved on to its resourceVersion. Errors end the iteration: Gone (also
when it comes inside the stream), another ApiError, ServerError for lines that are no events, Silent
and Unreachable.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Generic, TypeVar

from vnode.kube.accept import JSON, METADATA_ONLY
from vnode.kube.client import KubeClient
from vnode.kube.decode import WatchEvent, decode, detached
from vnode.kube.errors import KubeError, ServerError, api_error
from vnode.kube.listing import Selection
from vnode.kube.types import HasMetadata, PartialObject, Status

__all__ = ["MAX_LINE", "Event", "EventType", "LineSplitter", "watch"]

T = TypeVar("T", bound=HasMetadata)

MAX_LINE = 8 * 1024 * 1024
"""Bytes; etcd takes 1.5 MiB an object, and JSON may be longer than what is stored."""
_MUCH = 64 * 1024
"""Bytes at once after which more is waiting, most likely."""


class EventType(enum.StrEnum):
    """What happened."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"
    BOOKMARK = "BOOKMARK"
    """Nothing, up to this resourceVersion."""


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """One line of a watch."""

    type: EventType
    object: T | None
    """The object as of then; None for bookmarks."""
    resource_version: str


class LineSplitter:
    """Cuts a stream of chunks into lines. ServerError for lines longer than `limit` bytes.

    aiohttp's own reader refuses lines longer than its buffer, and re-scans it for every chunk.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that end in this chunk, without their line ends, empty ones left out."""
        first, *rest = chunk.split(b"\n")
        self._pending.append(first)
        self._size += len(first)
        if self._size > self._limit:
            raise ServerError(f"a line of the watch exceeds {self._limit} bytes", code=200)
        if not rest:
            return []
        lines = [b"".join(self._pending), *rest[:-1]]
        self._pending = [rest[-1]]
        self._size = len(rest[-1])
        return [line for line in lines if line]


async def watch(
    client: KubeClient,
    selection: Selection,
    kind: type[T],
    *,
    resource_version: str,
    timeout_seconds: int,
    idle_timeout: float,
    gather: float = 0.0,
) -> AsyncGenerator[list[Event[T]], None]:
    """Yield events in groups as they arrive; the first group is empty: the watch stands.

    `timeout_seconds` is when the server shall end it; `idle_timeout` is the longest silence in
    seconds. What raises Silent may be a dead peer or just an idle resource: bookmarks come only
    where the resourceVersion moved on, and for Events not at all. `gather` is for watches of many
    changes of which none is urgent: so many seconds are between two groups, in which they
    come together, so that what each group costs is paid less often; none where there is much.
    """
    query = {
        **selection.query(),
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": resource_version,
        "timeoutSeconds": str(timeout_seconds),
    }
    splitter = LineSplitter(MAX_LINE)
    async with client.stream(
        selection.path,
        query=query,
        accept=METADATA_ONLY if selection.metadata_only else JSON,
        idle_timeout=idle_timeout,
    ) as stream:
        yield []
        async for chunk in stream:
            events: list[Event[T]] = []
            failure: KubeError | None = None
            try:
                events.extend(_event(line, kind) for line in splitter.feed(chunk))
            except KubeError as error:
                failure = error
            if events:  # also those before a line that is an error
                yield events
            if failure is not None:
                raise failure
            # Data may be there without end: give others a turn.
            await asyncio.sleep(gather if len(chunk) < _MUCH else 0)


def _event(line: bytes, kind: type[T]) -> Event[T]:
    raw = decode(line, WatchEvent)
    if raw.type == "ERROR":
        status = decode(raw.object, Status)
        raise api_error(status.code, status)
    try:
        event_type = EventType(raw.type)
    except ValueError:
        raise ServerError("the watch sent an event of unknown type", code=200) from None
    if event_type is EventType.BOOKMARK:
        bookmark = decode(raw.object, PartialObject)
        return Event(event_type, None, bookmark.metadata.resource_version)
    value = detached(decode(raw.object, kind))
    return Event(event_type, value, value.metadata.resource_version)
