"""Makes the copy of a tenant pod, and brings it up to date.

In: a tenant pod that has no copy, or one that was made from an older version of it. Out: what it
refers to, put below first; then `PodBackend.apply` or `update`; then the copy's status, mirrored
(before the copy may start: `vnode.pods.start_once`). A pod that can never run here is rejected, in
its status and an event. Of an update each part is judged on its own: what is held back is
remembered, so that the status says so (`vnode.pods.status.statuses`) and nothing else waits for it.
What may pass is `Waiting`, for the controller to explain and to try again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import structlog

from vnode.backend import (
    BackendError,
    HeldBack,
    ObservedPod,
    PodBackend,
    PodRequest,
    Rejected,
    Updated,
    UpdatePart,
    Waiting,
    WaitingReason,
)
from vnode.kube.errors import Withheld
from vnode.kube.types import Pod
from vnode.pods.events import EventRecorder
from vnode.pods.memory import Memories
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.references import ReferenceUse, references, token_requests
from vnode.pods.requirements import unmet
from vnode.pods.start_once import StartOnce
from vnode.pods.status import statuses
from vnode.pods.status.mirror import Mirror
from vnode.pods.status.writer import StatusWriter
from vnode.pods.view import PodView, container_names
from vnode.runtime.workqueue import Result, soonest

_LOG = structlog.get_logger(__name__)

FORWARD_DAEMON = "vnode.dev/forward-daemonset"
"""Annotation `"true"` on a DaemonSet's pod template: forward its pods all the same."""


@dataclass(frozen=True, slots=True)
class Forwarding:
    """Sends tenant pods down."""

    backend: PodBackend
    objects: ReferencedObjects
    writer: StatusWriter
    mirror: Mirror
    events: EventRecorder
    memories: Memories
    start_once: StartOnce

    async def create(self, pod: Pod, seen: PodView) -> Result:
        """Make the copy.

        Raises:
            Waiting: not now.
        """
        memory = self.memories[seen.key]
        if memory.rejected == seen.digest:
            return Result()
        if (early := self.memories.too_soon(seen)) is not None:
            return Result(requeue_after=early)
        if seen.daemon and pod.metadata.annotations.get(FORWARD_DAEMON) != "true":
            return await self._leave_daemon(pod, seen)
        try:
            uses = references(pod.spec)
            self.objects.require_room(seen.key)
            request = self._admitted(pod, seen, uses)
            own = [use for use in uses if not use.ephemeral]  # Those are added by an update.
            missing = await self.objects.ensure(seen.key, own)
            mandatory = [m for m in missing if not m.use.optional]
            for m in missing:
                if m not in mandatory[:1]:
                    self.events.say(seen, "Warning", m.reason, m.message)
            if mandatory:
                raise Waiting(mandatory[0].message, reason=mandatory[0].reason)
            request = await self._with_tokens(request, seen)
            copy = await self._send(request, pod, seen)
        except Rejected as rejected:
            return await self._reject(pod, seen, rejected)
        memory.attempts = 0
        if copy.gated:
            return Result(requeue_after=0)  # Nothing is shown of it before it may start.
        return await self.mirror.show(pod, seen, copy)

    def _admitted(self, pod: Pod, seen: PodView, uses: frozenset[ReferenceUse]) -> PodRequest:
        """The request for a copy, unless nothing of the pod may travel: Rejected or Waiting."""
        try:
            if refusal := self._unmet(pod, uses):
                raise refusal
            request = self._request(pod, seen)
            self.backend.admit(request)
        except BackendError:
            self.objects.withdraw(seen.key)
            raise
        return request

    async def _with_tokens(self, request: PodRequest, seen: PodView) -> PodRequest:
        """Where tokens cannot be written later, they have to be there now.

        Raises:
            Waiting: there is no token.
        """
        life = self.backend.capabilities.start_tokens
        wanted = token_requests(request.pod.spec)
        if life is None or not wanted:
            return request
        return replace(request, tokens=await self.mirror.tokens.require(seen, wanted, life=life))

    async def _send(self, request: PodRequest, pod: Pod, seen: PodView) -> ObservedPod:
        """Make the copy; until that is answered well there may be one that nobody saw."""
        memory = self.memories[seen.key]
        before = memory.unanswered
        if self.backend.silent_for is not None:
            # An attempt without answer would make a pod that certainly has no copy one that may.
            text = "the compute cluster does not answer; the pod is made there as soon as it does"
            raise Waiting(text, reason="ComputeUnreachable", not_done=True)
        if seen.unsent:
            memory.ours_alone = True  # Whatever is asked for from here on, we know of.
            await self.writer.write(pod, seen, statuses.sent(pod, self.mirror.time.now()))
        # Also where nothing can be seen just now: the backend may see to that on the way.
        memory.unanswered = True
        try:
            copy = await self.backend.apply(request)
        except (Rejected, Withheld):
            memory.unanswered = before
            raise
        except Waiting as waiting:
            if waiting.not_done:
                memory.unanswered = before
            raise
        memory.unanswered, memory.made = False, True
        return copy

    async def change(self, pod: Pod, seen: PodView, copy: ObservedPod) -> Result:
        """Update and mirror. A change that has to wait does not hold the status up.

        Raises:
            Waiting: not now.
        """
        if (early := self.memories.too_soon(seen)) is not None:
            mirrored = await self.mirror.show(pod, seen, copy)
            return soonest(early, mirrored.requeue_after)
        try:
            copy = await self._update(pod, seen, copy)
        except Waiting:
            await self.mirror.show(pod, seen, copy)
            raise
        mirrored = await self.mirror.show(pod, seen, copy)
        for held in self.memories[seen.key].held_back:
            if not held.permanent:
                raise Waiting(held.message, reason=held.reason, retry_after=held.retry_after)
        return mirrored

    async def _update(self, pod: Pod, seen: PodView, copy: ObservedPod) -> ObservedPod:
        """Bring the copy up to date; what cannot travel is said, and remembered as held back."""
        memory = self.memories[seen.key]
        judged = (seen.digest, seen.generation)
        if memory.held_for_good == judged:
            return copy
        request = self._request(pod, seen)
        try:
            refused = _containers(self.backend.refused(request, copy))
            uses = [use for use in references(pod.spec) if use.ephemeral not in refused]
            # A pod that was made under another limit keeps what it has, and gets other changes.
            added = [use for use in uses if use.ephemeral]
            if self.objects.adds(seen.key.namespace, added) and (
                too_much := self.objects.limits.refusal(uses, token_requests(pod.spec))
            ):
                raise too_much
            await self.objects.ensure(seen.key, uses)
            updated = await self.backend.update(request, copy)
        except Rejected as rejected:
            updated = Updated(copy, (_rejection(rejected),))
        for held in updated.held_back:
            if held.permanent and held not in memory.held_back:
                self.events.say(seen, "Warning", held.reason, held.message)
        memory.held_back = updated.held_back
        if all(held.permanent for held in updated.held_back):
            memory.attempts = 0
            memory.held_for_good = judged if updated.held_back else None
        return updated.copy

    async def _leave_daemon(self, pod: Pod, seen: PodView) -> Result:
        waiting = WaitingReason(
            "DaemonSetNotForwarded",
            "Pods of DaemonSets stay off virtual nodes; annotate the pod template with "
            f'{FORWARD_DAEMON}: "true" to forward them',
        )
        self.events.say(seen, "Normal", waiting.reason, waiting.message)
        self.objects.withdraw(seen.key)
        memory, now = self.memories[seen.key], self.mirror.time.now()
        held = statuses.held(pod, waiting, now, unsent=memory.nothing_sent)
        await self.writer.write(pod, seen, held)
        memory.rejected = seen.digest
        return Result()

    async def _reject(self, pod: Pod, seen: PodView, rejected: Rejected) -> Result:
        text = str(rejected)
        self.events.say(seen, "Warning", "PodRejected", text)
        _LOG.info("pod rejected", pod=str(seen.key), uid=seen.uid, field=rejected.field)
        memory, names = self.memories[seen.key], container_names(pod)[1]
        now, unsent = self.mirror.time.now(), memory.nothing_sent
        rejection = statuses.rejected(pod, seen, names, text, now=now, unsent=unsent)
        await self.writer.write(pod, seen, rejection)
        memory.rejected = seen.digest
        return Result()

    def _unmet(self, pod: Pod, uses: frozenset[ReferenceUse]) -> Rejected | None:
        tokens = token_requests(pod.spec)
        return self.objects.limits.refusal(uses, tokens) or unmet(
            pod.spec, uses=uses, tokens=tokens, capabilities=self.backend.capabilities
        )

    def _request(self, pod: Pod, seen: PodView) -> PodRequest:
        return PodRequest(
            pod=pod,
            node=seen.node,
            digest=seen.digest,
            host_ip=self.mirror.nodes[seen.node].address,
            gated=self.start_once is StartOnce.STRICT,
        )


def _containers(held_back: Iterable[HeldBack]) -> set[str]:
    """Names of the ephemeral containers that are held back."""
    return {held.container for held in held_back if held.part is UpdatePart.EPHEMERAL_CONTAINER}


def _rejection(rejected: Rejected) -> HeldBack:
    return HeldBack(UpdatePart.POD, "UpdateRejected", str(rejected), permanent=True)
