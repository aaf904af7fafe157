"""Pods of one cluster as its watch brings them, decoded no further than needed.

In: a kubeconfig with the right to watch all pods. Out: `Sight`s, each with the time at which its
bytes came. Fails with `WatchError` when a server refuses, or has forgotten what came in between.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import msgspec

from vnode.kube.config import Connection, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.bench.timeline import Mark

_PODS = "/api/v1/pods"
_MERGE = {"Content-Type": "application/merge-patch+json"}


class WatchError(Exception):
    """A cluster could not be watched, or not for as long as it had to be."""


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


class _List(msgspec.Struct, frozen=True):
    metadata: _Metadata


_EVENTS = msgspec.json.Decoder(_Event)
_LISTS = msgspec.json.Decoder(_List)


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


class Api:
    """One API server. Made by `connected`."""

    def __init__(self, server: str, http: aiohttp.ClientSession) -> None:
        self._server = server
        self._http = http

    async def version(self) -> str:
        """From which a watch brings all that comes later."""
        async with self._http.get(self._server + _PODS, params={"limit": "1"}) as answer:
            text = await answer.read()
            if answer.status != 200:
                raise WatchError(f"{self._server}: {answer.status} {text[:300]!r}")
            return _LISTS.decode(text).metadata.resource_version

    async def sights(self, version: str) -> AsyncIterator[Sight]:
        """All events of all pods since then, until cancelled.

        A server may end a watch at any time, and does so with one that it thinks is slow; the next
        one goes on where it was.
        """
        while True:
            query = {"watch": "1", "resourceVersion": version}
            async with self._http.get(self._server + _PODS, params=query) as answer:
                if answer.status != 200:
                    text = await answer.read()
                    raise WatchError(f"{self._server}: {answer.status} {text[:300]!r}")
                rest = b""
                async for chunk in answer.content.iter_any():
                    at = time.monotonic()
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        found = sight(line, at)
                        version = found.version
                        yield found

    async def set_restarts(self, namespace: str, name: str, number: int) -> float:
        """Change a pod's status as its kubelet would; when it was sent. Raises WatchError."""
        url = f"{self._server}/api/v1/namespaces/{namespace}/pods/{name}"
        async with self._http.get(url) as answer:
            pod = await answer.json()
        states = [{**state, "restartCount": number} for state in pod["status"]["containerStatuses"]]
        body = msgspec.json.encode({"status": {"containerStatuses": states}})
        began = time.monotonic()
        async with self._http.patch(f"{url}/status", data=body, headers=_MERGE) as answer:
            if answer.status != 200:
                raise WatchError(f"{name}: {answer.status} {await answer.text()}")
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


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    """For the length of the block."""
    access = await load(Connection("bench", kubeconfig))
    headers = {"Authorization": access.authorization} if access.authorization else {}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=access.tls or True), timeout=timeout, headers=headers
    ) as http:
        yield Api(access.server, http)
