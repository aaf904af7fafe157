"""A recording client: the verbs of `KubeClient` that `vnode.pods` and backends call, in memory.

In: calls, and faults that a test asks for (`fail`). Out: what an API server answers, as far as
these callers can tell: UIDs and resourceVersions, AlreadyExists, preconditions, graceful deletion
of pods and their generation, the subresources of pods, immutable ConfigMaps. It has no list and no
watch: `on_change` tells what a watch would.
"""

import asyncio
import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from tests.builders import make_error, make_uid
from tests.fakes.merge import merge, strategic_merge
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.decode import decode
from vnode.kube.errors import KubeError
from vnode.kube.resources import PODS, Resource
from vnode.kube.types import UID, ObjectKey, PartialObject

if TYPE_CHECKING:
    from tests.fakes.crash import Crash

T = TypeVar("T")
Body = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """One call as it was made."""

    verb: str
    plural: str
    key: ObjectKey
    subresource: str = ""
    body: Any = None
    uid: str = ""
    grace_seconds: int | None = None
    strict: bool = False
    resource_version: str | None = None

    @property
    def name(self) -> str:
        """Short form: `patch pods/status`."""
        return f"{self.verb} {self.plural}{'/' if self.subresource else ''}{self.subresource}"


@dataclass
class _Fault:
    error: KubeError
    call: str
    after: bool
    times: int


class RecordingClient:
    """Objects of one cluster, every call on them, and the faults of some."""

    server = "https://tenant.example:6443"

    def __init__(
        self,
        *,
        name: str = "tenant",
        unix_time: Callable[[], float] = lambda: 1_800_000_000.0,
        latency: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name = name
        self.clock_offset = 0.0
        self.objects: dict[tuple[str, ObjectKey], Body] = {}
        self.calls: list[Call] = []
        self.on_change: list[Callable[[str, Body, bool], None]] = []
        """Called with plural, object, and whether it still exists."""
        self.webhook: Callable[[Body], None] | None = None
        """What a mutating webhook makes of new pods."""
        self._unix_time = unix_time
        self._latency = latency
        self.crash: Crash | None = None
        """At which write the agent that calls is killed."""
        self._faults: list[_Fault] = []
        self._heard = asyncio.Event()
        self.mirrors = 0
        self._versions = itertools.count(1000)
        self._uids = itertools.count(1000)
        self._tokens = itertools.count(1)

    @property
    def client(self) -> KubeClient:
        """Itself, for what wants a KubeClient."""
        return cast("KubeClient", self)

    # --- what tests ask and do ------------------------------------------------------------------

    def fail(self, error: KubeError, call: str, *, after: bool = False, times: int = 1) -> None:
        """Let the next calls of that name (`patch pods/status`) fail; `after`: once applied."""
        self._faults.append(_Fault(error, call, after, times))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    def names(self) -> list[str]:
        """Short forms of all calls."""
        return [call.name for call in self.calls]

    def named(self, name: str) -> list[Call]:
        """Calls of one short form."""
        return [call for call in self.calls if call.name == name]

    def get_body(self, resource: Resource, key: ObjectKey) -> Body | None:
        """The object as it is stored."""
        return self.objects.get((resource.plural, key))

    def put(self, resource: Resource, value: object) -> Body:
        """Create or change an object as somebody else would."""
        body: Body = msgspec.json.decode(msgspec.json.encode(value))
        body.setdefault("metadata", {}).setdefault("uid", make_uid(next(self._uids)))
        self._save(resource, body)
        return body

    def edit(self, resource: Resource, key: ObjectKey, change: Callable[[Body], None]) -> None:
        """Change an object as somebody else would."""
        before = self.objects[resource.plural, key]
        body = copy.deepcopy(before)
        change(body)
        _count_generation(resource, before, body)
        self._save(resource, body)

    def drop(self, resource: Resource, key: ObjectKey) -> None:
        """Remove an object at once."""
        body = self.objects.pop((resource.plural, key), None)
        if body is not None:
            body["metadata"]["resourceVersion"] = str(next(self._versions))
            for listener in self.on_change:
                listener(resource.plural, body, False)

    def delete_gracefully(self, resource: Resource, key: ObjectKey, seconds: int) -> None:
        """What DELETE does to a bound pod: it stays, with a deletionTimestamp; with 0 s it goes."""
        body = copy.deepcopy(self.objects[resource.plural, key])
        metadata = body["metadata"]
        known = metadata.get("deletionGracePeriodSeconds")
        if known is None or seconds < known:
            ends = datetime.fromtimestamp(self._unix_time() + seconds, UTC)
            metadata["deletionTimestamp"] = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            metadata["deletionGracePeriodSeconds"] = seconds
            self._save(resource, body)

    @contextmanager
    def mirroring(self) -> Iterator[None]:
        self.mirrors += 1
        try:
            yield
        finally:
            self.mirrors -= 1

    async def hear(self) -> None:
        """See `KubeClient.hear`."""
        await self._heard.wait()

    # --- the client's verbs ---------------------------------------------------------------------

    async def get(
        self,
        resource: Resource,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        subresource: str = "",
        session: str = "requests",
    ) -> T:
        call = Call("get", resource.plural, ObjectKey(namespace or "", name), subresource)
        return await self._do(call, lambda: decode(_encode(self._existing(call)), kind))

    async def create(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str = "",
        strict: bool = False,
        session: str = "requests",
    ) -> T:
        plain: Body = msgspec.json.decode(msgspec.json.encode(body))
        called = name or plain["metadata"]["name"]
        key = ObjectKey(namespace or "", called)
        call = Call("create", resource.plural, key, subresource, plain, strict=strict)
        return await self._do(call, lambda: _answer(self._create(resource, call), kind))

    async def replace(
        self, resource: Resource, body: object, *, name: str, namespace: str | None = None
    ) -> PartialObject:
        plain: Body = msgspec.json.decode(msgspec.json.encode(body))
        call = Call("replace", resource.plural, ObjectKey(namespace or "", name), "", plain)
        return await self._do(call, lambda: _answer(self._replace(resource, call), PartialObject))

    async def patch(
        self,
        resource: Resource,
        body: object,
        kind: type[T],
        *,
        name: str,
        namespace: str | None = None,
        subresource: str = "",
        patch_type: PatchType = PatchType.MERGE,
        session: str = "requests",
    ) -> T:
        plain: Body = msgspec.json.decode(msgspec.json.encode(body))
        key = ObjectKey(namespace or "", name)
        call = Call("patch", resource.plural, key, subresource, plain)
        return await self._do(call, lambda: _answer(self._patch(resource, call, patch_type), kind))

    async def delete(
        self,
        resource: Resource,
        *,
        name: str,
        uid: UID,
        namespace: str | None = None,
        grace_seconds: int | None = None,
        resource_version: str | None = None,
    ) -> None:
        key = ObjectKey(namespace or "", name)
        call = Call(
            "delete",
            resource.plural,
            key,
            uid=uid,
            grace_seconds=grace_seconds,
            resource_version=resource_version,
        )
        await self._do(call, lambda: self._delete(resource, call))

    # --- what they do ---------------------------------------------------------------------------

    async def _do(self, call: Call, act: Callable[[], T]) -> T:
        await asyncio.sleep(self._latency())
        self.calls.append(call)
        number = await self.crash.before(self.name, call.name, act) if self.crash else None
        fault = next((f for f in self._faults if f.call == call.name), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self._faults.remove(fault)
            if not fault.after:
                raise fault.error
        try:
            answer = act()
        finally:
            if self.crash is not None:
                await self.crash.after(number)
        await asyncio.sleep(self._latency())
        if fault is not None:
            raise fault.error
        self._heard.set()
        self._heard = asyncio.Event()
        return answer

    def _existing(self, call: Call) -> Body:
        body = self.objects.get((call.plural, call.key))
        if body is None:
            text = f'{call.plural} "{call.key.name}" not found'
            raise make_error(404, text, reason="NotFound", name=call.key.name)
        return body

    def _create(self, resource: Resource, call: Call) -> Body:
        if call.subresource == "token":
            seconds = call.body["spec"]["expirationSeconds"]
            ends = datetime.fromtimestamp(self._unix_time() + seconds, UTC)
            token = f"token-{next(self._tokens)}-of-{call.key.name}"
            stamp = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            reply: Body = {**call.body, "status": {"token": token, "expirationTimestamp": stamp}}
            return reply
        if (call.plural, call.key) in self.objects:
            text = f'{call.plural} "{call.key.name}" already exists'
            raise make_error(409, text, reason="AlreadyExists")
        body: Body = copy.deepcopy(call.body)
        body["metadata"]["uid"] = make_uid(next(self._uids))
        if resource is PODS:
            if self.webhook is not None:
                self.webhook(body)
            body["metadata"]["generation"] = 1
            body.setdefault("status", {"phase": "Pending"})
        self._save(resource, body)
        return body

    def _replace(self, resource: Resource, call: Call) -> Body:
        current = self._existing(call)
        self._check(call, current, code=409)
        fields = [
            name
            for name in ("data", "binaryData", "immutable", "type")
            if (current.get("immutable") or name == "type")
            and current.get(name) != call.body.get(name)
        ]
        if fields:
            text = "; ".join(f"{name}: Invalid value: field is immutable" for name in fields)
            raise make_error(422, text, reason="Invalid", fields=fields)
        body = {**copy.deepcopy(call.body), "status": current.get("status", {})}
        self._save(resource, body)
        return body

    def _patch(self, resource: Resource, call: Call, kind: PatchType) -> Body:
        current = self._existing(call)
        self._check(call, current, code=422)
        apply = strategic_merge if kind is PatchType.STRATEGIC else merge
        changed = cast("Body", apply(current, call.body))
        if call.subresource == "status":
            changed = {**current, "metadata": current["metadata"], "status": changed["status"]}
        elif resource is PODS:
            changed["status"] = current.get("status", {})
        if call.subresource in ("resize", "ephemeralcontainers"):
            changed["metadata"] = current["metadata"]
        changed = copy.deepcopy(changed)
        _count_generation(resource, current, changed)
        if changed != current:
            self._save(resource, changed)
        return changed

    def _check(self, call: Call, current: Body, *, code: int) -> None:
        wanted, has = call.body.get("metadata", {}), current["metadata"]
        if wanted.get("uid", has["uid"]) != has["uid"]:
            text = f"metadata.uid: Invalid value: {wanted['uid']}: field is immutable"
            raise make_error(code, text, fields=["metadata.uid"])
        if wanted.get("resourceVersion", has["resourceVersion"]) != has["resourceVersion"]:
            raise make_error(409, "the object has been modified", reason="Conflict")

    def _delete(self, resource: Resource, call: Call) -> None:
        current = self._existing(call)
        if call.uid != current["metadata"]["uid"]:
            text = f"Precondition failed: UID in precondition: {call.uid}"
            raise make_error(409, text, reason="Conflict")
        if call.resource_version not in (None, current["metadata"]["resourceVersion"]):
            text = f"Precondition failed: ResourceVersion in precondition: {call.resource_version}"
            raise make_error(409, text, reason="Conflict")
        if resource is not PODS:
            self.drop(resource, call.key)
            return
        own = current["spec"].get("terminationGracePeriodSeconds", 30)
        seconds = own if call.grace_seconds is None else call.grace_seconds
        self.delete_gracefully(resource, call.key, seconds)

    def _save(self, resource: Resource, body: Body) -> None:
        metadata = body["metadata"]
        key = ObjectKey(metadata.get("namespace", ""), metadata["name"])
        metadata["resourceVersion"] = str(next(self._versions))
        if metadata.get("deletionGracePeriodSeconds") == 0 and not metadata.get("finalizers"):
            self.objects.pop((resource.plural, key), None)
            exists = False
        else:
            self.objects[resource.plural, key] = body
            exists = True
        for listener in self.on_change:
            listener(resource.plural, copy.deepcopy(body), exists)


def _count_generation(resource: Resource, before: Body, after: Body) -> None:
    if resource is PODS and before["spec"] != after["spec"]:
        after["metadata"]["generation"] = before["metadata"].get("generation", 0) + 1


def _encode(body: Body) -> bytes:
    return msgspec.json.encode(body)


def _answer(body: Body, kind: type[T]) -> T:
    return decode(_encode(body), kind)
