"""What a container group's state means for a pod. Pure.

In: one item of DescribeContainerGroupStatus. Out: PodStatus as a kubelet writes it, and why the
group does not run yet. States are the service's: Scheduling, ScheduleFailed, Pending, Running,
Succeeded, Failed, Restarting, Updating, Terminating, Expired. Its own words stay out where they
may name things of the account; its reasons are kept.
"""

from dataclasses import dataclass

import msgspec

from federation.backends.eci.answers import (
    Condition,
    ContainerState,
    ContainerStatus,
    GroupStatus,
    Terminated,
)
from vnode.backend import WaitingReason
from vnode.kube.types import JSON, JSONObject

__all__ = ["ENDED", "Seen", "pod_status"]

ENDED = frozenset({"Succeeded", "Failed", "Expired"})
"""States in which nothing runs any more, and nothing will."""

_PHASES = {"Succeeded": "Succeeded", "Failed": "Failed", "Expired": "Failed", "Running": "Running"}
_PLACED = "ContainerInstanceCreated"
_OF_A_KUBELET = frozenset({"Initialized", "ContainersReady", "Ready"})
_ON_THE_WAY = frozenset({"", "Creating"})
_SOLD_OUT = frozenset({"NoStock", "StockExhaust", "StockClose", "FailedScheduling"})
_KILLED = 137
_RECLAIMED = "The spot instance behind the pod was taken back"


@dataclass(frozen=True, slots=True)
class Seen:
    """A group's state in the words of the seam."""

    status: bytes
    """PodStatus JSON."""
    scheduled: bool
    deleting: bool
    ended: bool
    waiting: WaitingReason | None


def pod_status(group: GroupStatus) -> Seen:
    """Read one group's state."""
    below, state = group.pod_status, group.status
    placed = next((c for c in below.conditions if c.type == _PLACED), Condition())
    scheduled = placed.status == "True" or bool(below.start_time)
    status: JSONObject = {
        "phase": _phase(group),
        "conditions": [_condition(c) for c in below.conditions if c.type in _OF_A_KUBELET],
        "containerStatuses": [_container(c) for c in below.container_statuses],
    }
    if below.start_time:
        status["startTime"] = below.start_time
    if below.pod_ip:
        status |= {"podIP": below.pod_ip, "podIPs": [{"ip": below.pod_ip}]}
    if state == "Expired":
        status = _reclaimed(status, below.container_statuses)
    return Seen(
        status=msgspec.json.encode(status),
        scheduled=scheduled,
        deleting=state == "Terminating",
        ended=state in ENDED,
        waiting=None if scheduled or state in ENDED else _waiting(state, placed.reason),
    )


def _phase(group: GroupStatus) -> str:
    """Only the group's own state ends a pod: what got no place has not failed, it waits."""
    if (phase := _PHASES.get(group.status)) is not None:
        return phase
    # What began stays begun, also when its containers have ended because of a deletion.
    return "Running" if any(map(_began, group.pod_status.container_statuses)) else "Pending"


def _began(container: ContainerStatus) -> bool:
    now, last = container.state, container.last_state
    return now.running is not None or now.terminated is not None or last.terminated is not None


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


def _reclaimed(status: JSONObject, containers: tuple[ContainerStatus, ...]) -> JSONObject:
    """Gone below without our asking (DESIGN 5): the record is left, the containers are not."""
    at = max((c.state.terminated.finished_at for c in containers if c.state.terminated), default="")
    disrupted: JSONObject = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "SpotReclaimed",
        "message": _RECLAIMED,
    }
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


def _killed(container: ContainerStatus) -> JSONObject:
    shown = _container(container) | {"ready": False, "started": False}
    if container.state.terminated is None:
        ended: JSONObject = {
            "exitCode": _KILLED,
            "reason": "ContainerStatusUnknown",
            "message": _RECLAIMED,
        }
        shown["state"] = {"terminated": ended}
    return shown


def _condition(condition: Condition) -> JSONObject:
    shown: JSONObject = {"type": condition.type, "status": condition.status}
    if condition.reason:
        shown["reason"] = condition.reason
    if condition.message:
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
