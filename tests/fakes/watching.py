"""A recording client that also lists and watches, so that reflectors run on it.

In: changes to the objects of a `RecordingClient`. Out: listings, and watches that go on from a
resourceVersion, of one namespace or of all. An object that leaves a label selection is DELETED
there, and as API servers do it the event carries the object as it was before, with the new
resourceVersion. A cluster can be taken back to an earlier state, as etcd is from a backup: versions
go back too, and a watch from a version in the future stays silent. Field selectors select all.
`GET /version` is the call `get version`.
"""

import asyncio
import contextlib
import copy
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import msgspec

from tests.fakes.client import Body, Call, RecordingClient
from vnode.kube.errors import Unreachable
from vnode.kube.types import ObjectKey

_WRITES_OF_OTHERS = 10_000


@dataclass(frozen=True)
class Backup:
    """All objects of a cluster, and the version as of then."""

    version: int
    objects: dict[tuple[str, ObjectKey], Body]


@dataclass(frozen=True)
class _Moment:
    version: int
    plural: str
    body: Body
    exists: bool
    before: Body | None


class WatchingClient(RecordingClient):
    """The objects of one cluster, of which core resources can be listed and watched."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._history: list[_Moment] = []
        self._newest: dict[tuple[str, ObjectKey], Body] = {}
        self._news = asyncio.Event()
        self._cuts = 0
        self.version = b'{"gitVersion":"v1.36.0"}'
        self.on_change.append(self._note)

    def cut_streams(self) -> None:
        """Break all watches that are open."""
        self._cuts += 1
        self._wake()

    def backup(self) -> Backup:
        """The state as of now. Others write much in the cluster from here on."""
        version = next(self._versions)
        self._versions = itertools.count(version + _WRITES_OF_OTHERS)
        return Backup(version, copy.deepcopy(self.objects))

    def restore(self, backup: Backup) -> None:
        """Be again as the backup says; watches break."""
        self.objects = copy.deepcopy(backup.objects)
        self._newest = copy.deepcopy(backup.objects)
        self._versions = itertools.count(backup.version + 1)
        self._history = [moment for moment in self._history if moment.version <= backup.version]
        self.cut_streams()

    def move_on(self) -> None:
        """Others write as much as the agent ever saw, and more."""
        self._versions = itertools.count(next(self._versions) + 10 * _WRITES_OF_OTHERS)

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, **_: object
    ) -> bytes:
        """List a collection, or ask for the version."""
        plural, namespace = _collection(path)
        where = ObjectKey(namespace, "")
        if plural == "version":
            return await self._do(Call("get", plural, where), lambda: self.version)
        call = Call("list", plural, where)
        return await self._do(call, lambda: self._page(plural, namespace, query or {}))

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, *, query: Mapping[str, str], accept: str, idle_timeout: float | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Watch a collection."""
        plural, namespace = _collection(path)
        await self._do(Call("watch", plural, ObjectKey(namespace, "")), lambda: None)
        yield self._lines(plural, namespace, query)

    def _page(self, plural: str, namespace: str, query: Mapping[str, str]) -> bytes:
        items = [
            body
            for (kind, key), body in self.objects.items()
            if kind == plural
            and namespace in ("", key.namespace)
            and _selects(query, _labels(body))
        ]
        metadata = {"resourceVersion": str(next(self._versions))}
        return msgspec.json.encode({"metadata": metadata, "items": items})

    async def _lines(
        self, plural: str, namespace: str, query: Mapping[str, str]
    ) -> AsyncIterator[bytes]:
        position, start, cuts = 0, int(query["resourceVersion"]), self._cuts
        yield b"\n"
        while True:
            while position < len(self._history):
                moment = self._history[position]
                position += 1
                lies_in = moment.body["metadata"].get("namespace", "")
                elsewhere = moment.plural != plural or namespace not in ("", lies_in)
                if moment.version <= start or elsewhere:
                    continue
                event = _event(moment, query)
                if event is not None:
                    yield msgspec.json.encode(event) + b"\n"
            await self._news.wait()
            if self._cuts != cuts:
                raise Unreachable("the connection was cut")

    def _note(self, plural: str, body: Body, exists: bool) -> None:
        metadata = body["metadata"]
        about = plural, ObjectKey(metadata.get("namespace", ""), metadata["name"])
        before = self._newest.pop(about, None)
        if exists:
            self._newest[about] = body
        moment = _Moment(int(metadata["resourceVersion"]), plural, body, exists, before)
        self._history.append(moment)
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


def _collection(path: str) -> tuple[str, str]:
    parts = path.strip("/").split("/")
    return (parts[4], parts[3]) if "namespaces" in parts[:3] and len(parts) > 4 else (parts[-1], "")


def _event(moment: _Moment, query: Mapping[str, str]) -> Body | None:
    if moment.exists and _selects(query, _labels(moment.body)):
        return {"type": "MODIFIED", "object": moment.body}
    before = moment.before
    if before is None or not _selects(query, _labels(before)):
        return None
    # A deletion writes its end (grace period 0) before the object is removed.
    last = before if moment.exists else moment.body
    metadata = {**last["metadata"], "resourceVersion": str(moment.version)}
    return {"type": "DELETED", "object": {**last, "metadata": metadata}}


def _labels(body: Body) -> Mapping[str, str]:
    return cast("Mapping[str, str]", body["metadata"].get("labels", {}))


def _selects(query: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    wanted = query.get("labelSelector", "")
    return all(
        labels.get(k) == v for k, v in (pair.split("=") for pair in wanted.split(",") if pair)
    )
