"""Whether a copy may start before its tenant pod says that it was made (DESIGN 5, Never run twice).

A copy that others remove before the first status write leaves no trace: nobody can tell later
whether it ran, and a new one is made. That window is as long as the agent is dead. With `strict` it
is closed by two more writes for each pod:

    create, gated  ->  condition vnode.dev/Forwarded in the tenant  ->  gate removed below

In: a copy that is there and cannot start yet. Out: those last two writes, in that order. A crash
before the first one leaves a gated copy of a pod without mark: it is found again and goes on here,
or others remove it, and since it never ran it is made anew. A crash between the two leaves a gated
copy of a pod with the mark: only the gate is removed; if others remove the copy, the pod is lost
like any other. The mark names the copy, and another gated one of the same pod, which a late create
may make, is never started (`vnode.pods.lifecycle`): so the mark is written only to the pod as it
was seen, as another replica may have written one for another copy. Gated copies are started
whatever the setting says now: it may have been changed.
"""

import enum
from dataclasses import dataclass

import structlog

from vnode.backend import Capabilities, ObservedPod, PodBackend
from vnode.kube.errors import ConfigError
from vnode.kube.types import Pod
from vnode.pods.memory import Memories
from vnode.pods.status import statuses
from vnode.pods.status.mirror import SETTLE_SECONDS, Mirror
from vnode.pods.status.writer import StatusWriter
from vnode.pods.view import PodView, view
from vnode.runtime.workqueue import Result

_LOG = structlog.get_logger(__name__)


class StartOnce(enum.StrEnum):
    """How far it is promised that no copy of one tenant pod starts a second time."""

    RELAXED = "relaxed"
    """But for a copy that others remove before the tenant pod's first status."""
    STRICT = "strict"
    """Always, for two more writes a pod."""

    def require(self, capabilities: Capabilities) -> None:
        """Raise ConfigError if a backend cannot do it."""
        if self is StartOnce.STRICT and not capabilities.start_gates:
            raise ConfigError(
                "startOnce: strict needs a place that can make pods without starting them; "
                "set startOnce: relaxed"
            )


@dataclass(frozen=True, slots=True)
class Starter:
    """Lets gated copies start."""

    backend: PodBackend
    writer: StatusWriter
    mirror: Mirror
    memories: Memories

    async def start(self, pod: Pod, seen: PodView, copy: ObservedPod) -> Result:
        """Mark the tenant pod, remove the gate, mirror.

        Raises:
            Waiting: the compute side did not answer, or the copy has just gone.
            Conflict: the pod has changed meanwhile.
        """
        if (early := self.memories.too_soon(seen)) is not None:
            return Result(requeue_after=early)
        wanted = statuses.mirrored(pod, seen, copy, self.mirror.placement(pod, seen))
        marked = await self.writer.write(pod, seen, wanted, as_seen=True)
        if marked is None:
            return Result(requeue_after=SETTLE_SECONDS)  # The watch will say that it is gone.
        now = view(marked)
        if not now.forwarded or now.deleting or now.terminal:
            return Result(requeue_after=SETTLE_SECONDS)
        started = await self.backend.ungate(copy)
        self.memories[seen.key].attempts = 0
        _LOG.debug("copy may start", pod=str(seen.key), uid=seen.uid)
        return await self.mirror.show(marked, now, started)
