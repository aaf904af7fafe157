"""Reconciles tenant pods on virtual nodes with their copies in one backend.

In: tenant pods (`Store[Pod]`, one watch per virtual node) and `PodBackend.observed`. Out: `apply`
and `delete` on the backend; status patches and final deletes on the tenant's API server. Both
directions share one keyed queue, so that one pod is never handled twice at the same time. What to
do is decided by the pure `lifecycle.decide`; this module only carries one step out, and asks again
when something changed.

What may fail: anything, at any time. An error is a retry with backoff for as long as the pod
exists; what users should know about it becomes status.reason, a condition and an event.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from vnode.backend import (
    NameConflict,
    ObservedPod,
    PodBackend,
    PodEvent,
    PodRequest,
    Rejected,
    Sight,
    Waiting,
    WaitingReason,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, KubeError, NotFound
from vnode.kube.resources import PODS
from vnode.kube.timestamps import parse, rfc3339
from vnode.kube.types import NodeName, ObjectKey, Pod
from vnode.pods import lifecycle, status
from vnode.pods.addresses import AddressPool
from vnode.pods.events import EventRecorder, EventType
from vnode.pods.objects import ReferencedObjects
from vnode.pods.orphans import OrphanGuard
from vnode.pods.references import ReferenceUse, references, token_requests
from vnode.pods.requirements import unmet
from vnode.pods.status_writer import StatusWriter
from vnode.pods.tokens import TokenIssuer
from vnode.pods.view import TERMINAL, PodView, container_names, pod_address, view
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store
from vnode.runtime.workqueue import Result, WorkQueue

_LOG = structlog.get_logger(__name__)

FORWARD_DAEMON = "vnode.dev/forward-daemonset"
"""Annotation `"true"` on a DaemonSet's pod template: forward its pods all the same."""

_SETTLE_SECONDS = 1.0
"""A copy that is merely on its way is not worth a status write of its own for so long."""
_ORPHAN_SECONDS = 2.0
"""Between the two sightings of a copy without tenant pod."""
_PATIENCE_SECONDS = 10.0
"""A compute cluster that was not looked at for so long is told to users as the reason."""
_WAIT_FIRST, _WAIT_MOST = 1.0, 60.0
_LEAST_TOKEN_SECONDS = 30.0
"""Between two renewals of a pod's tokens, whatever the clocks say."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the pods of one virtual node get from it."""

    name: NodeName
    address: str
    """The virtual node's address, shown as hostIP."""
    flat_network: bool
    """The copies' own addresses are reachable in the tenant and shown there."""


@dataclass(slots=True)
class _Memory:
    """What is remembered about one pod between two reconciles; lost on restart without harm."""

    uid: str
    seen: PodView
    resource_version: str
    attempts: int = 0
    not_before: float = 0.0
    """Monotonic time of the next try while something has to wait."""
    waited_as: str = ""
    """Digest of the pod that has to wait: a changed one is tried at once."""
    rejected: str | None = None
    """Digest of the pod that was rejected: judged again when it changes."""
    quiet_since: float | None = None
    unseen_since: float | None = None
    unanswered: bool = False
    """A create was asked for and not answered well: there may be a copy that nobody saw yet."""
    removed: bool = False
    """Deleted for good in the tenant; only the watch has not said so yet."""


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
        service_env: Callable[[str], Mapping[str, str]],
        queue: WorkQueue[ObjectKey],
        pods_synced: Callable[[], bool],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Wire it up; `service_env` gives a tenant namespace's service variables."""
        self._client = client
        self._pods = pods
        self._backend = backend
        self._nodes = nodes
        self._objects = objects
        self._tokens = tokens
        self._events = events
        self._status = StatusWriter(client, pods, events)
        self._addresses = addresses
        self._guard = orphans
        self._service_env = service_env
        self._queue = queue
        self._pods_synced = pods_synced
        self._clock = clock
        self._rng = rng
        self._memory: dict[ObjectKey, _Memory] = {}
        pods.subscribe(self._pod_changed)
        objects.subscribe(self._wake)
        backend.subscribe(queue.add)
        backend.subscribe_events(self._relay_event)

    def _pod_changed(self, change: Change[Pod]) -> None:
        # First of all: whatever fails below, the pod is not forgotten.
        self._queue.add(change.key, low=change.initial)
        old, new = change.old, change.new
        if old is not None and (new is None or new.metadata.uid != old.metadata.uid):
            self._addresses.release(old.metadata.uid)
        if new is not None and change.initial and (address := pod_address(new)):
            self._addresses.learn(new.metadata.uid, address)
        self._objects.pod_changed(change)

    def _wake(self, key: ObjectKey) -> None:
        """Try a waiting pod at once: what it waits for may be there."""
        if (memory := self._memory.get(key)) is not None:
            memory.not_before = 0.0
        self._queue.add(key)

    async def reconcile(self, key: ObjectKey) -> Result:
        """Take the next step for one tenant pod name."""
        if not self._pods_synced():
            return Result(requeue_after=_SETTLE_SECONDS)
        pod = self._pods.get(key)
        seen = self._seen(key, pod)
        if seen is not None and seen.node not in self._nodes:
            return Result()
        copy = self._backend.observed(key)
        sight = self._backend.sight(key.namespace)
        if sight is Sight.UNKNOWN:
            return await self._unseen(pod, seen)
        step = lifecycle.decide(
            seen,
            copy,
            sight=sight,
            remaining=self._remaining(pod) if pod and seen and seen.deleting else None,
        )
        if not isinstance(step, lifecycle.Orphan):
            self._guard.cleared(key)
        if sight is Sight.BARRED and seen is not None and seen.forwarded:
            text = "The place where the pod's copy was made cannot be looked into now"
            self._say(seen, "Warning", "ComputeNamespaceUnavailable", text)
        try:
            result = await self._take(step, key, pod, seen)
            if copy is not None and seen is not None and isinstance(step, lifecycle.Nothing):
                self._explain_predecessor(seen, copy)
        except Waiting as waiting:
            return await self._held(waiting, key, pod, seen)
        except Conflict:
            # The pod has changed since it was read: the watch will bring it.
            return Result(requeue_after=_SETTLE_SECONDS)
        dying = self._dying(seen, copy) if copy is not None else None
        # Where somebody else moves next, no single event is relied on.
        unseen = _WAIT_MOST if pod is not None and sight is Sight.BARRED else None
        return _soonest(result.requeue_after, dying, unseen)

    async def _unseen(self, pod: Pod | None, seen: PodView | None) -> Result:
        """Nothing can be decided before the first look below; users hear of it if it lasts."""
        if pod is not None and seen is not None and not _is_settled(seen):
            memory, now = self._memory[seen.key], self._clock.monotonic()
            memory.unseen_since = now if memory.unseen_since is None else memory.unseen_since
            if now - memory.unseen_since >= _PATIENCE_SECONDS:
                why = WaitingReason("ComputeUnreachable", "the compute cluster does not answer")
                await self._status.write(pod, seen, status.held(pod, why, self._now()))
        return Result(requeue_after=_SETTLE_SECONDS)

    async def _take(
        self, step: lifecycle.Step, key: ObjectKey, pod: Pod | None, seen: PodView | None
    ) -> Result:
        if isinstance(step, lifecycle.Forget):
            self._backend.forget(step.copy)
            if seen is not None:
                self._memory[key].not_before = 0.0
            return Result(requeue_after=0) if pod else Result()
        if isinstance(step, lifecycle.Orphan):
            return await self._orphan(key, step.copy)
        if isinstance(step, lifecycle.DeleteCopy):
            await self._backend.delete(step.copy, grace_seconds=step.grace_seconds)
            _LOG.info("deleting copy", pod=str(key), uid=step.copy.uid, grace=step.grace_seconds)
            return Result(requeue_after=_WAIT_MOST)
        if pod is None or seen is None:
            return Result()
        match step:
            case lifecycle.RemovePod(last):
                return await self._remove(pod, seen, last)
            case lifecycle.Create():
                return await self._create(pod, seen)
            case lifecycle.Update(copy):
                return await self._change(pod, seen, copy)
            case lifecycle.Mirror(copy):
                return await self._mirror(pod, seen, copy)
            case lifecycle.Lost(last):
                return await self._lost(pod, seen, last)
        return Result()

    # --- down -----------------------------------------------------------------------------------

    async def _create(self, pod: Pod, seen: PodView) -> Result:
        memory = self._memory[seen.key]
        if memory.rejected == seen.digest:
            return Result()
        if (early := self._too_soon(seen)) is not None:
            return Result(requeue_after=early)
        if seen.daemon and pod.metadata.annotations.get(FORWARD_DAEMON) != "true":
            waiting = WaitingReason(
                "DaemonSetNotForwarded",
                "Pods of DaemonSets stay off virtual nodes; annotate the pod template with "
                f'{FORWARD_DAEMON}: "true" to forward them',
            )
            self._say(seen, "Normal", waiting.reason, waiting.message)
            await self._status.write(pod, seen, status.held(pod, waiting, self._now()))
            memory.rejected = seen.digest
            return Result()
        try:
            uses = references(pod.spec)
            if refusal := self._unmet(pod, uses):
                raise refusal
            missing = await self._objects.ensure(seen.key, uses)
            mandatory = [m for m in missing if not m.use.optional]
            for m in missing:
                if m not in mandatory[:1]:
                    self._say(seen, "Warning", m.reason, m.message)
            if mandatory:
                raise Waiting(mandatory[0].message, reason=mandatory[0].reason)
            # Where nothing can be seen nothing is sent either.
            memory.unanswered = self._backend.sight(seen.key.namespace) is Sight.COMPLETE
            copy = await self._backend.apply(self._request(pod, seen))
            memory.unanswered = False
        except Rejected as rejected:
            memory.unanswered = False
            text = str(rejected)
            self._say(seen, "Warning", "PodRejected", text)
            _LOG.info("pod rejected", pod=str(seen.key), uid=seen.uid, field=rejected.field)
            names = container_names(pod)[1]
            await self._status.write(
                pod, seen, status.rejected(pod, seen, names, text, self._now())
            )
            memory.rejected = seen.digest
            return Result()
        memory.attempts = 0
        return await self._mirror(pod, seen, copy)

    async def _change(self, pod: Pod, seen: PodView, copy: ObservedPod) -> Result:
        """Update and mirror. A change that has to wait does not hold the status up."""
        if (early := self._too_soon(seen)) is not None:
            mirrored = await self._mirror(pod, seen, copy)
            return _soonest(early, mirrored.requeue_after)
        try:
            copy = await self._update(pod, seen, copy)
        except Waiting:
            await self._mirror(pod, seen, copy)
            raise
        return await self._mirror(pod, seen, copy)

    def _too_soon(self, seen: PodView) -> float | None:
        """Seconds until what has to wait is tried again; None: now."""
        memory = self._memory[seen.key]
        early = memory.not_before - self._clock.monotonic()
        return early if early > 0 and memory.waited_as == seen.digest else None

    async def _update(self, pod: Pod, seen: PodView, copy: ObservedPod) -> ObservedPod:
        """Bring the copy up to date; a change that cannot travel leaves it as it is."""
        memory = self._memory[seen.key]
        if memory.rejected == seen.digest:
            return copy
        try:
            await self._objects.ensure(seen.key, references(pod.spec))
            return await self._backend.apply(self._request(pod, seen))
        except Rejected as rejected:
            memory.rejected = seen.digest
            self._say(seen, "Warning", "UpdateRejected", str(rejected))
            return copy

    def _unmet(self, pod: Pod, uses: frozenset[ReferenceUse]) -> Rejected | None:
        return unmet(
            pod.spec,
            uses=uses,
            tokens=token_requests(pod.spec),
            capabilities=self._backend.capabilities,
        )

    def _request(self, pod: Pod, seen: PodView) -> PodRequest:
        return PodRequest(
            pod=pod,
            node=seen.node,
            digest=seen.digest,
            service_env=self._service_env(seen.key.namespace),
            host_ip=self._nodes[seen.node].address,
        )

    async def _renew_tokens(self, pod: Pod, seen: PodView, copy: ObservedPod) -> float | None:
        """Write tokens if they are due; return seconds until they are due again."""
        wanted = token_requests(pod.spec)
        if not wanted or copy.deleting or copy.gone or lifecycle.phase_below(copy) in TERMINAL:
            return None
        now = self._clock.time()
        if copy.tokens_refresh_at is not None and copy.tokens_refresh_at > now:
            return copy.tokens_refresh_at - now
        try:
            issued = await self._tokens.issue(
                seen.key, seen.uid, service_account=seen.service_account, wanted=wanted
            )
        except KubeError as error:
            raise Waiting(
                f'no token for ServiceAccount "{seen.service_account}": {error}',
                reason="TokenRequestFailed",
            ) from error
        await self._backend.put_tokens(copy, issued)
        return max(_LEAST_TOKEN_SECONDS, min(t.refresh_at for t in issued.values()) - now)

    async def _orphan(self, key: ObjectKey, copy: ObservedPod) -> Result:
        if (wait := await self._guard.wait(copy)) > 0:
            return Result(requeue_after=wait)
        await self._backend.delete(copy, grace_seconds=None)
        _LOG.warning("deleting copy without tenant pod", pod=str(key), uid=copy.uid)
        return Result(requeue_after=_WAIT_MOST)

    # --- up -------------------------------------------------------------------------------------

    async def _mirror(self, pod: Pod, seen: PodView, copy: ObservedPod) -> Result:
        if self._too_early(seen, copy):
            again = _SETTLE_SECONDS
        else:
            await self._status.write(
                pod, seen, status.mirrored(pod, seen, copy, self._placement(pod, seen))
            )
            again = None
        due = await self._renew_tokens(pod, seen, copy)
        return _soonest(again, due)

    def _too_early(self, seen: PodView, copy: ObservedPod) -> bool:
        """A fresh copy without news: wait a moment, so that start-up costs one status write."""
        memory = self._memory[seen.key]
        quiet = (
            not seen.forwarded
            and not copy.gone
            and copy.waiting is None
            and lifecycle.phase_below(copy) == "Pending"
        )
        if not quiet:
            return False
        now = self._clock.monotonic()
        memory.quiet_since = now if memory.quiet_since is None else memory.quiet_since
        return now - memory.quiet_since < _SETTLE_SECONDS

    async def _remove(self, pod: Pod, seen: PodView, last: ObservedPod | None) -> Result:
        if last is None and not await self._nothing_made(seen):
            return Result(requeue_after=_SETTLE_SECONDS)
        memory = self._memory[seen.key]
        if memory.removed:
            return Result(requeue_after=_WAIT_MOST)
        if last is None and seen.forwarded:
            self._require_same_place(seen)
        if not seen.terminal and (last is not None or seen.forwarded):
            placement = self._placement(pod, seen)
            if last is not None and lifecycle.phase_below(last) in TERMINAL:
                final = status.mirrored(pod, seen, last, placement)
            else:
                final = status.removed(pod, seen, last, placement)
            await self._status.write(pod, seen, final)
        try:
            await self._client.delete(
                PODS,
                name=seen.key.name,
                namespace=seen.key.namespace,
                uid=seen.uid,
                grace_seconds=0,
            )
        except NotFound:
            pass
        except Conflict:
            # A namesake has its place, as the watch will tell; else it is still to be removed.
            return Result(requeue_after=_SETTLE_SECONDS)
        memory.removed = True
        if last is not None:
            self._backend.forget(last)
        _LOG.info("pod removed", pod=str(seen.key), uid=seen.uid)
        return Result()

    async def _nothing_made(self, seen: PodView) -> bool:
        """Whether what is not seen below is not there: our watch may be behind our own create."""
        if not self._memory[seen.key].unanswered:
            return True
        if self._backend.sight(seen.key.namespace) is not Sight.COMPLETE:
            return False  # It could be seen when the create was sent; wait until it can be again.
        return await self._backend.confirm_gone(seen.key, seen.uid)

    async def _lost(self, pod: Pod, seen: PodView, last: ObservedPod | None) -> Result:
        self._require_same_place(seen)
        if not await self._backend.confirm_gone(seen.key, seen.uid):
            return Result(requeue_after=_SETTLE_SECONDS)
        placement = self._placement(pod, seen)
        await self._status.write(pod, seen, status.lost(pod, seen, last, placement))
        self._say(seen, "Warning", "Evicted", "The pod's copy was removed in the compute cluster")
        _LOG.warning("copy lost", pod=str(seen.key), uid=seen.uid)
        if last is not None:
            self._backend.forget(last)
        return Result()

    def _require_same_place(self, seen: PodView) -> None:
        """What is missing in another place than it was made in is not gone."""
        place = self._backend.place(seen.key.namespace)
        if seen.place and place != seen.place:
            raise Waiting(
                "the compute namespace behind the virtual node is not the one in which the pod's "
                "copy was made; the copy cannot be looked for",
                reason="ComputeReplaced",
            )

    def _explain_predecessor(self, seen: PodView, copy: ObservedPod) -> None:
        if copy.uid != seen.uid and not seen.deleting and not seen.terminal:
            raise Waiting(
                "the copy of an older pod of the same name is not gone yet",
                reason="PredecessorExists",
            )

    def _dying(self, seen: PodView | None, copy: ObservedPod) -> float | None:
        """Say when a deletion below does not end; return seconds until it is looked at again."""
        if not copy.deleting or copy.gone:
            return None
        ends = lifecycle.deletion_ends(copy)
        left = _WAIT_MOST if ends is None else ends + _WAIT_MOST - self._clock.time()
        if left > 0:
            return left
        text = "The pod's copy is being deleted in the compute cluster, but does not go"
        if seen is not None:
            self._say(seen, "Warning", "CopyStuckTerminating", text)
        _LOG.warning("copy does not go", pod=str(copy.key), uid=copy.uid)
        return _WAIT_MOST

    async def _held(
        self, waiting: Waiting, key: ObjectKey, pod: Pod | None, seen: PodView | None
    ) -> Result:
        """Something has to wait: say so on the pod and come back with backoff."""
        attempts = 0
        memory = self._memory.get(seen.key) if seen else None
        if seen is not None and pod is not None and memory is not None:
            attempts, memory.attempts = memory.attempts, memory.attempts + 1
            if not isinstance(waiting, NameConflict) or attempts == 0:
                self._say(seen, "Warning", waiting.reason, str(waiting))
            copy = self._backend.observed(key)
            made = copy is not None and copy.uid == seen.uid
            if not made and not _is_settled(seen):
                why = WaitingReason(waiting.reason, str(waiting))
                await self._status.write(pod, seen, status.held(pod, why, self._now()))
        delay = min(_WAIT_MOST, _WAIT_FIRST * 2 ** min(attempts, 10))
        if waiting.retry_after is not None:
            delay = max(delay, min(waiting.retry_after, _WAIT_MOST))
        delay *= 1 + 0.2 * self._rng.random()
        if memory is not None and seen is not None:
            memory.not_before = self._clock.monotonic() + delay
            memory.waited_as = seen.digest
        _LOG.info("waiting", pod=str(key), why=waiting.reason, seconds=round(delay))
        return Result(requeue_after=delay)

    # --- small things ---------------------------------------------------------------------------

    def _seen(self, key: ObjectKey, pod: Pod | None) -> PodView | None:
        if pod is None:
            self._memory.pop(key, None)
            return None
        memory = self._memory.get(key)
        if memory is None or memory.uid != pod.metadata.uid:
            memory = _Memory(pod.metadata.uid, view(pod), pod.metadata.resource_version)
            self._memory[key] = memory
        elif memory.resource_version != pod.metadata.resource_version:
            memory.seen, memory.resource_version = view(pod), pod.metadata.resource_version
        return memory.seen

    def _placement(self, pod: Pod, seen: PodView) -> status.Placement:
        settings = self._nodes[seen.node]
        uid, place = pod.metadata.uid, self._backend.place(seen.key.namespace)
        allocate: Callable[[], str] | None = None
        if not settings.flat_network:

            def allocate() -> str:
                try:
                    return self._addresses.allocate(uid)
                except LookupError as error:
                    raise Waiting(str(error), reason="NoPodAddress") from None

        return status.Placement(settings.address, allocate, self._now(), place)

    def _remaining(self, pod: Pod) -> int | None:
        """Seconds of grace left by the tenant API server's clock, never more than was asked for."""
        ends, asked = pod.metadata.deletion_timestamp, pod.metadata.deletion_grace_period_seconds
        if ends is None or asked is None:
            return None
        now = self._clock.time() + self._client.clock_offset
        try:
            return min(asked, round(parse(ends) - now))
        except (ValueError, OverflowError):
            return None

    def _now(self) -> str:
        now = self._clock.time() + self._client.clock_offset
        return rfc3339(now)

    def _relay_event(self, event: PodEvent) -> None:
        memory = self._memory.get(event.key)
        if memory is not None and memory.uid == event.uid:
            kind: EventType = "Warning" if event.type == "Warning" else "Normal"
            self._say(memory.seen, kind, event.reason, event.message)

    def _say(self, seen: PodView, kind: EventType, reason: str, message: str) -> None:
        self._events.record(
            seen.key, seen.uid, node=seen.node, type=kind, reason=reason, message=message
        )


def _is_settled(seen: PodView) -> bool:
    """Whether its status says more than that it waits for its copy to be made."""
    return seen.forwarded or seen.terminal or seen.deleting


def _soonest(*seconds: float | None) -> Result:
    waits = [s for s in seconds if s is not None]
    return Result(requeue_after=min(waits)) if waits else Result()
