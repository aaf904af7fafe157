"""Reconciles tenant pods on virtual nodes with their copies in one backend.

In: tenant pods (`Store[Pod]`, one watch per virtual node) and `PodBackend.observed`. Out: `apply`
and `delete` on the backend; status patches and final deletes on the tenant's API server. Both
directions share one keyed queue, so that one pod is never handled twice at the same time. What to
do is decided by the pure `lifecycle.decide`; this module has one step carried out, and asks again
when something changed:

    Create, Update              vnode.pods.forwarding
    Start                       vnode.pods.start_once
    Mirror                      vnode.pods.status.mirror
    DeleteCopy, RemovePod,
    Orphan, Lost                vnode.pods.removal
    Fence, GiveUp, Release      vnode.pods.partition.cut_off

What may fail: anything, at any time. An error is a retry with backoff for as long as the pod
exists; what users should know about it becomes status.reason, a condition and an event.
"""

import random
from collections.abc import Callable, Mapping

import structlog

from vnode.backend import (
    InLine,
    NameConflict,
    ObservedPod,
    PodBackend,
    PodEvent,
    Sight,
    Waiting,
    WaitingReason,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, KubeError
from vnode.kube.types import NodeName, ObjectKey, Pod
from vnode.pods import lifecycle
from vnode.pods.events import EventRecorder
from vnode.pods.forwarding import Forwarding
from vnode.pods.limits import NoRoom
from vnode.pods.memory import AskedDeletions, Departures, Memories
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.orphans import OrphanGuard
from vnode.pods.partition.cut_off import CutOff
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.policy import ANNOTATION as ON_PARTITION
from vnode.pods.removal import LOOK_AGAIN_SECONDS, Removal
from vnode.pods.start_once import Starter, StartOnce
from vnode.pods.status import statuses
from vnode.pods.status.addresses import AddressPool
from vnode.pods.status.mirror import SETTLE_SECONDS, Mirror, NodeSettings
from vnode.pods.status.writer import StatusWriter
from vnode.pods.tenant_time import TenantTime
from vnode.pods.tolerations import Tolerations
from vnode.pods.view import PodView, pod_address
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store
from vnode.runtime.workqueue import Priority, Result, WorkQueue, soonest

__all__ = ["NodeSettings", "PodController"]

_LOG = structlog.get_logger(__name__)

_PATIENCE_SECONDS = 10.0
"""What cannot be seen below for so long is told to users, with the reason."""
_WAIT_FIRST, _WAIT_MOST = 1.0, 60.0
_WAIT_FOR_ROOM = 300.0
"""At most for what pods are woken for: others may have taken the room, or nobody knew of it."""
_WAIT_PASSING, _SILENT_TRIES = 0.25, 4
"""What passes by itself is tried again so soon and so often before users hear of it."""
_LONG_LINE = 120.0
"""Seconds in line of which users hear."""


class PodController:
    """One per backend; owns all writes about its pods."""

    def __init__(
        self,
        *,
        client: KubeClient,
        pods: Store[Pod],
        backend: PodBackend,
        nodes: Mapping[NodeName, NodeSettings],
        objects: ReferencedObjects,
        tokens: TokenIssuer,
        events: EventRecorder,
        addresses: AddressPool,
        orphans: OrphanGuard,
        queue: WorkQueue[ObjectKey],
        pods_synced: Callable[[], bool],
        clock: Clock,
        rng: random.Random,
        keeper: FenceKeeper,
        leaving: Callable[[Pod, ObservedPod], None] = lambda _pod, _copy: None,
        start_once: StartOnce = StartOnce.RELAXED,
        tolerations_changed: Callable[[str], None] = lambda _result: None,
    ) -> None:
        """Wire it up; for `leaving` see `Mirror`, for `tolerations_changed` see `Tolerations`.

        Raises:
            ConfigError: `start_once` asks for more than the backend can do.
        """
        start_once.require(backend.capabilities)
        self._pods = pods
        self._backend = backend
        self._nodes = nodes
        self._objects = objects
        self._events = events
        self._addresses = addresses
        self._guard = orphans
        self._queue = queue
        self._pods_synced = pods_synced
        self._clock = clock
        self._rng = rng
        self._time = TenantTime(client, clock)
        self._memories = Memories(clock)
        self._status = StatusWriter(client, pods, events)
        self._mirror = Mirror(
            backend=backend,
            nodes=nodes,
            writer=self._status,
            tokens=tokens,
            addresses=addresses,
            memories=self._memories,
            time=self._time,
            clock=clock,
            leaving=leaving,
        )
        self._starter = Starter(backend, self._status, self._mirror, self._memories)
        self._forwarding = Forwarding(
            backend=backend,
            objects=objects,
            writer=self._status,
            mirror=self._mirror,
            events=events,
            memories=self._memories,
            start_once=start_once,
        )
        self._removal = Removal(
            client=client,
            backend=backend,
            guard=orphans,
            writer=self._status,
            mirror=self._mirror,
            events=events,
            memories=self._memories,
            asked=AskedDeletions(clock),
            departures=Departures(clock),
            clock=clock,
        )
        self._fences = keeper.fences
        self._cut_off = CutOff(
            backend=backend,
            keeper=keeper,
            writer=self._status,
            mirror=self._mirror,
            events=events,
            memories=self._memories,
            removal=self._removal,
        )
        self._tolerations = Tolerations(
            client, pods, events, self._memories, clock, count=tolerations_changed
        )
        pods.subscribe(self._pod_changed)
        objects.subscribe(self._wake)
        backend.subscribe(self._copy_changed)
        backend.subscribe_events(self._relay_event)
        backend.subscribe_places(self._place_opened)
        backend.subscribe_link(self._link_changed)

    def follow_fences(self) -> Callable[[], None]:
        """Look at every pod name whose fences change; returns how to end that."""
        for node in self._nodes:
            for fence in self._fences.on(node):
                self._queue.add(fence.key, Priority.LOW)
        return self._fences.subscribe(lambda _node, key: self._wake(key))

    def _link_changed(self) -> None:
        """Pods that do not wait for ever, and those that were given up, are looked at."""
        for key, pod in [(pod.metadata.key, pod) for pod in self._pods.values()]:
            if ON_PARTITION in pod.metadata.annotations:
                self._queue.add(key, Priority.LOW)
        for node in self._nodes:
            for fence in self._fences.on(node):
                self._queue.add(fence.key)

    def _copy_changed(self, key: ObjectKey) -> None:
        # Until everything below is known, news are what listings find.
        known = self._backend.sight(key.namespace) is Sight.COMPLETE
        self._queue.add(key, Priority.HIGH if known else Priority.NORMAL)

    def _pod_changed(self, change: Change[Pod]) -> None:
        # First of all: whatever fails below, the pod is not forgotten.
        self._queue.add(change.key, _priority(change))
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._addresses.release(old.metadata.uid)
            self._guard.pod_went(old)
        if new is not None and (old is None or old.metadata.uid != new.metadata.uid):
            self._memories.arrived(new, live=not change.initial)
        if new is not None and change.initial and (address := pod_address(new)):
            self._addresses.learn(new.metadata.uid, address)
        self._objects.pod_changed(change)

    def _wake(self, key: ObjectKey) -> None:
        """Try a waiting pod at once: what it waits for may be there."""
        if (memory := self._memories.get(key)) is not None:
            memory.not_before = 0.0
        self._queue.add(key)

    def _place_opened(self, namespace: str) -> None:
        for memory in self._memories.waiting(namespace):
            memory.attempts = 0
            self._wake(memory.seen.key)

    def _relay_event(self, event: PodEvent) -> None:
        memory = self._memories.get(event.key)
        if memory is not None and memory.uid == event.uid:
            self._events.relay(memory.seen, event)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the next step for one tenant pod name."""
        if not self._pods_synced():
            return Result(requeue_after=SETTLE_SECONDS)
        pod = self._pods.get(key)
        seen = self._memories.look(key, pod)
        if seen is not None and seen.node not in self._nodes:
            return Result()
        copy = self._backend.observed(key)
        sight = self._backend.sight(key.namespace)
        if sight is Sight.COMPLETE and seen is not None:
            self._memories.saw(seen, copy, settled=self._backend.settled)
        if (again := await self._tolerations.ensure(pod, seen)) is not None:
            return Result(requeue_after=again)
        loss, due = self._cut_off.loss(seen), self._cut_off.due(seen)
        step = lifecycle.decide(
            seen,
            copy,
            sight=sight,
            remaining=self._time.remaining(pod) if pod and seen and seen.deleting else None,
            loss=loss,
        )
        held = loss.held and seen is not None and not _is_settled(seen)
        if sight is Sight.UNKNOWN and isinstance(step, lifecycle.Nothing) and not held:
            return await self._unseen(pod, seen)
        if not isinstance(step, lifecycle.Orphan):
            self._guard.cleared(key)
            self._memories.no_orphan(key)
        if seen is not None and seen.terminal and copy is None:
            self._objects.withdraw(key)
        missed = self._say_missed(seen) if sight is not Sight.COMPLETE else None
        fenced = await self._cut_off.settle(key, seen)
        try:
            result = await self._take(step, key, pod, seen)
            if seen is not None and isinstance(step, lifecycle.Nothing):
                if held:
                    self._cut_off.require_unfenced(seen)
                _explain_predecessor(seen, copy)
        except Waiting as waiting:
            later = await self._held(waiting, key, pod, seen)
            return soonest(later.requeue_after, fenced.requeue_after, due)
        except Conflict:
            # The pod has changed since it was read: the watch will bring it.
            return Result(requeue_after=SETTLE_SECONDS)
        dying = self._removal.watch_deletion(seen, copy) if copy is not None else None
        return soonest(result.requeue_after, dying, missed, fenced.requeue_after, due)

    def _say_missed(self, seen: PodView | None) -> float | None:
        """Something is to be done about a copy that cannot be seen; seconds until the next look."""
        if seen is None or not _needs_sight(seen):
            return None
        text = (
            "The place where the pod's copy was made cannot be looked into now; ask the "
            "platform team to prepare it (again) for this tenant; if it is certain that the "
            "copy does not run any more, delete the pod with --force"
        )
        self._events.say(seen, "Warning", "ComputeNamespaceUnavailable", text)
        return LOOK_AGAIN_SECONDS

    async def _unseen(self, pod: Pod | None, seen: PodView | None) -> Result:
        """Nothing can be decided before the first look below; users hear of it if it lasts."""
        if pod is not None and seen is not None and not _is_settled(seen):
            memory, now = self._memories[seen.key], self._clock.monotonic()
            memory.unseen_since = now if memory.unseen_since is None else memory.unseen_since
            if now - memory.unseen_since >= _PATIENCE_SECONDS:
                why = self._backend.why_unseen(seen.key.namespace)
                await self._status.write(pod, seen, statuses.held(pod, why, self._time.now()))
        return Result(requeue_after=SETTLE_SECONDS)

    async def _take(
        self, step: lifecycle.Step, key: ObjectKey, pod: Pod | None, seen: PodView | None
    ) -> Result:
        match step:
            case lifecycle.Forget(copy):
                self._backend.forget(copy)
                if seen is not None:
                    # It waited for this: what it meets now is another matter.
                    memory = self._memories[key]
                    memory.not_before, memory.attempts = 0.0, 0
                return Result(requeue_after=0) if pod else Result()
            case lifecycle.Orphan(copy):
                return await self._removal.delete_orphan(key, copy)
            case lifecycle.DeleteCopy(copy, grace):
                return await self._removal.delete_copy(key, copy, grace_seconds=grace)
        return Result() if pod is None or seen is None else await self._take_for(step, pod, seen)

    async def _take_for(self, step: lifecycle.Step, pod: Pod, seen: PodView) -> Result:
        """Take a step that is about a tenant pod which is there."""
        match step:
            case lifecycle.RemovePod(last):
                return await self._removal.remove_pod(pod, seen, last)
            case lifecycle.Create():
                return await self._create(pod, seen)
            case lifecycle.Start(copy):
                return await self._starter.start(pod, seen, copy)
            case lifecycle.Update(copy):
                return await self._forwarding.change(pod, seen, copy)
            case lifecycle.Mirror(copy):
                return await self._mirror.show(pod, seen, copy)
            case lifecycle.Lost(last):
                return await self._removal.lose(pod, seen, last)
            case lifecycle.Fence() | lifecycle.GiveUp() | lifecycle.Release():
                return await self._cut_off.take(step, pod, seen)
        return Result()

    async def _create(self, pod: Pod, seen: PodView) -> Result:
        if (early := self._memories.too_soon(seen)) is not None:
            return Result(requeue_after=early)
        if self._memories[seen.key].rejected != seen.digest:
            await self._cut_off.require_free(pod, seen)
        return await self._forwarding.create(pod, seen)

    async def _held(
        self, waiting: Waiting, key: ObjectKey, pod: Pod | None, seen: PodView | None
    ) -> Result:
        """Something has to wait: say so on the pod and come back with backoff."""
        if isinstance(waiting, InLine) and waiting.seconds < _LONG_LINE:
            return Result(requeue_after=waiting.seconds)  # No failure, and nothing to tell yet.
        attempts, silent = self._memories.failed(key), False
        memory = self._memories.get(seen.key) if seen else None
        if seen is not None and pod is not None and memory is not None:
            silent = waiting.passing and attempts < _SILENT_TRIES
            if not silent and (not isinstance(waiting, NameConflict) or attempts == 0):
                self._events.say(seen, "Warning", waiting.reason, str(waiting))
            copy = self._backend.observed(key)
            made = copy is not None and copy.uid == seen.uid
            if not silent and not made and not _is_settled(seen):
                why = WaitingReason(waiting.reason, str(waiting))
                # Where it can be seen what is below, the mark would cost two writes a try.
                blind = self._backend.sight(key.namespace) is not Sight.COMPLETE
                unsent = blind and memory.nothing_sent
                held = statuses.held(pod, why, self._time.now(), unsent=unsent)
                try:
                    await self._status.write(pod, seen, held)
                except KubeError:
                    # The queue tries again within milliseconds: many such tries are no long wait.
                    memory.attempts = attempts
                    raise
        first = _WAIT_PASSING if silent else _WAIT_FIRST
        attempts -= _SILENT_TRIES if waiting.passing and not silent else 0
        most = _WAIT_FOR_ROOM if isinstance(waiting, NoRoom) else _WAIT_MOST
        delay = min(most, first * 2 ** min(attempts, 10))
        if waiting.retry_after is not None:
            delay = max(delay, min(waiting.retry_after, _WAIT_MOST))
        delay *= 1 + 0.2 * self._rng.random()
        if memory is not None and seen is not None:
            memory.not_before = self._clock.monotonic() + delay
            memory.waited_as = seen.digest
        _LOG.info("waiting", pod=str(key), why=waiting.reason, seconds=round(delay))
        return Result(requeue_after=delay)


def _priority(change: Change[Pod]) -> Priority:
    """What goes is let go of before others come."""
    ends = change.new is None or change.new.metadata.deletion_timestamp is not None
    return Priority.HIGH if ends and not change.initial else Priority.of(initial=change.initial)


def _explain_predecessor(seen: PodView, copy: ObservedPod | None) -> None:
    if copy is None:
        return
    if copy.uid != seen.uid and not seen.deleting and not seen.terminal:
        raise Waiting(
            "the copy of an older pod of the same name is not gone yet",
            reason="PredecessorExists",
        )


def _needs_sight(seen: PodView) -> bool:
    """Whether something is still to be done about its copy: nothing is about a finished one's."""
    return seen.forwarded and not seen.ended and (seen.deleting or not seen.terminal)


def _is_settled(seen: PodView) -> bool:
    """Whether its status says more than that it waits for its copy to be made."""
    return seen.forwarded or seen.terminal or seen.deleting
