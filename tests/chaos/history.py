"""Every version of every object, as etcd wrote it down: nothing is missed, whoever is killed.

In: etcd's watch over HTTP (its gRPC gateway: /v3/watch, one JSON object a line) from an API server
that stores JSON. Out: `Version`s in order to a listener, and `live`: what there is now. etcd itself
is never hurt by chaos, but for compactions of what was read already.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from tests.measuring.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.clusters import Cluster

JSON = "--storage-media-type=application/json"
"""What an API server has to be told to store JSON."""
KINDS = ("pods", "configmaps", "secrets", "events")
_ROOT = "/registry/"
_LONGEST_LINE = 1 << 26


@dataclass(frozen=True, slots=True)
class Version:
    """One object at one moment; `gone`: its last one."""

    cluster: str
    kind: str
    """Plural, as in URLs."""
    namespace: str
    name: str
    object: Mapping[str, Any]
    gone: bool
    at: float
    """Unix seconds at which we heard of it."""

    @property
    def uid(self) -> str:
        """The object's."""
        return str(self.object["metadata"]["uid"])


class History:
    """Follows one cluster's etcd."""

    def __init__(self, cluster: str, etcd: str, listener: Callable[[Version], None]) -> None:
        self.cluster = cluster
        self.live: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        """By kind, namespace and name."""
        self.revision = 0
        """All up to this was heard, of one kind at least."""
        self._etcd = etcd
        self._listener = listener

    def of(self, kind: str, namespace: str) -> dict[str, Mapping[str, Any]]:
        """What there is of a kind in a namespace now, by name."""
        return {
            name: found
            for (each, where, name), found in self.live.items()
            if each == kind and where == namespace
        }

    async def run(self) -> None:
        """Until cancelled; ends with the run when etcd does not answer."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with (
            aiohttp.ClientSession(timeout=timeout, read_bufsize=_LONGEST_LINE) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for kind in KINDS:
                tasks.create_task(self._follow(session, kind))

    async def compact(self) -> None:
        """Forget what was before now: a watch that is far behind is told 410."""
        async with aiohttp.ClientSession() as session:
            wanted = {"revision": str(self.revision), "physical": True}
            async with session.post(f"{self._etcd}/v3/kv/compaction", json=wanted) as answer:
                await answer.read()

    async def _follow(self, session: aiohttp.ClientSession, kind: str) -> None:
        prefix = f"{_ROOT}{kind}/"
        wanted = {
            "key": _encode(prefix),
            "range_end": _encode(prefix[:-1] + "0"),
            "start_revision": "1",
            "prev_kv": True,
        }
        request = {"create_request": wanted}
        async with session.post(f"{self._etcd}/v3/watch", json=request) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                result = orjson.loads(line)["result"]
                if result.get("canceled"):
                    raise RuntimeError(f"{self.cluster}: etcd ended the watch: {result}")
                for event in result.get("events", ()):
                    self._take(kind, event)
                self.revision = max(self.revision, int(result["header"]["revision"]))

    def _take(self, kind: str, event: Mapping[str, Any]) -> None:
        gone = event.get("type") == "DELETE"
        stored = event.get("prev_kv") if gone else event["kv"]
        key = base64.b64decode(event["kv"]["key"]).decode()
        namespace, _, name = key.removeprefix(f"{_ROOT}{kind}/").partition("/")
        if stored is None:
            return
        found = orjson.loads(base64.b64decode(stored["value"]))
        if gone:
            self.live.pop((kind, namespace, name), None)
        else:
            self.live[kind, namespace, name] = found
        self._listener(
            Version(self.cluster, kind, namespace, name, found, gone=gone, at=time.time())
        )


def following(cluster: Cluster, listener: Callable[[Version], None]) -> Background:
    """Follow the etcd of a cluster on a thread of its own, for as long as the block lasts."""
    assert cluster.control_plane is not None, "only clusters of the harness show their etcd"
    history = History(cluster.name, cluster.control_plane.etcd_url, listener)

    async def follow(began: Callable[[], None]) -> None:
        began()
        await history.run()

    return Background(follow)


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
