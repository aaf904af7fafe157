"""The end of pods: of tenant pods that are deleted, of copies that nobody has, of lost ones.

In: the steps of `vnode.pods.lifecycle` that end something. Out: deletions below and in the tenant,
final statuses, events. What cannot be taken back is asked of the place itself first.
"""

from dataclasses import dataclass

import structlog

from vnode.backend import ObservedPod, PodBackend, Sight, Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, NotFound
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey, Pod
from vnode.pods import lifecycle
from vnode.pods.events import EventRecorder
from vnode.pods.memory import AskedDeletions, Departures, Memories
from vnode.pods.orphans import OrphanGuard
from vnode.pods.status import statuses
from vnode.pods.status.mirror import SETTLE_SECONDS, Mirror
from vnode.pods.status.writer import StatusWriter
from vnode.pods.view import TERMINAL, PodView
from vnode.runtime.clock import Clock
from vnode.runtime.workqueue import Result

_LOG = structlog.get_logger(__name__)

LOOK_AGAIN_SECONDS = 60.0
"""Where somebody else moves next, no single event is relied on."""
_USUAL_GRACE = 30
"""Seconds: Kubernetes' own default."""


@dataclass(frozen=True, slots=True)
class Removal:
    """Takes pods and copies away."""

    client: KubeClient
    backend: PodBackend
    guard: OrphanGuard
    writer: StatusWriter
    mirror: Mirror
    events: EventRecorder
    memories: Memories
    asked: AskedDeletions
    departures: Departures
    clock: Clock

    async def delete_copy(
        self, key: ObjectKey, copy: ObservedPod, *, grace_seconds: int | None
    ) -> Result:
        """Ask for the deletion of a copy."""
        if (again := self.asked.repeated_in(copy.handle, grace_seconds)) is not None:
            return Result(requeue_after=again)
        await self.backend.delete(copy, grace_seconds=grace_seconds)
        self.asked.note(copy.handle, grace_seconds)
        _LOG.info("deleting copy", pod=str(key), uid=copy.uid, grace=grace_seconds)
        return Result(requeue_after=LOOK_AGAIN_SECONDS)

    async def delete_orphan(self, key: ObjectKey, copy: ObservedPod) -> Result:
        """Delete a copy without tenant pod, once it may be."""
        if (again := self.asked.repeated_in(copy.handle, None)) is not None:
            return Result(requeue_after=again)
        if (wait := await self.guard.wait(copy)) > 0:
            return Result(requeue_after=wait)
        try:
            await self.backend.delete(copy, grace_seconds=None)
        except Waiting as waiting:
            if waiting.not_done:
                self.guard.not_deleted(copy)
            raise
        self.asked.note(copy.handle, None)
        _LOG.warning("deleting copy without tenant pod", pod=str(key), uid=copy.uid)
        return Result(requeue_after=LOOK_AGAIN_SECONDS)

    async def remove_pod(self, pod: Pod, seen: PodView, last: ObservedPod | None) -> Result:
        """Let a deleted tenant pod go; `last` is its copy, which is gone."""
        unsure = last is None and not seen.ended
        if unsure and not await self._nothing_made(seen):
            return Result(requeue_after=SETTLE_SECONDS)
        memory = self.memories[seen.key]
        if memory.removed:
            return Result(requeue_after=LOOK_AGAIN_SECONDS)
        if last is None or not lifecycle.was_deleted(last):
            await self._require_end(seen, last)
        if not seen.terminal and (last is not None or seen.forwarded):
            placement = self.mirror.placement(pod, seen)
            if last is not None and lifecycle.phase_below(last) in TERMINAL:
                final = statuses.mirrored(pod, seen, last, placement)
            else:
                final = statuses.removed(pod, seen, last, placement)
            await self.writer.write(pod, seen, final)
        return await self.let_go(seen, last)

    async def let_go(self, seen: PodView, last: ObservedPod | None) -> Result:
        """Remove a deleted tenant pod whose copy is gone, or is remembered as fenced."""
        memory = self.memories[seen.key]
        if memory.removed:
            return Result(requeue_after=LOOK_AGAIN_SECONDS)
        try:
            await self.client.delete(
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
            return Result(requeue_after=SETTLE_SECONDS)
        memory.removed = True
        if last is not None:
            self.backend.forget(last)
        _LOG.info("pod removed", pod=str(seen.key), uid=seen.uid)
        return Result()

    async def lose(self, pod: Pod, seen: PodView, last: ObservedPod | None) -> Result:
        """The copy went without our asking: the tenant pod becomes Failed, if it is really gone."""
        await self._require_gone(seen)
        await self._require_place(seen)
        placement = self.mirror.placement(pod, seen)
        await self.writer.write(pod, seen, statuses.lost(pod, seen, last, placement))
        text = "The pod's copy was removed in the compute cluster"
        self.events.say(seen, "Warning", "Evicted", text)
        _LOG.warning("copy lost", pod=str(seen.key), uid=seen.uid)
        if last is not None:
            self.backend.forget(last)
        return Result()

    def watch_deletion(self, seen: PodView | None, copy: ObservedPod) -> float | None:
        """Say when a deletion below does not end; return seconds until it is looked at again."""
        if not copy.deleting:
            return None
        # Where a deletion below knows no grace period, the copy has the pod's own.
        usual = seen.grace_seconds if seen is not None else None
        ends = lifecycle.deletion_ends(copy, usual=_USUAL_GRACE if usual is None else usual)
        if copy.gone:
            self.departures.went(self.clock.time() if ends is None else ends)
            return None
        left = LOOK_AGAIN_SECONDS if ends is None else self.departures.stuck_in(ends)
        if left > 0:
            return left
        text = "The pod's copy is being deleted in the compute cluster, but does not go"
        if seen is not None:
            self.events.say(seen, "Warning", "CopyStuckTerminating", text)
        _LOG.warning("copy does not go", pod=str(copy.key), uid=copy.uid)
        return LOOK_AGAIN_SECONDS

    async def _nothing_made(self, seen: PodView) -> bool:
        """Whether what is not seen below is not there: our watch may be behind our own create.

        Where nothing is seen, an agent before us may have asked for a copy and died on it. It may
        have brought pods of this namespace here although we never do.
        """
        memory, sight = self.memories[seen.key], self.backend.sight(seen.key.namespace)
        if memory.nothing_sent:
            return True
        if sight is Sight.COMPLETE:
            # What was forwarded is asked for before anything of it goes (`_require_end`).
            known = not memory.unanswered and (memory.ours_alone or seen.forwarded)
            return known or await self.backend.confirm_gone(seen.key, seen.uid)
        unseen = Waiting(
            "the pod's copy may have been made in a place that cannot be looked into now; if it is "
            "certain that none runs there, delete the pod with --force",
            reason="ComputeNamespaceUnavailable",
        )
        try:
            if await self.backend.confirm_gone(seen.key, seen.uid):
                return True
        except Waiting as refused:
            raise unseen from refused
        raise unseen

    async def _require_end(self, seen: PodView, last: ObservedPod | None) -> None:
        """Of a copy that nobody saw deleted to the end: a final status of ours is proof enough."""
        runs = seen.forwarded and not seen.ended
        if runs or last is not None:
            await self._require_gone(seen)
        if runs:
            await self._require_place(seen)

    async def _require_gone(self, seen: PodView) -> None:
        """What is no longer seen may be there all the same: its labels may have been taken."""
        if not await self.backend.confirm_gone(seen.key, seen.uid):
            raise Waiting(
                "the pod's copy is in the compute cluster, but cannot be seen: the labels by which "
                "it is known may have been taken from it; it runs on until it has them again or is "
                "removed there",
                reason="CopyNotSeen",
            )

    async def _require_place(self, seen: PodView) -> None:
        """What is missing in another place than it was made in is not gone.

        Asked after `_require_gone`, which proves that the place of now is the one we know of.
        """
        if seen.place:
            await self.backend.require_place(seen.key.namespace, seen.place)
