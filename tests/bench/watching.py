"""Pods of one cluster as its watch brings them, decoded no further than needed.

In: a kubeconfig with the right to watch all pods; `tests.measuring.watching` brings their lines.
Out: `Sight`s, each with the time at which its bytes came. Fails with `WatchError`.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tests.measuring import watching
from tests.measuring.watching import WatchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.bench.timeline import Mark
    from tests.measuring.watching import Api

_PODS = "/api/v1/pods"


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resource_version: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    restart_count: int = 0


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    conditions: tuple[_Condition, ...] = ()
    container_statuses: tuple[_Container, ...] = ()


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class _Event(msgspec.Struct, frozen=True):
    type: str
    object: _Pod


_EVENTS = msgspec.json.Decoder(_Event)


class Sight(NamedTuple):
    """One event of a watch."""

    name: str
    marks: tuple[Mark, ...]
    """All that is so now."""
    restarts: int
    """Of the first container: a number that a test can set."""
    at: float
    """Seconds of the monotonic clock."""
    version: str
    """From which a watch brings all that comes later."""


class Pods:
    """The pods of one cluster. Made by `connected`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def version(self) -> str:
        """From which a watch brings all that comes later."""
        return await self._api.version(_PODS)

    def sights(self, version: str) -> AsyncIterator[Sight]:
        """All events of all pods since then, until cancelled."""
        return self._api.watch(_PODS, version, _read)

    async def set_restarts(self, namespace: str, name: str, number: int) -> float:
        """Change a pod's status as its kubelet would; when it was sent. Raises WatchError."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = await self._api.get(path)
        states = [{**state, "restartCount": number} for state in pod["status"]["containerStatuses"]]
        began = time.monotonic()
        await self._api.merge(f"{path}/status", {"status": {"containerStatuses": states}})
        return began


def sight(line: bytes, at: float) -> Sight:
    """One line of a watch. Raises WatchError for what is no event of a pod."""
    try:
        event = _EVENTS.decode(line)
    except msgspec.DecodeError as error:
        raise WatchError(f"{line[:300]!r}: {error}") from error
    if event.type not in ("ADDED", "MODIFIED", "DELETED"):
        raise WatchError(f"{line[:300]!r}")
    pod = event.object
    states = pod.status.container_statuses
    restarts = states[0].restart_count if states else 0
    return Sight(
        pod.metadata.name, tuple(_marks(event)), restarts, at, pod.metadata.resource_version
    )


def _marks(event: _Event) -> Iterator[Mark]:
    pod = event.object
    yield "seen"
    if pod.spec.node_name:
        yield "bound"
    if pod.status.phase == "Running":
        yield "running"
    if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions):
        yield "ready"
    if pod.status.phase in ("Succeeded", "Failed"):
        yield "ended"
    if event.type == "DELETED":
        yield "gone"


def _read(line: bytes, at: float) -> tuple[str, Sight]:
    found = sight(line, at)
    return found.version, found


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Pods]:
    """For the length of the block."""
    async with watching.connected(kubeconfig) as api:
        yield Pods(api)
