"""What a tenant pod's status should say, and the patch that makes it say so. Pure.

In: the tenant pod and its copy's status. Out: a strategic-merge patch for pods/status, or None when
the tenant pod says so already. The comparison is with what the tenant object says *now*: whatever
somebody else wrote meanwhile (the node lifecycle controller during a cut) is put right, and a
change that was missed while the agent was down is mirrored on start.

Only fields on the allow-list are ever written (DESIGN 5, Status). Never qosClass,
nominatedNodeName, resourceClaimStatuses or the condition PodScheduled.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import JSON, Pod
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, PLACE, PodView

Object: TypeAlias = dict[str, JSON]

_CONTAINER_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_SCALARS = ("phase", "startTime", "resize", "observedGeneration", "reason", "message")
_KUBELET_CONDITIONS = frozenset(
    {
        "Initialized",
        "ContainersReady",
        "Ready",
        "PodReadyToStartContainers",
        "PodResizePending",
        "PodResizeInProgress",
        "DisruptionTarget",
    }
)
_KUBELET_OWNED = frozenset({"PodResizePending", "PodResizeInProgress"})
"""Conditions that only a kubelet writes: removed when the copy has them no more."""
_NULLABLE = frozenset({"reason", "message", "resize"})


@dataclass(frozen=True, slots=True)
class Placement:
    """What the virtual node contributes to a pod's status."""

    host_ip: str
    allocate_ip: Callable[[], str] | None
    """Address of the pod in an isolated network; None: the copy's own addresses are shown."""
    now: str
    """RFC 3339 time for transitions that happen here."""
    place: str = ""
    """Fingerprint of where the copy lies; empty: not known."""


def mirrored(pod: Pod, seen: PodView, copy: ObservedPod, placement: Placement) -> Object:
    """The status that a tenant pod with this copy should have (only fields that we own)."""
    below = _object(msgspec.json.decode(copy.status))
    current = _object(msgspec.json.decode(pod.status))
    status: Object = {"phase": _phase(below, seen)}
    for name in _CONTAINER_LISTS:
        status[name] = [c for c in _objects(below.get(name)) if c.get("name") in seen.containers]
    status["startTime"] = below.get("startTime") or current.get("startTime")
    status["resize"] = below.get("resize")
    if copy.generation:
        status["observedGeneration"] = copy.generation
    waiting = copy.waiting if status["phase"] == "Pending" else None
    status["reason"] = below.get("reason") or (waiting.reason if waiting else None)
    status["message"] = below.get("message") or (waiting.message if waiting else None)
    if below.get("podIP"):
        ips = _pod_ips(below, current, placement)
        status["podIP"], status["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    if below.get("startTime"):
        host = current.get("hostIP") or placement.host_ip
        status["hostIP"], status["hostIPs"] = host, [{"ip": host}]
    conditions = [
        _clean(c) for c in _objects(below.get("conditions")) if c.get("type") in _KUBELET_CONDITIONS
    ]
    for c in conditions:
        # Below it counts the copy's generations.
        if c.pop("observedGeneration", None) is not None and copy.generation:
            c["observedGeneration"] = copy.generation
    conditions = [_gated(c, seen, current) if c["type"] == "Ready" else c for c in conditions]
    status["conditions"] = _stamp(
        [*conditions, _forwarded(seen, placement), _scheduled(copy)], current, placement.now
    )
    return status


def lost(pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement) -> Object:
    """The status of a pod whose copy went away without our asking (DESIGN 5, Gone below).

    Reason `Evicted` is what MPI operators act on; exit code 137 is what training-operator's
    ExitCode policy calls retryable.
    """
    message = "The pod's copy in the compute cluster was removed by somebody else"
    status, base = _ended(pod, seen, copy, placement)
    status["reason"], status["message"] = "Evicted", message
    conditions = {str(c["type"]): c for c in _objects(base.get("conditions"))}
    disrupted = conditions.get("DisruptionTarget")
    if disrupted is None or disrupted.get("status") != "True":
        disrupted = _condition("DisruptionTarget", "True", "DeletedBelow", message)
    current = _object(msgspec.json.decode(pod.status))
    stamped = _stamp([disrupted], current, placement.now)
    status["conditions"] = [*_objects(status["conditions"]), *stamped]
    return status


def removed(pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement) -> Object:
    """The last status of a deleted pod whose copy went without having ended first.

    Whoever holds the pod with a finalizer (a Job) waits for a terminal phase.
    """
    return _ended(pod, seen, copy, placement)[0]


def _ended(
    pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement
) -> tuple[Object, Object]:
    """Failed, every container terminated; and the status that this rests on."""
    current = _object(msgspec.json.decode(pod.status))
    base = mirrored(pod, seen, copy, placement) if copy else current
    asked = (copy.removal_requested if copy else None) or placement.now
    status: Object = {"phase": "Failed"}
    for name in _CONTAINER_LISTS:
        status[name] = [_terminated(c, asked, placement.now) for c in _objects(base.get(name))]
    over = ("False", "PodFailed", "")
    status["conditions"] = _stamp(
        [
            _condition("Ready", *over),
            _condition("ContainersReady", *over),
            _forwarded(seen, placement),
        ],
        current,
        placement.now,
    )
    return status, base


def rejected(pod: Pod, seen: PodView, names: Iterable[str], message: str, now: str) -> Object:
    """The status of a pod that can never run here as it is.

    restartPolicy Always stays Pending: a Failed pod would make its ReplicaSet create pods without
    end. Never and OnFailure become Failed.
    """
    reason = "PodRejected"
    status: Object = {"reason": reason, "message": message}
    status["phase"] = "Pending" if seen.restart_policy == "Always" else "Failed"
    if seen.restart_policy == "Always":
        status["containerStatuses"] = [_not_started(n, reason, message) for n in names]
    status["conditions"] = _stamp(
        [_condition(COMPUTE_SCHEDULED, "False", reason, message)],
        _object(msgspec.json.decode(pod.status)),
        now,
    )
    return status


def held(pod: Pod, waiting: WaitingReason, now: str) -> Object:
    """The status of a pod whose copy cannot be made yet; tried again."""
    return {
        "phase": "Pending",
        "reason": waiting.reason,
        "message": waiting.message,
        "conditions": _stamp(
            [_condition(COMPUTE_SCHEDULED, "False", waiting.reason, waiting.message)],
            _object(msgspec.json.decode(pod.status)),
            now,
        ),
    }


def patch(pod: Pod, wanted: Mapping[str, JSON]) -> Object | None:
    """The strategic-merge patch from the pod's status to the wanted one; None: nothing differs.

    It carries metadata.uid, so that it can never hit a successor of the same name; and with a phase
    the resourceVersion, so that it never takes back a terminal phase that was not seen yet.
    """
    current = _object(msgspec.json.decode(pod.status))
    changes: Object = {}
    for name in (*_SCALARS, "hostIP", "podIP", *_CONTAINER_LISTS):
        if name in wanted and _differs(current.get(name), wanted[name]):
            changes[name] = wanted[name]
    for name in ("podIPs", "hostIPs"):
        if name in wanted and _differs(current.get(name), wanted[name]):
            # Lists merge by ip: without the directive there would be two addresses of one family.
            changes[name] = [*_objects(wanted[name]), {"$patch": "replace"}]
    if conditions := _condition_changes(current, wanted):
        changes["conditions"] = conditions
    if not changes:
        return None
    guards: Object = {"uid": pod.metadata.uid}
    if "phase" in changes:
        guards["resourceVersion"] = pod.metadata.resource_version
    return {"metadata": guards, "status": changes}


def _condition_changes(current: Object, wanted: Mapping[str, JSON]) -> list[JSON]:
    has = {str(c.get("type")): _clean(c) for c in _objects(current.get("conditions"))}
    wants = {str(c["type"]): c for c in _objects(wanted.get("conditions"))}
    changes: list[JSON] = []
    for kind, condition in wants.items():
        before = has.get(kind, {})
        if before != condition:
            # Conditions merge by type and field by field: what no longer holds is nulled.
            changes.append({**dict.fromkeys(before.keys() - condition.keys()), **condition})
    changes += [
        {"type": t, "$patch": "delete"} for t in has if t in _KUBELET_OWNED and t not in wants
    ]
    return changes


def _phase(below: Object, seen: PodView) -> str:
    """The copy's phase; judged by the known containers alone where something was injected."""
    phase = str(below.get("phase") or "Pending")
    states = _objects(below.get("containerStatuses"))
    known = [c for c in states if c.get("name") in seen.containers]
    if len(known) == len(states) or not known or phase == "Succeeded":
        return phase
    if phase == "Failed" and below.get("reason"):
        return phase  # It failed as a whole: evicted, out of time.
    codes = [_exit_code(c) for c in known]
    if any(code is None for code in codes) or seen.restart_policy == "Always":
        return phase
    if all(code == 0 for code in codes):
        return "Succeeded"
    return "Failed" if seen.restart_policy == "Never" else phase


def _exit_code(container: Object) -> int | None:
    state = _object(container.get("state"))
    code = _object(state.get("terminated")).get("exitCode") if "terminated" in state else None
    return code if isinstance(code, int) else None


def _pod_ips(below: Object, current: Object, placement: Placement) -> list[str]:
    if placement.allocate_ip is None:
        ips = [str(ip["ip"]) for ip in _objects(below.get("podIPs")) if ip.get("ip")]
        return ips or [str(below["podIP"])]
    return [str(current.get("podIP") or placement.allocate_ip())]


def _gated(ready: Object, seen: PodView, current: Object) -> Object:
    """Ready = ContainersReady AND the pod's readiness gates (dropped below). KEP-580."""
    if not seen.readiness_gates or ready.get("status") != "True":
        return ready
    true = {c.get("type") for c in _objects(current.get("conditions")) if c.get("status") == "True"}
    missing = [g for g in seen.readiness_gates if g not in true]
    if not missing:
        return ready
    text = ", ".join(
        f'corresponding condition of pod readiness gate "{g}" is not True' for g in missing
    )
    gated: Object = {
        **ready,
        "status": "False",
        "reason": "ReadinessGatesNotReady",
        "message": text,
    }
    gated.pop("lastTransitionTime", None)
    return gated


def _forwarded(seen: PodView, placement: Placement) -> Object:
    """The mark says where the copy was made first, for ever."""
    place = seen.place or placement.place
    return _condition(FORWARDED, "True", "CopyMade", f"{PLACE}{place}" if place else "")


def _scheduled(copy: ObservedPod) -> Object:
    if copy.scheduled:
        return _condition(COMPUTE_SCHEDULED, "True")
    waiting = copy.waiting or WaitingReason(
        "Scheduling", "waiting for a place in the compute cluster"
    )
    return _condition(COMPUTE_SCHEDULED, "False", waiting.reason, waiting.message)


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": kind, "status": status}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _stamp(conditions: list[Object], current: Object, now: str) -> list[JSON]:
    """Give conditions without a transition time the old one if their status is the same."""
    old = {c.get("type"): c for c in _objects(current.get("conditions"))}
    stamped: list[JSON] = []
    for c in conditions:
        before = old.get(c["type"])
        if "lastTransitionTime" in c:
            stamped.append(c)
        elif before is not None and before.get("status") == c["status"]:
            stamped.append({**c, "lastTransitionTime": before.get("lastTransitionTime") or now})
        else:
            stamped.append({**c, "lastTransitionTime": now})
    return stamped


def _terminated(container: Object, asked: str, now: str) -> Object:
    """A container that ended with its copy: exit code 137, unless it had ended before."""
    state = _object(container.get("state"))
    before = _object(state.get("terminated"))
    if before and str(before.get("finishedAt") or "") < asked:
        return container
    ended: Object = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container was removed together with its pod",
        "finishedAt": before.get("finishedAt") or now,
    }
    if started := _object(state.get("running")).get("startedAt") or before.get("startedAt"):
        ended["startedAt"] = started
    if container.get("containerID"):
        ended["containerID"] = container["containerID"]
    return {**container, "ready": False, "started": False, "state": {"terminated": ended}}


def _not_started(name: str, reason: str, message: str) -> Object:
    return {
        "name": name,
        "image": "",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "started": False,
        "state": {"waiting": {"reason": reason, "message": message}},
    }


def _differs(has: JSON, wants: JSON) -> bool:
    """Absent, null and empty are the same."""
    return (has or None) != (wants or None)


def _clean(condition: Object) -> Object:
    return {k: v for k, v in condition.items() if v is not None}


def _object(value: JSON) -> Object:
    return value if isinstance(value, dict) else {}


def _objects(value: JSON) -> list[Object]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []
