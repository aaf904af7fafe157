"""Carries out what a lost compute link means for pods (DESIGN 7, Two links).

In: how long the backend has been silent, what pods asked for, and the fence lists. Out: a `Loss`
for the lifecycle rules, and their steps: `Fence` (the list is written first), `GiveUp` (the status
Failed), `Release`. What holds a pod back because an older one of its name may still run is Waiting.
A fence goes when the compute side itself has shown that the copy is gone, or has ended by itself.

The time is counted by this process from when the link was lost, or the pod came. After a restart in
the middle of an outage it begins anew: the condition of the Node says since when it was shown as
lost, but not that the link was not back while no agent looked.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from vnode.backend import ObservedPod, PodBackend, Sight, Waiting
from vnode.kube.errors import NotFound
from vnode.kube.types import NodeName, ObjectKey, Pod
from vnode.pods import lifecycle
from vnode.pods.events import EventRecorder
from vnode.pods.memory import Memories
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.fence_list import FENCED, Fence, generated_from
from vnode.pods.partition.fence_reads import ListForbidden
from vnode.pods.partition.policy import ANNOTATION, HOLDS, Loss
from vnode.pods.removal import Removal
from vnode.pods.status import statuses
from vnode.pods.status.mirror import Mirror
from vnode.pods.status.writer import StatusWriter
from vnode.pods.view import TERMINAL, PodView
from vnode.runtime.workqueue import Result, soonest

_LOG = structlog.get_logger(__name__)
_LOOK_AGAIN, _SOON = 60.0, 5.0
_LATE_SECONDS = 120.0
"""A create that was on its way when the link broke may land so long after the pod was given up: TCP
sends again for that long. Only a copy that was seen, and went, is gone sooner."""
_MAY_RUN = (
    "The compute cluster has not answered for longer than this pod waits (annotation "
    f"{ANNOTATION}); its copy may still run there, and is deleted when the cluster answers again"
)
_NOT_LISTED = "The compute cluster does not answer, but the fence list of the virtual node"
_UNREADABLE = (
    "the list of pods that may still run on node {node}, its annotation {annotation}, cannot be "
    "read: this pod starts when it can; an administrator puts the annotation right (vnode fence "
    "shows what can be read) or, if it is certain that no pod that was given up runs there, "
    "removes it"
)
_NEVER_RAN = (
    f"The compute cluster has not answered for longer than this pod waits (annotation {ANNOTATION})"
    "; it never ran there"
)


@dataclass(frozen=True, slots=True)
class CutOff:
    """The pods of one backend, while its link is lost and after."""

    backend: PodBackend
    keeper: FenceKeeper
    writer: StatusWriter
    mirror: Mirror
    events: EventRecorder
    memories: Memories
    removal: Removal

    def loss(self, seen: PodView | None) -> Loss:
        """What a pod has to know of the link."""
        if seen is None:
            return HOLDS
        fence, silent = self.keeper.fences.get(seen.node, seen.uid), self.backend.silent_for
        held = any(self._holding(seen))
        if fence is None and silent is None and not held:
            return HOLDS
        memory = self.memories[seen.key]
        return Loss(
            silent=silent is not None,
            overdue=self._overdue(seen) and memory.rejected != seen.digest,
            fenced=fence is not None,
            accepted=fence is not None and fence.accepted,
            unsent=memory.nothing_sent and not seen.forwarded,
            held=held,
        )

    def due(self, seen: PodView | None) -> float | None:
        """Seconds until the pod is given up if the link stays lost; None: it is not.

        What is wrong with the pod's annotation is said here, once.
        """
        if seen is None:
            return None
        memory, policy = self.memories[seen.key], seen.on_partition
        if policy.problem and not seen.terminal and memory.told_of != policy.problem:
            memory.told_of = policy.problem
            self.events.say(seen, "Warning", "InvalidOnPartition", policy.problem)
        left = None if seen.terminal else self._left(seen)
        return None if left is None else max(left, _SOON)

    def _overdue(self, seen: PodView) -> bool:
        left = self._left(seen)
        return left is not None and left <= 0

    def _still_overdue(self, seen: PodView) -> bool:
        """Whether a pod that was overdue is so now; the link may have been back for long."""
        memory = self.memories.get(seen.key)
        if memory is None or memory.uid != seen.uid or memory.seen.terminal:
            return False
        return self._overdue(memory.seen)

    def _left(self, seen: PodView) -> float | None:
        silent, after = self.backend.silent_for, seen.on_partition.fail_after
        if silent is None or after is None:
            return None
        # One that came in the middle waits as long: else its controller would make the next one.
        return after - min(silent, self.memories.known_for(seen))

    async def take(
        self, step: lifecycle.Fence | lifecycle.GiveUp | lifecycle.Release, pod: Pod, seen: PodView
    ) -> Result:
        """Carry out a step of a pod that waited long enough.

        Raises:
            Conflict: the pod has changed meanwhile.
            KubeError: the tenant's API server did not answer.
        """
        match step:
            case lifecycle.Fence():
                return self._fence(seen)
            case lifecycle.GiveUp():
                return await self._give_up(pod, seen)
        return await self.removal.let_go(seen, None)

    def _fence(self, seen: PodView) -> Result:
        """Have the pod remembered; the list's change brings it back here."""
        place = seen.place or self.backend.place(seen.key.namespace)
        now = int(self.mirror.time.seconds())
        fence = Fence(seen.key, seen.uid, now, place)
        if not self.keeper.add(seen.node, fence, still=lambda: self._still_overdue(seen)):
            full = "is full: the pod waits until others have left it (vnode fence)"
            self.events.say(seen, "Warning", "FenceListFull", f"{_NOT_LISTED} {full}")
            return Result(requeue_after=_LOOK_AGAIN)
        if (why := self.keeper.refused.get(seen.node)) is not None:
            text = f"{_NOT_LISTED} cannot be written, and the pod waits: {why}"
            self.events.say(seen, "Warning", "FenceListRefused", text)
            return Result(requeue_after=_LOOK_AGAIN)
        return Result(requeue_after=_SOON)

    async def _give_up(self, pod: Pod, seen: PodView) -> Result:
        """The pod becomes Failed."""
        loss = self.loss(seen)
        if not (loss.fenced or loss.overdue):
            return Result(requeue_after=0)  # The link is back since that was decided.
        unsent = loss.unsent
        text = _NEVER_RAN if unsent else _MAY_RUN
        placement = self.mirror.placement(pod, seen)
        wanted = statuses.given_up(pod, seen, placement, text, sent=not unsent)
        await self.writer.write(pod, seen, wanted)
        self.events.say(seen, "Warning", "ComputeUnreachable", text)
        _LOG.warning("pod given up", pod=str(seen.key), uid=seen.uid, may_run=not unsent)
        return Result(requeue_after=_SOON)

    async def require_free(self, pod: Pod, seen: PodView) -> None:
        """No older pod of that name may run anywhere, nor one here whose place the pod takes.

        Raises:
            Waiting: one may.
            KubeError: the tenant's API server did not say.
        """
        self._require_known()
        self.require_unfenced(seen)
        self._require_alone(pod, seen)
        try:
            await self.keeper.fences.reads.newer_than(self.memories[seen.key].brought_at)
        except NotFound:
            raise Waiting(
                "a virtual node is missing, and with it the list of pods that may still run there; "
                "it is made again within seconds",
                reason="NodeMissing",
                not_done=True,
                passing=True,
            ) from None
        except ListForbidden as refused:
            raise Waiting(
                f"the virtual node {refused.node} may not be read, and with it the list of pods "
                "that may still run there: let the agent's account get it (apply deploy/tenant), "
                "or take its compute cluster out of the agent's configuration",
                reason="FenceListForbidden",
                not_done=True,
                passing=True,
            ) from None
        self._require_known()
        self.require_unfenced(seen)
        self._require_alone(pod, seen)

    def _require_known(self) -> None:
        """No list says what nobody can read: it may be about any pod. Raises Waiting."""
        for node in sorted(self.keeper.fences.unreadable):
            raise Waiting(
                _UNREADABLE.format(node=node, annotation=FENCED),
                reason="FenceListRefused",
                not_done=True,
            )

    def _require_alone(self, pod: Pod, seen: PodView) -> None:
        """No fenced pod of the same controller may run in this cluster. Raises Waiting.

        Which of them the pod replaces is nowhere written, so they all have to be gone. Those of
        other clusters do not count: to start elsewhere is what `fail-after` asks for.
        """
        base = generated_from(seen.key)
        controlled = any(owner.controller for owner in pod.metadata.owner_references)
        if base is None or not controlled:
            return
        for node in sorted(self.keeper.nodes):
            if self.keeper.fences.any_generated(node, base):
                raise Waiting(
                    f"older pods {base.name}* of the same controller may still run on node {node}, "
                    "whose compute cluster did not answer: this one starts when they are confirmed "
                    "gone; if it is certain that they do not run, an administrator may say so: "
                    "vnode fence",
                    reason="PredecessorFenced",
                    not_done=True,
                )

    def require_unfenced(self, seen: PodView) -> None:
        """The same, by what is known. Raises Waiting."""
        for node in self._holding(seen):
            raise Waiting(
                f"an older pod of this name may still run on node {node}, whose compute cluster "
                "did not answer: this one starts when the old one is confirmed gone; if it is "
                "certain that it does not run, an administrator may say so: "
                f"vnode fence --accept {seen.key}",
                reason="PredecessorFenced",
                not_done=True,
            )

    def _holding(self, seen: PodView) -> Iterator[NodeName]:
        """Nodes on which an older pod of that name may run."""
        for node, fence in self.keeper.fences.of(seen.key):
            if fence.uid != seen.uid and not fence.accepted:
                yield node

    async def settle(self, key: ObjectKey, seen: PodView | None) -> Result:
        """Drop fences of a name whose copies are gone; ask to come again while there are others."""
        waits: list[float] = []
        for node, fence in self.keeper.fences.of(key):
            if node not in self.keeper.nodes:
                continue
            if seen is not None and seen.uid == fence.uid and not seen.terminal:
                continue  # It is to be given up first.
            try:
                gone = await self._is_gone(fence)
            except Waiting as waiting:
                if seen is not None and self.backend.silent_for is None:
                    self.events.say(seen, "Warning", waiting.reason, str(waiting))
                gone = False
            if gone:
                self.keeper.drop(node, fence.uid)
            waits.append(_LOOK_AGAIN if self.backend.silent_for is not None else _SOON)
        return soonest(*waits)

    async def _is_gone(self, fence: Fence) -> bool:
        """Whether nothing of a fenced pod runs any more. Raises Waiting."""
        namespace = fence.key.namespace
        if self.backend.silent_for is not None:
            return False
        if self.backend.sight(namespace) is not Sight.COMPLETE:
            return False
        copy = self.backend.observed(fence.key)
        own = copy if copy is not None and copy.uid == fence.uid else None
        if own is not None and not own.gone:
            # One that ended by itself stays. One that is deleted goes in a moment, and only then
            # are its volumes let go, and what others have put into it has ended.
            return _has_ended(own) and not own.deleting
        if own is None and self.mirror.time.seconds() - fence.since < _LATE_SECONDS:
            return False
        if not await self.backend.confirm_gone(fence.key, fence.uid):
            return False
        if fence.place:
            await self.backend.require_place(namespace, fence.place)
        return True


def _has_ended(copy: ObservedPod) -> bool:
    return lifecycle.phase_below(copy) in TERMINAL
