"""Sends what has changed in a tenant pod to its copy, part by part.

In: an `Update` (`translate.update`) and the copy. Out: patches of the pod, of pods/resize and of
pods/ephemeralcontainers, each conditional on the copy's UID; the copy as it is then, and what was
held back. Parts go together as far as the API takes them together, which is one patch for nearly
every update. Where that is refused, each goes alone, so that one refusal holds no others up.

The marks by which the copy says what it is go along with a patch of the pod itself. Subresources
take none: before they are changed the old marks are taken back and what is sent is noted, and the
new marks are written last. So a copy never claims to be what it is not, and never takes what is
ours for somebody else's, whatever is interrupted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from federation.backends.kubernetes.failures import is_missing_subresource, judges, pod_refused
from federation.backends.kubernetes.observe import names_of
from federation.backends.kubernetes.translate.update import (
    EPHEMERAL_CONTAINERS,
    REJECTED,
    RESIZE,
    Update,
    Write,
)
from vnode.backend import HeldBack, Rejected, Waiting
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import BadRequest, Forbidden, Invalid, KubeError, NotFound, ServerError
from vnode.kube.resources import PODS
from vnode.kube.types import JSON, JSONObject, Pod

_INFEASIBLE = ("NodeCapacity", "UnsupportedPlatform")
_REFUSALS = (BadRequest, Forbidden, Invalid)
_WHAT = "the compute cluster refused the change for now"


async def carry_out(
    client: KubeClient, update: Update, pod: Pod
) -> tuple[Pod, tuple[HeldBack, ...]]:
    """Send an update to a copy; return the copy as it is then, and what is held back of it.

    Raises:
        Rejected: not even the marks are taken.
        Waiting: the compute side did not answer, or the copy is not the one that it was.
    """
    sender = _Sender(client, update, pod)
    own = [write for write in update.writes if not write.subresource]
    others = [write for write in update.writes if write.subresource]
    ahead = update.marks_ahead(pod.metadata)
    if not others and not update.refused:
        marks = update.marks(own, whole=True, present=pod.metadata)
    else:
        marks = _merged([ahead, update.marks_along(own, pod.metadata)])
    if not await sender.send_together(own, marks):
        await sender.send_marks(ahead)
        await sender.send_alone(own)
    for subresource in (RESIZE, EPHEMERAL_CONTAINERS):
        group = [write for write in others if write.subresource == subresource]
        if not await sender.send_together(group, {}):
            await sender.send_alone(group)
    held = (*update.refused, *sender.held)
    present = sender.pod.metadata
    await sender.send_marks(
        update.marks(sender.applied, whole=not held, present=present, unsure=sender.unsure)
    )
    return sender.pod, held


@dataclass(slots=True)
class _Sender:
    client: KubeClient
    update: Update
    pod: Pod
    """The copy as it was last answered."""
    applied: list[Write] = field(default_factory=list)
    held: list[HeldBack] = field(default_factory=list)
    unsure: list[Write] = field(default_factory=list)
    """Those held back that stay noted as sent: a server which failed may have carried them out all
    the same, and a resize that is tried again and again is not noted anew each time."""

    async def send_together(self, writes: Sequence[Write], marks: JSONObject) -> bool:
        """Send them in one patch; False: it was refused, and each may go well alone."""
        error = await self._try(writes, marks)
        if error is None:
            return True
        if isinstance(error, _REFUSALS) and (marks or len(writes) > 1):
            return False
        if marks:
            raise self._failure(error) from error  # What comes next may not go before the marks.
        self._hold(writes, error)
        return True

    async def send_alone(self, writes: Iterable[Write]) -> None:
        for write in writes:
            marks: JSONObject = {}
            if not write.subresource:
                applied = [*self.applied, write]
                marks = self.update.marks_along(applied, self.pod.metadata, unsure=self.unsure)
            if (error := await self._try([write], marks)) is not None:
                self._hold([write], error)

    async def send_marks(self, marks: JSONObject) -> None:
        if (error := await self._try([], marks)) is not None:
            raise self._failure(error) from error

    def _hold(self, writes: Sequence[Write], error: KubeError) -> None:
        """Note what is held back; raise where nothing else would go well either."""
        failure = self._failure(error)
        if not judges(error):
            raise failure from error
        held = [_held_back(write, error, failure) for write in writes]
        self.held += held
        self.unsure += (
            write
            for write, why in zip(writes, held, strict=True)
            if isinstance(error, ServerError) or (write.subresource == RESIZE and not why.permanent)
        )

    def _failure(self, error: KubeError) -> Rejected | Waiting:
        if isinstance(error, NotFound) and not is_missing_subresource(error):
            return Waiting("the copy has just gone", reason="ComputeConflict")
        return pod_refused(error, names=names_of(self.pod), what=_WHAT)

    async def _try(self, writes: Sequence[Write], marks: JSONObject) -> KubeError | None:
        try:
            await self._patch(writes, marks)
        except KubeError as error:
            return error
        self.applied += writes
        return None

    async def _patch(self, writes: Sequence[Write], marks: JSONObject) -> None:
        body = _merged([{"metadata": marks}, *(write.patch for write in writes)])
        if not body:
            return
        below = self.pod.metadata
        body["metadata"] = {**_object(body.get("metadata")), "uid": below.uid}
        self.pod = await self.client.patch(
            PODS,
            body,
            Pod,
            name=below.name,
            namespace=below.namespace,
            subresource=writes[0].subresource if writes else "",
            patch_type=PatchType.STRATEGIC,
        )


def _held_back(write: Write, error: KubeError, failure: Rejected | Waiting) -> HeldBack:
    reason, message, retry_after = REJECTED, str(failure), None
    permanent = isinstance(failure, Rejected) or _is_infeasible(error)
    if is_missing_subresource(error):
        message = f"{write.part}: the compute cluster's Kubernetes is too old for this"
        permanent = True
    elif isinstance(failure, Waiting) and not permanent:
        reason, retry_after = failure.reason, failure.retry_after
    return HeldBack(
        write.part,
        reason,
        message,
        permanent=permanent,
        container=write.container,
        retry_after=retry_after,
    )


def _is_infeasible(error: KubeError) -> bool:
    """Whether the copy's node can never give what a resize asks for (admission PodResize, 1.36)."""
    causes = error.details.causes if isinstance(error, Forbidden) and error.details else []
    return any(cause.reason in _INFEASIBLE for cause in causes)


def _merged(patches: Iterable[JSONObject]) -> JSONObject:
    """One patch in place of several that set different fields; empty ones are left out."""
    merged: JSONObject = {}
    for patch in patches:
        for name, value in patch.items():
            before = merged.get(name)
            if isinstance(value, dict):
                both = _merged([_object(before), value])
                if both:
                    merged[name] = both
            elif isinstance(value, list) and isinstance(before, list):
                merged[name] = [*before, *value]
            else:
                merged[name] = value
    return merged


def _object(value: JSON) -> JSONObject:
    return value if isinstance(value, dict) else {}
