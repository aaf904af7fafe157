"""Events on tenant pods and virtual nodes, de-duplicated and rate limited.

In: `record` calls from reconcilers, which never wait. Out: v1.Event objects in the tenant. The name
of an Event is derived from what it says, so the same thing said again, also by another replica or
after a restart, raises the count of one object instead of adding another. Events are best effort:
what cannot be written is counted and logged, and never holds a pod up. Namespaces take turns, and
none fills the queue alone, nor says more than its share: however many pods have something to say
again and again, what is written of them is bounded. The same is repeated every 5 minutes at most,
as often as client-go's EventCorrelator lets one source speak of one object for long
(tools/record/events_cache.go, defaultSpamQPS).
"""

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import msgspec
import structlog

from vnode.backend import PodEvent
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vnode.kube.resources import EVENTS
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, NodeName, ObjectKey, ObjectMeta, PartialObject
from vnode.pods.view import PodView
from vnode.runtime.clock import Clock
from vnode.runtime.fair import FairLine

_LOG = structlog.get_logger(__name__)
OURSELVES, KUBELET = "vnode", "kubelet"
"""Who says something. Tools look for what kubelets say by that name."""
NODE_EVENTS = "default"
"""Namespace of Events about Nodes (`kubectl describe node` looks there)."""
_REMEMBERED = 16_384
_QUEUE = 2048
_QUEUE_OF_NAMESPACE = _QUEUE // 2
_REPEAT_AFTER, _AGAIN_AFTER = 300.0, 60.0
"""Seconds until the same is written again: as a repetition, and after a write that failed."""
_MESSAGE_LIMIT = 1024
_BURST, _PER_SECOND = 25, 1 / 60
_BURST_OF_NAMESPACE, _PER_SECOND_OF_NAMESPACE = 2000, 20.0
"""Twenty a second are as many as 6,000 pods that repeat themselves."""

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class _Said:
    key: ObjectKey
    uid: UID
    node: NodeName
    type: EventType
    reason: str
    message: str
    component: str

    @property
    def namespace(self) -> str:
        """Where its Event lies: those about Nodes in `default`, as everybody's do."""
        return self.key.namespace or NODE_EVENTS

    @property
    def name(self) -> str:
        said = "\0".join((self.uid, self.type, self.reason, self.message))
        pod = self.key.name[:200].rstrip("-.")
        return f"{pod}.{hashlib.blake2b(said.encode(), digest_size=8).hexdigest()}"


class _Known(msgspec.Struct, frozen=True):
    """What is read of an Event that is there already."""

    metadata: ObjectMeta
    count: int = 1


@dataclass(slots=True)
class _Series:
    count: int = 0
    written: float | None = None
    event: UID | None = None
    """The Event object, made by us or found; None: not known to be there."""


class _Buckets:
    """How much each may still say; the least recent are forgotten and start full again."""

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst, self._per_second = burst, per_second
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Tokens, and when they were counted."""

    def left(self, who: str, now: float) -> float:
        """Tokens at a monotonic time."""
        tokens, counted = self._left.get(who, (self._burst, now))
        return min(self._burst, tokens + (now - counted) * self._per_second)

    def take(self, who: str, now: float) -> None:
        """One of them."""
        self._left[who] = self.left(who, now) - 1, now
        self._left.move_to_end(who)
        while len(self._left) > _REMEMBERED:
            self._left.popitem(last=False)


class EventRecorder:
    """Writes Events about pods to the tenant cluster."""

    def __init__(self, client: KubeClient, *, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._queue: FairLine[_Said, None] = FairLine(lambda said: said.key.namespace)
        self._queued = asyncio.Event()
        self._series: OrderedDict[str, _Series] = OrderedDict()
        self._of_pods = _Buckets(_BURST, _PER_SECOND)
        self._of_namespaces = _Buckets(_BURST_OF_NAMESPACE, _PER_SECOND_OF_NAMESPACE)
        self.dropped = 0

    def say(self, pod: PodView, type: EventType, reason: str, message: str) -> None:
        """Say something about a pod that was looked at, see `record`."""
        self.record(pod.key, pod.uid, node=pod.node, type=type, reason=reason, message=message)

    def relay(self, pod: PodView, event: PodEvent) -> None:
        """Say what the compute side said about a pod's copy, see `record`."""
        self.record(
            pod.key,
            pod.uid,
            node=pod.node,
            type="Warning" if event.type == "Warning" else "Normal",
            reason=event.reason,
            message=event.message,
            component=KUBELET if event.by_kubelet else OURSELVES,
        )

    def say_of_node(
        self, node: NodeName, uid: UID, *, type: EventType, reason: str, message: str
    ) -> None:
        """Say something about a virtual node, see `record`."""
        self.record(ObjectKey("", node), uid, node=node, type=type, reason=reason, message=message)

    def record(
        self,
        key: ObjectKey,
        uid: UID,
        *,
        node: NodeName,
        type: EventType,
        reason: str,
        message: str,
        component: str = OURSELVES,
    ) -> None:
        """Say something about a pod, or without a namespace about a Node.

        Returns at once; repeats within 5 minutes are only counted.
        """
        said = _Said(key, uid, node, type, reason, message[:_MESSAGE_LIMIT], component)
        series = self._series.get(said.name) or _Series()
        series.count += 1
        now = self._clock.monotonic()
        if series.written is not None and now - series.written < _REPEAT_AFTER:
            return
        # What goes well is told only while there is time: it never displaces a warning.
        most = _QUEUE if type == "Warning" else _QUEUE // 8
        full = len(self._queue) >= most or self._queue.of(key.namespace) >= _QUEUE_OF_NAMESPACE
        if full or not self._allowed(said, now):
            self.dropped += 1
            return
        self._of_pods.take(uid, now)
        self._of_namespaces.take(key.namespace, now)
        series.written = now
        # Only what is written is remembered: what is not displaces nothing.
        self._series[said.name] = series
        self._series.move_to_end(said.name)
        while len(self._series) > _REMEMBERED:
            self._series.popitem(last=False)
        self._queue.put(said, None)
        self._queued.set()

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            while not self._queue:
                self._queued.clear()
                await self._queued.wait()
            said, _ = self._queue.take()
            try:
                await self._write(said)
            except KubeError as error:
                self.dropped += 1
                if (series := self._series.get(said.name)) is not None:
                    series.written = self._clock.monotonic() + _AGAIN_AFTER - _REPEAT_AFTER
                _LOG.info("event not written", about=str(said.key), why=type(error).__name__)

    def _allowed(self, said: _Said, now: float) -> bool:
        # As in the queue: what goes well leaves room for warnings.
        least = 1 if said.type == "Warning" else _BURST_OF_NAMESPACE / 2
        room = self._of_namespaces.left(said.key.namespace, now) >= least
        return room and self._of_pods.left(said.uid, now) >= 1

    async def _write(self, said: _Said) -> None:
        series = self._series.setdefault(said.name, _Series(count=1))
        now = rfc3339(self._clock.time())
        if series.event is not None:
            try:
                await self._repeat(said, series.event, now, count=series.count)
                return
            except (NotFound, Conflict):
                series.event = None  # It has expired, and may have been made anew by others.
        series.event = await self._make(said, series, now)

    async def _make(self, said: _Said, series: _Series, now: str) -> UID:
        where = said.namespace
        try:
            body = _body(said, now, count=series.count)
            made = await self._client.create(EVENTS, body, PartialObject, namespace=where)
            return made.metadata.uid
        except AlreadyExists:
            # Said by another replica or before a restart: its count goes on. One that goes
            # meanwhile is a failed write, and made at the next saying.
            known = await self._client.get(EVENTS, _Known, name=said.name, namespace=where)
        count = series.count + known.count
        await self._repeat(said, known.metadata.uid, now, count=count)
        series.count = count
        return known.metadata.uid

    async def _repeat(self, said: _Said, event: UID, now: str, *, count: int) -> None:
        """Raises NotFound, and Conflict where another Event has the name by now."""
        change = {"metadata": {"uid": event}, "count": count, "lastTimestamp": now}
        await self._client.patch(
            EVENTS, change, PartialObject, name=said.name, namespace=said.namespace
        )


def _body(said: _Said, now: str, *, count: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": said.name, "namespace": said.namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod" if said.key.namespace else "Node",
            **({"namespace": said.key.namespace} if said.key.namespace else {}),
            "name": said.key.name,
            "uid": said.uid,
        },
        "type": said.type,
        "reason": said.reason,
        "message": said.message,
        "count": count,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": said.component, "host": said.node},
        "reportingComponent": said.component,
        "reportingInstance": said.node,
    }
