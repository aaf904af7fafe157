"""A place where pods run, in memory, that obeys the contract of `vnode.backend.PodBackend`.

`Below` is the compute side itself: which copies there are, what is done to them by kubelets and by
others. `FakeBackend` is one agent's view of it: it hears of changes late (in order, as a watch
does), knows its own writes at once, and starts from a listing. So an agent that restarts is another
`FakeBackend` on the same `Below`.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

from tests.builders import (
    Object,
    container_status,
    ended_status,
    raw,
    running_status,
)
from tests.fakes.clock import LoopClock
from tests.fakes.sessions import open_session
from vnode.backend import (
    BackendError,
    Capabilities,
    ExecSession,
    HeldBack,
    LogOptions,
    NameConflict,
    ObjectRef,
    ObservedPod,
    PodBackend,
    PodEvent,
    PodRequest,
    Sight,
    StreamError,
    StreamRequest,
    Token,
    TokenKey,
    Updated,
    UpgradedConnection,
    Waiting,
    WaitingReason,
)
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, ConfigMap, ObjectKey, Pod, Secret
from vnode.pods.lifecycle import phase_below
from vnode.pods.view import TERMINAL
from vnode.runtime.clock import Clock

UNREACHABLE = Waiting("the compute cluster does not answer", reason="ComputeUnreachable")


@dataclass
class _Fault:
    error: BackendError
    call: str
    after: bool


@dataclass
class Below:
    """The compute side."""

    copies: dict[ObjectKey, ObservedPod] = field(default_factory=dict)
    foreign: set[ObjectKey] = field(default_factory=set)
    """Names that somebody else's pods have."""
    made: Counter[UID] = field(default_factory=Counter)
    """How often a copy was created for a tenant UID."""
    started: Counter[UID] = field(default_factory=Counter)
    """How often a copy of a tenant UID could start: made without gate, or let start."""
    removed_by_others: set[UID] = field(default_factory=set)
    pods: dict[str, Pod] = field(default_factory=dict)
    """The tenant pod as of which each copy is, by handle."""
    objects: dict[ObjectRef, ConfigMap | Secret] = field(default_factory=dict)
    tokens: dict[str, Mapping[TokenKey, Token]] = field(default_factory=dict)
    calls: list[tuple[object, ...]] = field(default_factory=list)
    faults: list[_Fault] = field(default_factory=list)
    clock: Clock = field(default_factory=LoopClock)
    cut: bool = False
    """Nobody gets through to it, and no watch brings anything until that ends."""
    watchers: list[Callable[[ObservedPod, int], None]] = field(default_factory=list)
    event_watchers: list[Callable[[PodEvent], None]] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    """Version of each copy by handle."""
    versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    handles: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    # --- what kubelets and others do ------------------------------------------------------------

    def put(self, copy: ObservedPod) -> None:
        """Add or change a copy."""
        self.copies[copy.key] = copy
        self._publish(copy)

    def start(self, key: ObjectKey) -> None:
        """The containers run."""
        self.show(key, running_status())

    def end(self, key: ObjectKey, *, exit_code: int = 0) -> None:
        """The containers ended by themselves."""
        phase = "Succeeded" if exit_code == 0 else "Failed"
        ended = container_status(exit_code=exit_code, finished=self._now())
        self.show(key, ended_status(phase, containerStatuses=[ended]))

    def show(self, key: ObjectKey, status: Object) -> None:
        """A kubelet writes that status."""
        self._set(key, status=status, scheduled=True)

    def finish_deletion(self, key: ObjectKey) -> None:
        """The kubelet has stopped the containers of a deleted copy: it goes."""
        copy = self.copies[key]
        if copy.deleting:
            if phase_below(copy) not in TERMINAL:
                self.end(key, exit_code=143)
            self._remove(key)

    def evict(self, key: ObjectKey) -> None:
        """Somebody removes a copy at once."""
        self.removed_by_others.add(self.copies[key].uid)
        self._remove(key)

    def hide(self, key: ObjectKey) -> None:
        """Somebody takes the labels by which a copy is watched: it is there and not seen."""
        self._publish(replace(self.copies[key], gone=True))

    def kill(self, key: ObjectKey, *, grace_seconds: int = 30) -> None:
        """Somebody deletes a copy gracefully."""
        self.removed_by_others.add(self.copies[key].uid)
        self._delete(key, grace_seconds)

    def fail(self, call: str, *, after: bool = False, error: BackendError = UNREACHABLE) -> None:
        """Let the next call of that name fail; `after`: once it was carried out."""
        self.faults.append(_Fault(error, call, after))

    def called(self, name: str) -> list[tuple[object, ...]]:
        """Calls of that name, with their arguments."""
        return [call for call in self.calls if call[0] == name]

    # --- what backends do -----------------------------------------------------------------------

    def create(self, request: PodRequest) -> ObservedPod:
        """Make a copy; it waits for a place."""
        metadata = request.pod.metadata
        self.made[metadata.uid] += 1
        self.started[metadata.uid] += not request.gated
        handle = f"below-{next(self.handles)}"
        self.pods[handle] = request.pod
        if request.tokens:
            self.tokens[handle] = request.tokens
        self.put(
            ObservedPod(
                key=metadata.key,
                uid=metadata.uid,
                handle=handle,
                node=request.node,
                digest=request.digest,
                generation=metadata.generation,
                status=b'{"phase":"Pending"}',
                gated=request.gated,
            )
        )
        return self.copies[metadata.key]

    def delete(self, key: ObjectKey, grace_seconds: int | None) -> None:
        """Delete a copy gracefully."""
        self._delete(key, 30 if grace_seconds is None else grace_seconds)

    def _delete(self, key: ObjectKey, seconds: int) -> None:
        copy = self.copies[key]
        if copy.grace_seconds is None or seconds < copy.grace_seconds:
            asked = copy.removal_requested or self._now()
            self.put(replace(copy, deleting=True, grace_seconds=seconds, removal_requested=asked))
            if copy.gated:
                self._remove(key)  # No kubelet has it.

    def _now(self) -> str:
        return rfc3339(self.clock.time())

    def _set(self, key: ObjectKey, *, status: Object, scheduled: bool) -> None:
        if self.copies[key].gated:
            raise AssertionError("a gated copy cannot start")
        # Container IDs tell for which tenant UID they ran.
        for container in cast("list[Object]", status["containerStatuses"]):
            container["containerID"] = f"fake://{self.copies[key].uid}"
        self.put(replace(self.copies[key], status=bytes(raw(status)), scheduled=scheduled))

    def _remove(self, key: ObjectKey) -> None:
        copy = self.copies.pop(key)
        self._publish(replace(copy, gone=True, grace_seconds=0 if copy.deleting else None))

    def _publish(self, copy: ObservedPod) -> None:
        version = self.newest[copy.handle] = next(self.versions)
        for watcher in list(self.watchers):
            watcher(copy, version)


class FakeBackend:
    """One agent's view of `Below`."""

    capabilities = Capabilities(
        token_refresh=True,
        secret_objects=True,
        cluster_dns=True,
        upgrade_streams=False,
        session_streams=True,
        start_gates=True,
    )

    def __init__(
        self,
        below: Below,
        *,
        lag: Callable[[], float] = lambda: 0.0,
        latency: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.below = below
        self.lost_for: Callable[[], float | None] = lambda: None
        """What `silent_for` says."""
        self.link_listeners: list[Callable[[], None]] = []
        self.rejects: Callable[[PodRequest], BackendError | None] = lambda _: None
        """What `apply` raises."""
        self.refuses: Callable[[PodRequest], BackendError | None] = lambda _: None
        """What `admit` raises."""
        self.holds_back: Callable[[PodRequest], tuple[HeldBack, ...]] = lambda _: ()
        self.sights: dict[str, Sight] = {}
        self.unseen_because = WaitingReason("ComputeNotSeen", "not looked at yet")
        self.places: dict[str, str] = {}
        self.gone_places: set[str] = set()
        """Places that are proven to be gone."""
        self._lag = lag
        self._latency = latency
        self._due = 0.0
        self._known: dict[ObjectKey, ObservedPod] = {}
        self._gone: dict[ObjectKey, ObservedPod] = {}
        self._versions: dict[str, int] = {}
        self._started = self._listed = False
        self._late: list[tuple[ObservedPod, int]] = []
        self._listeners: list[Callable[[ObjectKey], None]] = []
        self._event_listeners: list[Callable[[PodEvent], None]] = []
        self.place_listeners: list[Callable[[str], None]] = []
        """Call them with a tenant namespace whose place was opened."""
        self._object_listeners: list[Callable[[ObjectRef], None]] = []

    @property
    def backend(self) -> PodBackend:
        """Itself, for what wants a PodBackend."""
        return cast("PodBackend", self)

    def start(self) -> None:
        """List, then watch."""
        self._started = True
        self.below.watchers.append(self._hear)
        self.below.event_watchers.append(self._relay)
        if not self.below.cut:
            self._list()

    async def run(self) -> None:
        """Start, and stop when cancelled."""
        self.start()
        try:
            await asyncio.Event().wait()
        finally:
            self.stop()

    def _list(self) -> None:
        self._listed = True
        for copy in self.below.copies.values():
            self._known[copy.key] = copy
        for key in list(self._known):
            self._notify(key)
        for ref in list(self.below.objects):
            self._notify_object(ref)

    def stop(self) -> None:
        """Hear of nothing any more."""
        self.below.watchers.remove(self._hear)
        self.below.event_watchers.remove(self._relay)
        self._listeners.clear()
        self._object_listeners.clear()
        self.place_listeners.clear()

    # --- PodBackend -----------------------------------------------------------------------------

    def sight(self, namespace: str) -> Sight:
        if self._started and not self._listed:
            return Sight.UNKNOWN
        return self.sights.get(namespace, Sight.COMPLETE)

    @property
    def settled(self) -> bool:
        return True

    def why_unseen(self, namespace: str) -> WaitingReason:
        return self.unseen_because

    def place(self, namespace: str) -> str:
        return self.places.get(namespace, "1a2b3c4d")

    async def require_place(self, namespace: str, made_in: str) -> None:
        if made_in not in (self.place(namespace), *self.gone_places):
            raise Waiting("the place behind the node was exchanged", reason="ComputeReplaced")

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        self._listeners.append(listener)

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        self._event_listeners.append(listener)

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        self._object_listeners.append(listener)

    def subscribe_places(self, listener: Callable[[str], None]) -> None:
        self.place_listeners.append(listener)

    @property
    def silent_for(self) -> float | None:
        return self.lost_for()

    @property
    def reachable(self) -> bool:
        return self.silent_for is None

    def subscribe_link(self, listener: Callable[[], None]) -> None:
        self.link_listeners.append(listener)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        known = self._known.get(key)
        return known if known is not None else self._gone.get(key)

    def admit(self, request: PodRequest) -> None:
        if (refused := self.refuses(request)) is not None:
            raise refused

    def refused(self, request: PodRequest, copy: ObservedPod) -> tuple[HeldBack, ...]:
        return tuple(held for held in self.holds_back(request) if held.permanent)

    async def apply(self, request: PodRequest) -> ObservedPod:
        metadata = request.pod.metadata
        self.below.calls.append(("apply", metadata.key, metadata.uid))
        known = self._known.get(metadata.key)
        after = await self._pause("apply")
        if (refused := self.rejects(request)) is not None:
            raise refused
        self._require(metadata.namespace)
        if metadata.key in self.below.foreign:
            raise NameConflict(f'a pod named "{metadata.name}" is somebody else\'s')
        copy = self.below.copies.get(metadata.key)
        if copy is None and known is not None and known.uid == metadata.uid:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        if copy is None:
            copy = self.below.create(request)
        elif copy.uid != metadata.uid:
            raise Waiting("the copy of an older pod is not gone yet", reason="PredecessorExists")
        version = self.below.newest[copy.handle]
        await self._answer(after)
        return self._learn(copy, version)

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        metadata = request.pod.metadata
        self.below.calls.append(("update", metadata.key, metadata.uid))
        after = await self._pause("update")
        if (refused := self.rejects(request)) is not None:
            raise refused
        self._require(metadata.namespace)
        now = self.below.copies.get(metadata.key)
        if now is None or now.handle != copy.handle:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        held_back = self.holds_back(request)
        digest = "" if held_back else request.digest
        self.below.pods[now.handle] = request.pod
        if (now.digest, now.generation) != (digest, metadata.generation):
            self.below.put(replace(now, digest=digest, generation=metadata.generation))
        now = self.below.copies[metadata.key]
        version = self.below.newest[now.handle]
        await self._answer(after)
        return Updated(self._learn(now, version), held_back)

    async def ungate(self, copy: ObservedPod) -> ObservedPod:
        self.below.calls.append(("ungate", copy.key, copy.uid, copy.handle))
        after = await self._pause("ungate")
        now = self.below.copies.get(copy.key)
        if now is None or now.handle != copy.handle:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        if now.gated:
            self.below.started[now.uid] += 1
            self.below.put(replace(now, gated=False))
        now = self.below.copies[copy.key]
        version = self.below.newest[now.handle]
        await self._answer(after)
        return self._learn(now, version)

    def _learn(self, copy: ObservedPod, version: int) -> ObservedPod:
        """Know an own write at once, unless the watch was faster."""
        if self._versions.get(copy.handle, 0) > version:
            known = self.observed(copy.key)
            return copy if known is None else known
        self._gone.pop(copy.key, None)
        self._known[copy.key] = copy
        self._versions[copy.handle] = version
        return copy

    async def confirm_gone(self, key: ObjectKey, uid: UID) -> bool:
        await self._answer(await self._pause("confirm_gone"))
        if self.sight(key.namespace) is not Sight.NOWHERE:
            self._require(key.namespace)
        copy = self.below.copies.get(key)
        return copy is None or copy.uid != uid

    async def delete(self, pod: ObservedPod, *, grace_seconds: int | None) -> None:
        if grace_seconds is not None and grace_seconds < 1:
            raise AssertionError("containers could outlive their object")
        self.below.calls.append(("delete", pod.key, pod.uid, pod.handle, grace_seconds))
        after = await self._pause("delete")
        copy = self.below.copies.get(pod.key)
        if copy is not None and copy.handle == pod.handle:
            if pod.gated and not copy.gated:
                raise Waiting("the copy has just changed", reason="ComputeConflict", passing=True)
            self.below.delete(pod.key, grace_seconds)
        await self._answer(after)

    def forget(self, pod: ObservedPod) -> None:
        gone = self._gone.get(pod.key)
        if gone is not None and gone.handle == pod.handle:
            del self._gone[pod.key]

    async def put_tokens(self, pod: ObservedPod, tokens: Mapping[TokenKey, Token]) -> None:
        self.below.calls.append(("put_tokens", pod.key, pod.uid))
        after = await self._pause("put_tokens")
        self.below.tokens[pod.handle] = tokens
        copy = self.below.copies.get(pod.key)
        if copy is not None and copy.handle == pod.handle:
            due = min(t.refresh_at for t in tokens.values())
            self.below.put(replace(copy, tokens_refresh_at=due))
            self._known[pod.key] = self.below.copies[pod.key]
        await self._answer(after)

    def held_version(self, ref: ObjectRef) -> str | None:
        body = self.below.objects.get(ref)
        return f"{body.metadata.uid}/{body.metadata.resource_version}" if body else None

    async def put_object(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        self.below.calls.append(("put_object", ref))
        after = await self._pause("put_object")
        self._require(ref.namespace)
        self.below.objects[ref] = body
        await self._answer(after)
        self._notify_object(ref)

    async def drop_object(self, ref: ObjectRef) -> None:
        self.below.calls.append(("drop_object", ref))
        after = await self._pause("drop_object")
        self.below.objects.pop(ref, None)
        await self._answer(after)
        self._notify_object(ref)

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        raise StreamError("no logs here", code=501)

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        raise StreamError("no streams here", code=501)

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        return open_session(request)

    # --- how it hears of things -----------------------------------------------------------------

    def _hear(self, copy: ObservedPod, version: int) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due + 1e-6, loop.time() + self._lag())
        loop.call_at(self._due, self._take, copy, version)

    def answer_again(self) -> None:
        """What the watch did not bring while the link was cut comes now; or the first listing."""
        if not self._listed:
            self._list()
        late, self._late = self._late, []
        for copy, version in late:
            self._take(copy, version)

    def _take(self, copy: ObservedPod, version: int) -> None:
        if self._hear not in self.below.watchers:
            return
        if self.below.cut:
            self._late.append((copy, version))
            return
        if version < self._versions.get(copy.handle, 0):
            return
        self._versions[copy.handle] = version
        if copy.gone:
            self._known.pop(copy.key, None)
            self._gone[copy.key] = copy
        else:
            self._known[copy.key] = copy
        self._notify(copy.key)

    def _notify(self, key: ObjectKey) -> None:
        for listener in self._listeners:
            listener(key)

    def _notify_object(self, ref: ObjectRef) -> None:
        for listener in self._object_listeners:
            listener(ref)

    def _relay(self, event: PodEvent) -> None:
        for listener in self._event_listeners:
            listener(event)

    def _require(self, namespace: str) -> None:
        if self.sight(namespace) is not Sight.COMPLETE:
            raise Waiting(
                f'namespace "{namespace}" is not prepared',
                reason="NamespaceNotReady",
                not_done=True,
            )

    async def _pause(self, call: str) -> BackendError | None:
        """Wait for the other side; raise a fault now, or return the one to raise afterwards."""
        await asyncio.sleep(self._latency())
        if self.below.cut:
            raise UNREACHABLE
        fault = next((f for f in self.below.faults if f.call == call), None)
        if fault is None:
            return None
        self.below.faults.remove(fault)
        if not fault.after:
            raise fault.error
        return fault.error

    async def _answer(self, fault: BackendError | None) -> None:
        await asyncio.sleep(self._latency())
        if fault is not None:
            raise fault
