"""The lifecycle rules (DESIGN 4.5 and 5) as one pure function: what to do next about one pod.

In: the tenant pod as its API server has it, and what the backend sees below under that name. Out:
one `Step`. The caller carries it out and asks again when anything changed, so every step is safe to
repeat, and a crash between two steps is the same as a slow network.

Invariants:

* a copy is created only for a pod that never was forwarded, and only while nothing of that name
  exists below;
* a gated copy starts only when its pod says that it was forwarded; until then it counts for nothing
  and, if others remove it, is made again;
* a gated copy that is not the one for which its pod was marked, or whose pod shows that one was let
  start, is a second one (a create that came late, or a compute cluster restored to an older state):
  it is deleted, and its pod is lost;
* a gated copy without a part that it needs never starts: it is deleted and made again;
* a tenant pod that is terminal stays terminal; its copy stays dead;
* a tenant pod is removed only when its copy is known to be gone, or to have ended in a place that
  cannot be looked into any more: what is left of it there goes as soon as it is seen; or when the
  fence list remembers the copy (`Release`);
* a pod that is given up while its copy may run is in the fence list first (`Fence`, then `GiveUp`);
* whatever cannot be taken back (`Lost`, `Orphan`) is confirmed by the caller with a live read.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import msgspec

from vnode.backend import ObservedPod, Sight
from vnode.pods.partition.policy import HOLDS, Loss
from vnode.pods.view import TERMINAL, PodView, copy_mark


@dataclass(frozen=True, slots=True)
class Nothing:
    """All is as it should be, or somebody else moves next."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The copy is gone and nobody needs its last status."""

    copy: ObservedPod


@dataclass(frozen=True, slots=True)
class Orphan:
    """A copy without tenant pod: delete it once a live read confirms that."""

    copy: ObservedPod


@dataclass(frozen=True, slots=True)
class DeleteCopy:
    """Delete the copy; grace_seconds None means the pod's own grace period."""

    copy: ObservedPod
    grace_seconds: int | None


@dataclass(frozen=True, slots=True)
class RemovePod:
    """The tenant pod is being deleted and nothing of it is left below: let it go.

    `copy`, if any, holds the final container states, to be written first.
    """

    copy: ObservedPod | None


@dataclass(frozen=True, slots=True)
class Create:
    """Make the copy."""


@dataclass(frozen=True, slots=True)
class Start:
    """Write down that the copy was made, then let it start (`vnode.pods.start_once`)."""

    copy: ObservedPod


@dataclass(frozen=True, slots=True)
class Update:
    """Bring the copy up to date, then mirror."""

    copy: ObservedPod


@dataclass(frozen=True, slots=True)
class Mirror:
    """Write the copy's status to the tenant pod, as far as it differs."""

    copy: ObservedPod


@dataclass(frozen=True, slots=True)
class Lost:
    """The copy went away without our asking: the tenant pod becomes Failed, never re-created."""

    copy: ObservedPod | None


@dataclass(frozen=True, slots=True)
class Fence:
    """The compute side has been away for longer than the pod waits: remember its UID, first."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It becomes Failed; if it may have a copy, the fence list has it."""


@dataclass(frozen=True, slots=True)
class Release:
    """A pod that was given up is being deleted: it goes, the fence list remembers its copy."""


Step: TypeAlias = (
    Nothing
    | Forget
    | Orphan
    | DeleteCopy
    | RemovePod
    | Create
    | Start
    | Update
    | Mirror
    | Lost
    | Fence
    | GiveUp
    | Release
)


class _Terminated(msgspec.Struct, frozen=True, rename="camel"):
    finished_at: str | None = None


class _State(msgspec.Struct, frozen=True):
    terminated: _Terminated | None = None


class _Container(msgspec.Struct, frozen=True):
    state: _State = _State()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    container_statuses: list[_Container] = []


_STATUS = msgspec.json.Decoder(_Status)


def phase_below(copy: ObservedPod) -> str:
    """status.phase of a copy."""
    return _STATUS.decode(copy.status).phase


def finished_by_itself(copy: ObservedPod) -> bool:
    """Whether the copy had ended before somebody asked for its deletion.

    A process that ends orderly when it is told to would otherwise look like a job that succeeded.
    """
    status = _STATUS.decode(copy.status)
    if status.phase not in TERMINAL:
        return False
    asked = copy.removal_requested
    ends = [c.state.terminated.finished_at for c in status.container_statuses if c.state.terminated]
    return asked is None or all(end is not None and end < asked for end in ends)


def was_deleted(copy: ObservedPod) -> bool:
    """Whether a copy that is gone was seen to be deleted to the end.

    An API server writes a grace period of 0 before it removes a pod, whoever asked for it (generic
    registry, updateForGracefulDeletionAndFinalizers). A copy that goes from sight without that may
    have lost the label by which it is watched, and run on.
    """
    return copy.gone and copy.deleting and copy.grace_seconds == 0


def deletion_ends(copy: ObservedPod, *, usual: int) -> float | None:
    """Unix seconds at which a deletion that is under way should be over; None: not known.

    `usual`: the grace period in seconds of a copy that does not tell its own.
    """
    if copy.removal_requested is None:
        return None
    grace = usual if copy.grace_seconds is None else copy.grace_seconds
    return datetime.fromisoformat(copy.removal_requested).timestamp() + grace


def decide(
    pod: PodView | None,
    copy: ObservedPod | None,
    *,
    sight: Sight,
    remaining: int | None = None,
    loss: Loss = HOLDS,
) -> Step:
    """Say what to do next about one tenant pod name.

    Args:
        pod: the tenant pod bound to one of our virtual nodes; None when there is none.
        copy: what the backend sees under that name, of whichever UID.
        sight: how much the backend knows of that namespace.
        remaining: seconds left of a deletion's grace period by the tenant API server's clock.
        loss: whether the link to the compute side is lost for too long.
    """
    if pod is not None and (step := _cut_off(pod, copy, loss)) is not None:
        return step
    if sight is not Sight.COMPLETE:
        return _blind(pod, sight)
    if pod is None:
        return _without_pod(copy)
    if copy is not None and (copy.uid != pod.uid or copy.node != pod.node):
        return _predecessor(copy)
    if pod.deleting:
        return _deleting(pod, copy, remaining)
    if pod.terminal:
        return _terminal(copy)
    return _alive(pod, copy)


def _cut_off(pod: PodView, copy: ObservedPod | None, loss: Loss) -> Step | None:
    """What a lost link changes; None: nothing.

    A fence is a decision: the pod is given up even if the link is back by then, as the status that
    says so may have been written already by an agent that did not live to see it.
    """
    own = copy if copy is not None and (copy.uid, copy.node) == (pod.uid, pod.node) else None
    if pod.terminal:
        if not loss.fenced:
            return None
        if pod.deleting and (loss.silent or (loss.accepted and (own is None or own.gone))):
            return Release()
        return Nothing() if loss.silent else None
    if own is not None and finished_by_itself(own):
        return None
    if loss.fenced:
        return GiveUp()
    if loss.overdue and loss.unsent:
        # Nothing of it runs. A Failed one would make its ReplicaSet create pods without end.
        return GiveUp() if pod.deleting or pod.restart_policy != "Always" else None
    if loss.overdue:
        return Fence()
    return Nothing() if loss.silent and loss.held and not pod.deleting else None


def _blind(pod: PodView | None, sight: Sight) -> Step:
    """What is below cannot be seen: only pods that show no copy can be decided on, or an ended one.

    One that is deleted may have a copy all the same: `vnode.pods.removal` makes sure.
    """
    if sight is Sight.UNKNOWN or pod is None or (pod.forwarded and not pod.ended):
        return Nothing()
    if pod.deleting:
        return RemovePod(None)
    return Nothing() if pod.terminal else Create()


def _without_pod(copy: ObservedPod | None) -> Step:
    if copy is None:
        return Nothing()
    if copy.gone:
        return Forget(copy)
    return Nothing() if copy.deleting else Orphan(copy)


def _predecessor(copy: ObservedPod) -> Step:
    """An older pod of the same name: gone before anything of the new one is made."""
    if copy.gone:
        return Forget(copy)
    return Nothing() if copy.deleting else DeleteCopy(copy, None)


def _deleting(pod: PodView, copy: ObservedPod | None, remaining: int | None) -> Step:
    if copy is None or copy.gone:
        return RemovePod(copy)
    asked = max(1, pod.grace_seconds or 1)
    if not copy.deleting:
        # After an outage the time is over, but the containers never heard of it: full grace then.
        return DeleteCopy(copy, remaining if remaining is not None and remaining > 0 else asked)
    if copy.grace_seconds is not None and copy.grace_seconds > asked:
        return DeleteCopy(copy, asked)
    return Nothing() if pod.terminal else Mirror(copy)


def _terminal(copy: ObservedPod | None) -> Step:
    if copy is None or copy.gone or copy.deleting or phase_below(copy) in TERMINAL:
        return Nothing()
    return DeleteCopy(copy, None)


def _alive(pod: PodView, copy: ObservedPod | None) -> Step:
    if copy is None:
        return Lost(None) if pod.forwarded else Create()
    if copy.gated and _is_second(pod, copy):
        if copy.gone:
            return Forget(copy)  # What is said of the pod is said of the copy before.
        return Nothing() if copy.deleting else DeleteCopy(copy, None)
    if copy.gated and not (copy.deleting or copy.gone):
        return DeleteCopy(copy, None) if copy.unfit else Start(copy)
    if copy.gated and not pod.forwarded:
        # It never ran, and nothing says that it was made: no loss.
        return Forget(copy) if copy.gone else Nothing()
    if copy.gone:
        return Mirror(copy) if finished_by_itself(copy) else Lost(copy)
    if copy.deleting and phase_below(copy) in TERMINAL and not finished_by_itself(copy):
        return Nothing()  # Lost, as soon as it is gone.
    finished = copy.deleting or phase_below(copy) in TERMINAL
    # A change that was taken back leaves the digest as it was, but counts as a generation.
    current = (copy.digest, copy.generation) == (pod.digest, pod.generation)
    return Mirror(copy) if finished or current else Update(copy)


def _is_second(pod: PodView, copy: ObservedPod) -> bool:
    """Whether a gated copy is of a pod of which another one, or this one before, may have run."""
    return pod.forwarded and (pod.let_start or pod.copy not in ("", copy_mark(copy.handle)))
