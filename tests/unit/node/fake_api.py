"""An API server in memory, for one Node and one Lease and the verbs that `vnode.node` uses."""

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

import msgspec

from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vnode.kube.resources import NODES, Resource
from vnode.kube.types import JSON

T = TypeVar("T")
Body = dict[str, JSON]


@dataclass(frozen=True)
class Call:
    """One request as the server got it."""

    verb: str
    kind: str
    subresource: str
    body: JSON
    session: str


class FakeApi:
    """Keeps one object per kind, speaks list and watch for it, and remembers all writes."""

    name = "tenant"
    clock_offset = 0.0
    mirrors = 1

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.calls: list[Call] = []
        self.failures: list[KubeError] = []
        """Raised by the next calls, one each."""
        self._version = 10
        self._uids = 0
        self._watchers: list[asyncio.Queue[bytes]] = []

    @property
    def client(self) -> KubeClient:
        return cast("KubeClient", self)

    @contextmanager
    def mirroring(self) -> Iterator[None]:
        yield

    @property
    def node(self) -> Body:
        return self.objects["Node"]

    def verbs(self, kind: str = "Node") -> list[str]:
        """Verbs of all writes to that kind, `patch/status` for a subresource."""
        return [
            f"{c.verb}/{c.subresource}" if c.subresource else c.verb
            for c in self.calls
            if c.kind == kind and c.verb != "get"
        ]

    # What users and other controllers do.

    def put(self, kind: str, body: Body) -> None:
        known = kind in self.objects
        self._store(kind, copy.deepcopy(body), "MODIFIED" if known else "ADDED")

    def edit_node(self, section: str, **values: JSON) -> None:
        node = copy.deepcopy(self.node)
        part = cast("Body", node.setdefault(section, {}))
        part.update(values)
        self.put("Node", node)

    def remove(self, kind: str = "Node") -> None:
        body = self.objects.pop(kind)
        self._stamp(body)
        self._publish(kind, "DELETED", body)

    # The client's verbs.

    async def get(
        self,
        resource: Resource,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        session: str = "requests",
    ) -> T:
        await self._called("get", resource, "", None, session)
        return msgspec.convert(self._existing(resource, name), kind)

    async def create(
        self,
        resource: Resource,
        body: Body,
        kind: type[T],
        *,
        namespace: str | None = None,
        session: str = "requests",
    ) -> T:
        await self._called("create", resource, "", body, session)
        if resource.kind in self.objects:
            raise AlreadyExists("exists", code=409, reason="AlreadyExists")
        created = copy.deepcopy(body)
        self._uids += 1
        metadata = cast("Body", created["metadata"])
        metadata["uid"] = f"uid-{self._uids}"
        self._store(resource.kind, created, "ADDED")
        return msgspec.convert(created, kind)

    async def patch(
        self,
        resource: Resource,
        body: JSON,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        subresource: str = "",
        patch_type: PatchType = PatchType.MERGE,
        session: str = "requests",
    ) -> T:
        await self._called("patch", resource, subresource, body, session)
        current = self._existing(resource, name)
        if patch_type is PatchType.JSON:
            changed = _json_patched(current, cast("list[Body]", body))
        else:
            changed = cast("Body", _merged(current, body))
        before, after = cast("Body", current["metadata"]), cast("Body", changed["metadata"])
        for precondition in ("uid", "resourceVersion"):
            if before[precondition] != after[precondition]:
                raise Conflict(f"{precondition} differs", code=409, reason="Conflict")
        if changed != current:
            self._store(resource.kind, changed, "MODIFIED")
        return msgspec.convert(changed, kind)

    async def request(self, method: str, path: str, **_: object) -> bytes:
        """LIST of the one Node."""
        assert (method, path) == ("GET", NODES.path())
        items = [self.objects["Node"]] if "Node" in self.objects else []
        page = {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        return msgspec.json.encode(page)

    @asynccontextmanager
    async def stream(self, path: str, **_: object) -> AsyncIterator[AsyncIterator[bytes]]:
        """WATCH of the one Node."""
        assert path == NODES.path()
        events: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers.append(events)

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield await events.get()

        try:
            yield chunks()
        finally:
            self._watchers.remove(events)

    async def _called(
        self, verb: str, resource: Resource, subresource: str, body: JSON, session: str
    ) -> None:
        await asyncio.sleep(0)
        self.calls.append(Call(verb, resource.kind, subresource, copy.deepcopy(body), session))
        if self.failures:
            raise self.failures.pop(0)

    def _existing(self, resource: Resource, name: str) -> Body:
        body = self.objects.get(resource.kind)
        if body is None:
            raise NotFound(f"{resource.kind} {name} not found", code=404, reason="NotFound")
        assert cast("Body", body["metadata"])["name"] == name
        return body

    def _store(self, kind: str, body: Body, event: str) -> None:
        self._stamp(body)
        self.objects[kind] = body
        self._publish(kind, event, body)

    def _stamp(self, body: Body) -> None:
        self._version += 1
        cast("Body", body["metadata"])["resourceVersion"] = str(self._version)

    def _publish(self, kind: str, event: str, body: Body) -> None:
        if kind == "Node":
            line = msgspec.json.encode({"type": event, "object": body}) + b"\n"
            for watcher in self._watchers:
                watcher.put_nowait(line)


def _merged(current: JSON, patch: JSON) -> JSON:
    """Strategic merge as far as Nodes need it: maps by key, lists by `type`, `$patch: replace`."""
    if isinstance(patch, list):
        return _merged_list(current if isinstance(current, list) else [], patch)
    if not isinstance(patch, dict):
        return patch
    result = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _merged_list(current: Sequence[JSON], patch: Sequence[JSON]) -> list[JSON]:
    parts = [part for part in patch if isinstance(part, dict)]
    if len(parts) != len(patch) or not all("type" in p or "$patch" in p for p in parts):
        return list(patch)
    replace = {"$patch": "replace"} in parts
    merged: dict[JSON, JSON] = {}
    for part in [*([] if replace else current), *parts]:
        assert isinstance(part, dict)
        if "type" in part:
            merged[part["type"]] = _merged(merged.get(part["type"]), part)
    return list(merged.values())


def _json_patched(current: Body, operations: Sequence[Body]) -> Body:
    changed = copy.deepcopy(current)
    for operation in operations:
        *parents, last = str(operation["path"]).strip("/").split("/")
        target: JSON = changed
        for step in parents:
            target = target[int(step)] if isinstance(target, list) else cast("Body", target)[step]
        match operation["op"], target:
            case (("add" | "replace"), dict()):
                target[last] = operation["value"]
            case "add", list():
                target.append(operation["value"])
            case "remove", list():
                del target[int(last)]
            case _:
                raise AssertionError(operation)
    return changed
