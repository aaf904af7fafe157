"""What a container group's state means for a pod. Pure.

In: one item of DescribeContainerGroupStatus. Out: PodStatus as a kubelet writes it, and why the
group does not run yet. States are the service's: Scheduling, ScheduleFailed, Pending, Running,
Succeeded, Failed, Restarting, Updating, Terminating, Expired. Its own words stay out where they
may name things of the account; its reasons are kept. Sidecars that bring the data of claims are
no containers of the pod: they are left out, and what is said of them too.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from federation.backends.eci.answers import (
    Condition,
    ContainerState,
    ContainerStatus,
    GroupStatus,
    Terminated,
)
from federation.backends.eci.translate.claims import SIDECAR, is_sidecar
from vnode.backend import WaitingReason
from vnode.kube.types import JSON, JSONObject, object_in, objects_in

__all__ = ["ENDED", "Seen", "leaving", "pod_status", "stays", "without_data"]

ENDED = frozenset({"Succeeded", "Failed", "Expired"})
"""States in which nothing runs any more, and nothing will."""

_GOES_ON = frozenset({"Pending", "Running"})
_PHASES = {"Succeeded": "Succeeded", "Failed": "Failed", "Expired": "Failed", "Running": "Running"}
_PLACED = "ContainerInstanceCreated"
_OF_A_KUBELET = frozenset({"Initialized", "ContainersReady", "Ready"})
_ON_THE_WAY = frozenset({"", "Creating"})
_SOLD_OUT = frozenset({"NoStock", "StockExhaust", "StockClose", "FailedScheduling"})
_STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
_BRINGS = "the container that brings the data of the pod's claims"
_KILLED = 137
_DISRUPTED = "DisruptionTarget"
_RECLAIMED = "The spot instance behind the pod was taken back"
_ANNOUNCED = "The spot instance behind the pod is about to be taken back"


@dataclass(frozen=True, slots=True)
class Seen:
    """A group's state in the words of the seam."""

    status: bytes
    """PodStatus JSON."""
    scheduled: bool
    deleting: bool
    ended: bool
    waiting: WaitingReason | None
    state: str = ""
    """The service's own word."""
    in_vain: Terminated | None = None
    """The end of a sidecar for whose files all containers wait, as this one look shows it."""
    hopeless: bool = False
    """Its pod has ended, for want of its claims' data; the group has not."""


def pod_status(group: GroupStatus, *, restarts: str = "") -> Seen:
    """Read one group's state.

    `restarts`: its restart policy, where something may come of that; empty: nothing.
    """
    below, state = group.pod_status, group.status
    own = tuple(c for c in below.container_statuses if not is_sidecar(c.name))
    sidecars = [c for c in below.container_statuses if is_sidecar(c.name)]
    placed = next((c for c in below.conditions if c.type == _PLACED), Condition())
    scheduled = placed.status == "True" or bool(below.start_time)
    phase = _phase(group, own)
    status: JSONObject = {
        "phase": phase,
        "conditions": [_condition(c) for c in below.conditions if c.type in _OF_A_KUBELET],
        "containerStatuses": [_container(c) for c in own],
    }
    if below.start_time:
        status["startTime"] = below.start_time
    if below.pod_ip:
        status |= {"podIP": below.pod_ip, "podIPs": [{"ip": below.pod_ip}]}
    if state == "Expired":
        status = _reclaimed(status, own)
    waiting = None if scheduled or state in ENDED else _waiting(state, placed.reason)
    if waiting is None and phase == "Pending":
        waiting = _without_data(sidecars)
    return Seen(
        status=msgspec.json.encode(status),
        scheduled=scheduled,
        deleting=state == "Terminating",
        ended=state in ENDED,
        waiting=waiting,
        state=state,
        in_vain=_waits_in_vain(group, own, sidecars, restarts),
    )


def without_data(seen: Seen, end: Terminated) -> Seen:
    """The state of a pod that has ended because its claims' data never came."""
    status = object_in(msgspec.json.decode(seen.status))
    status |= {
        "phase": "Failed",
        "reason": "AddedContainerFailed",
        "message": f"{_BRINGS} ended before they could be read, with exit code {end.exit_code}",
    }
    return replace(
        seen,
        status=msgspec.json.encode(status),
        ended=True,
        waiting=None,
        hopeless=seen.state not in ENDED,
    )


def stays(group: GroupStatus, end: Terminated) -> bool:
    """Whether a sidecar's end is still the last that is known of it."""
    sidecars = (c for c in group.pod_status.container_statuses if is_sidecar(c.name))
    return any(c.state.terminated == end for c in sidecars)


def leaving(seen: Seen) -> Seen:
    """A state with what the spot market has announced: no failure from now on is the pod's own."""
    status = object_in(msgspec.json.decode(seen.status))
    conditions = objects_in(status.get("conditions"))
    known = any(one.get("type") == _DISRUPTED for one in conditions)
    if known or status.get("phase") == "Succeeded":
        return seen
    condition = _disrupted("SpotToBeReleased", _ANNOUNCED)
    status["conditions"] = [*conditions, condition]
    return replace(seen, status=msgspec.json.encode(status))


def _phase(group: GroupStatus, own: tuple[ContainerStatus, ...]) -> str:
    """Only the group's own state ends a pod: what got no place has not failed, it waits."""
    only_sidecars = len(own) < len(group.pod_status.container_statuses) and not any(
        map(_began, own)
    )
    if group.status == "Running" and only_sidecars:
        return "Pending"  # A sidecar begins first, and containers when it has brought the files.
    if (phase := _PHASES.get(group.status)) is not None:
        return phase
    # What began stays begun, also when its containers have ended because of a deletion.
    return "Running" if any(map(_began, own)) else "Pending"


def _began(container: ContainerStatus) -> bool:
    now, last = container.state, container.last_state
    return now.running is not None or now.terminated is not None or last.terminated is not None


def _waits_in_vain(
    group: GroupStatus,
    own: tuple[ContainerStatus, ...],
    sidecars: Iterable[ContainerStatus],
    restarts: str,
) -> Terminated | None:
    """The end of a sidecar for whose files all containers of the pod wait, and which stays ended.

    Only what is said in so many words counts: a container that is not shown may run.
    """
    if group.status not in _GOES_ON or not own or not all(map(_waits, own)):
        return None
    ends = (c.state.terminated for c in sidecars)
    return next((end for end in ends if end is not None and _stays_ended(end, restarts)), None)


def _waits(container: ContainerStatus) -> bool:
    return (
        container.state.waiting is not None
        and container.restart_count == 0
        and not _began(container)
    )


def _stays_ended(end: Terminated, restarts: str) -> bool:
    return restarts == "Never" or (restarts == "OnFailure" and end.exit_code == 0)


def _waiting(state: str, reason: str) -> WaitingReason | None:
    if state == "ScheduleFailed":
        text = "no place was found for the pod, and the place behind this node tries no further"
        return WaitingReason(reason or state, f"{text}; delete the pod to try again")
    if reason in _ON_THE_WAY:
        return None
    if reason in _SOLD_OUT:
        text = "what the pod asks for is sold out just now; the place behind this node tries again"
        return WaitingReason(reason, text)
    return WaitingReason(reason, "the place behind this node has not made the pod's instance yet")


def _without_data(sidecars: Iterable[ContainerStatus]) -> WaitingReason | None:
    """Why containers do not begin that wait for the files of claims."""
    for sidecar in sidecars:
        now = sidecar.state
        if now.terminated is not None:
            text = f"{_BRINGS} has ended, with exit code {now.terminated.exit_code}"
            return WaitingReason("AddedContainerFailed", text)
        if now.waiting is not None and now.waiting.reason not in _STARTING:
            text = f"{_BRINGS} does not start: {now.waiting.reason}"
            return WaitingReason("AddedContainerWaiting", text)
        if now.running is not None and not sidecar.ready:
            return WaitingReason("DatasetNotReady", "the data of the pod's claims is being mounted")
    return None


def _reclaimed(status: JSONObject, containers: tuple[ContainerStatus, ...]) -> JSONObject:
    """Gone below without our asking (DESIGN 5): the record is left, the containers are not."""
    at = max((c.state.terminated.finished_at for c in containers if c.state.terminated), default="")
    disrupted = _disrupted("SpotReclaimed", _RECLAIMED)
    over: list[JSON] = [
        {"type": kind, "status": "False", "reason": "PodFailed"}
        for kind in ("Ready", "ContainersReady")
    ]
    if at:
        disrupted["lastTransitionTime"] = at
    return {
        **status,
        "reason": "Evicted",
        "message": _RECLAIMED,
        "conditions": [*over, disrupted],
        "containerStatuses": [_killed(c) for c in containers],
    }


def _disrupted(reason: str, message: str) -> JSONObject:
    return {"type": _DISRUPTED, "status": "True", "reason": reason, "message": message}


def _killed(container: ContainerStatus) -> JSONObject:
    shown = _container(container) | {"ready": False, "started": False}
    if container.state.terminated is None:
        shown["state"] = {
            "terminated": {
                "exitCode": _KILLED,
                "reason": "ContainerStatusUnknown",
                "message": _RECLAIMED,
            }
        }
    return shown


def _condition(condition: Condition) -> JSONObject:
    shown: JSONObject = {"type": condition.type, "status": condition.status}
    if condition.reason:
        shown["reason"] = condition.reason
    if condition.message and SIDECAR not in condition.message:
        shown["message"] = condition.message
    if condition.last_transition_time:
        shown["lastTransitionTime"] = condition.last_transition_time
    return shown


def _container(container: ContainerStatus) -> JSONObject:
    running = container.state.running is not None
    return {
        "name": container.name,
        "image": container.image,
        "imageID": container.image_id,
        "ready": container.ready,
        "started": running if container.started is None else container.started,
        "restartCount": container.restart_count,
        "state": _state(container.state) or {"waiting": {"reason": "ContainerCreating"}},
        "lastState": _state(container.last_state),
    }


def _state(state: ContainerState) -> JSONObject:
    if state.terminated is not None:
        return {"terminated": _terminated(state.terminated)}
    if state.running is not None:
        at = state.running.started_at
        return {"running": {"startedAt": at} if at else {}}
    if state.waiting is not None:
        # An image is the tenant's own name; the service's words for it are a kubelet's.
        return {"waiting": {"reason": state.waiting.reason, "message": state.waiting.message}}
    return {}


def _terminated(ended: Terminated) -> JSONObject:
    shown: JSONObject = {"exitCode": ended.exit_code}
    if ended.signal:
        shown["signal"] = ended.signal
    texts = {
        "reason": ended.reason,
        "message": ended.message,
        "startedAt": ended.started_at,
        "finishedAt": ended.finished_at,
        "containerID": ended.container_id,
    }
    return {**shown, **{name: text for name, text in texts.items() if text}}
