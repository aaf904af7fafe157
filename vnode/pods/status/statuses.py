"""What a tenant pod's status should say. Pure.

In: the tenant pod, its copy's status, and what of an update is held back. Out: the status fields
that are ours, as they should be; `vnode.pods.status.patch` makes the patch. Containers that the
tenant does not know are left out (`vnode.pods.status.container_status`).

Generations are the tenant's. A status below counts the copy's own: one that has not caught up with
the copy's newest spec yet does not pass for a status of the tenant's newest spec either.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from vnode.backend import HeldBack, ObservedPod, UpdatePart, WaitingReason
from vnode.kube.types import JSON, JSONObject, Pod, object_in, objects_in
from vnode.pods.status import asked_for, container_status
from vnode.pods.status.patch import CONTAINER_LISTS, clean
from vnode.pods.view import (
    COMPUTE_SCHEDULED,
    COPY,
    COPY_ENDED,
    COPY_MADE,
    FORWARDED,
    PLACE,
    TERMINAL,
    PodView,
    copy_mark,
)

_KUBELET_CONDITIONS = frozenset(
    {
        "Initialized",
        "ContainersReady",
        "Ready",
        "PodReadyToStartContainers",
        "PodResizePending",
        "PodResizeInProgress",
        "AllContainersRestarting",
        "DisruptionTarget",
    }
)
_RESIZE_PENDING = "PodResizePending"


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


def mirrored(
    pod: Pod,
    seen: PodView,
    copy: ObservedPod,
    placement: Placement,
    held_back: Sequence[HeldBack] = (),
) -> JSONObject:
    """The status that a tenant pod with this copy should have (only fields that we own).

    `held_back` is what the copy lacks of the tenant pod as it is now.
    """
    below = object_in(msgspec.json.decode(copy.status))
    current = object_in(msgspec.json.decode(pod.status))
    status: JSONObject = {"phase": container_status.phase(below, seen)}
    for name in CONTAINER_LISTS:
        status[name] = [*container_status.known(objects_in(below.get(name)), pod, seen)]
    if status["phase"] in TERMINAL:
        held_back = ()
    _hold_containers(status, held_back)
    status["startTime"] = below.get("startTime") or current.get("startTime")
    status["resize"] = below.get("resize")
    status.update(asked_for.pod_level(below, pod))
    if generation := _generation(below, current, copy):
        status["observedGeneration"] = generation
    waiting = copy.waiting if status["phase"] == "Pending" else None
    status["reason"] = below.get("reason") or (waiting.reason if waiting else None)
    status["message"] = below.get("message") or (waiting.message if waiting else None)
    if below.get("podIP"):
        ips = _pod_ips(below, current, placement)
        status["podIP"], status["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    if below.get("startTime"):
        host = current.get("hostIP") or placement.host_ip
        status["hostIP"], status["hostIPs"] = host, [{"ip": host}]
    conditions = _hold_resize(_conditions(below, current, seen, copy), seen, held_back)
    status["conditions"] = _stamp(
        [
            *conditions,
            _forwarded(seen, placement, copy, ended=_has_ended(status)),
            _scheduled(copy),
        ],
        current,
        placement.now,
    )
    return status


def lost(pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement) -> JSONObject:
    """The status of a pod whose copy went away without our asking (DESIGN 5, Gone below).

    Reason `Evicted` is what MPI operators act on; exit code 137 is what training-operator's
    ExitCode policy calls retryable.
    """
    message = "The pod's copy in the compute cluster was removed by somebody else"
    status, base = _ended(pod, seen, copy, placement)
    status["reason"], status["message"] = "Evicted", message
    conditions = {str(c["type"]): c for c in objects_in(base.get("conditions"))}
    disrupted = conditions.get("DisruptionTarget")
    if disrupted is None or disrupted.get("status") != "True":
        disrupted = _condition("DisruptionTarget", "True", "DeletedBelow", message)
    current = object_in(msgspec.json.decode(pod.status))
    stamped = _stamp([disrupted], current, placement.now)
    status["conditions"] = [*objects_in(status["conditions"]), *stamped]
    return status


def given_up(
    pod: Pod, seen: PodView, placement: Placement, message: str, *, sent: bool
) -> JSONObject:
    """The status of a pod that waited long enough for a compute side that does not answer.

    `sent`: it may have a copy, which may run. So the mark does not say that it ended.
    """
    current = object_in(msgspec.json.decode(pod.status))
    now, reason = placement.now, "ComputeUnreachable"
    over = ("False", "PodFailed", "")
    conditions = [
        _condition("Ready", *over),
        _condition("ContainersReady", *over),
        _condition("DisruptionTarget", "True", reason, message),
    ]
    marks = [_forwarded(seen, placement, None, ended=False)] if sent else _unsent(unsent=True)
    return {
        "phase": "Failed",
        "reason": reason,
        "message": message,
        **container_status.ended(current, pod, asked=now, now=now, message=message),
        "conditions": _stamp([*conditions, *marks], current, now),
    }


def removed(pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement) -> JSONObject:
    """The last status of a deleted pod whose copy went without having ended first.

    Whoever holds the pod with a finalizer (a Job) waits for a terminal phase.
    """
    return _ended(pod, seen, copy, placement)[0]


def _ended(
    pod: Pod, seen: PodView, copy: ObservedPod | None, placement: Placement
) -> tuple[JSONObject, JSONObject]:
    """Failed, every container terminated; and the status that this rests on."""
    current = object_in(msgspec.json.decode(pod.status))
    base = mirrored(pod, seen, copy, placement) if copy else current
    asked = (copy.removal_requested if copy else None) or placement.now
    ends = container_status.ended(base, pod, asked=asked, now=placement.now)
    status: JSONObject = {"phase": "Failed", **ends}
    over = ("False", "PodFailed", "")
    status["conditions"] = _stamp(
        [
            _condition("Ready", *over),
            _condition("ContainersReady", *over),
            _forwarded(seen, placement, copy, ended=True),
        ],
        current,
        placement.now,
    )
    return status, base


def rejected(
    pod: Pod,
    seen: PodView,
    names: Iterable[str],
    message: str,
    *,
    now: str,
    unsent: bool = False,
) -> JSONObject:
    """The status of a pod that can never run here as it is.

    restartPolicy Always stays Pending: a Failed pod would make its ReplicaSet create pods without
    end. Never and OnFailure become Failed.
    """
    reason = "PodRejected"
    status: JSONObject = {"reason": reason, "message": message}
    status["phase"] = "Pending" if seen.restart_policy == "Always" else "Failed"
    if seen.restart_policy == "Always":
        status["containerStatuses"] = [
            container_status.not_started(n, reason, message) for n in names
        ]
    status["conditions"] = _stamp(
        [_condition(COMPUTE_SCHEDULED, "False", reason, message), *_unsent(unsent)],
        object_in(msgspec.json.decode(pod.status)),
        now,
    )
    return status


def held(pod: Pod, waiting: WaitingReason, now: str, *, unsent: bool = False) -> JSONObject:
    """The status of a pod whose copy cannot be made yet; tried again.

    `unsent`: no copy was ever asked for. Whoever reads that later, with no memory of the pod and
    no sight of what is below, may let the pod go.
    """
    return {
        "phase": "Pending",
        "reason": waiting.reason,
        "message": waiting.message,
        "conditions": _stamp(
            [
                _condition(COMPUTE_SCHEDULED, "False", waiting.reason, waiting.message),
                *_unsent(unsent),
            ],
            object_in(msgspec.json.decode(pod.status)),
            now,
        ),
    }


def sent(pod: Pod, now: str) -> JSONObject:
    """Takes back that no copy was ever asked for, just before one is."""
    mark = _condition(FORWARDED, "Unknown", "CopyAskedFor")
    return {"conditions": _stamp([mark], object_in(msgspec.json.decode(pod.status)), now)}


def _generation(below: JSONObject, current: JSONObject, copy: ObservedPod) -> JSON:
    """The tenant generation that the copy's status is about; 0 or None: not known."""
    own = below.get("observedGeneration")
    if isinstance(own, int) and own < copy.own_generation:
        return current.get("observedGeneration")
    return copy.generation


def _conditions(
    below: JSONObject, current: JSONObject, seen: PodView, copy: ObservedPod
) -> list[JSONObject]:
    """The copy's conditions that are a kubelet's, in the tenant's generations."""
    before = {c.get("type"): c for c in objects_in(current.get("conditions"))}
    found: list[JSONObject] = []
    for listed in objects_in(below.get("conditions")):
        if listed.get("type") not in _KUBELET_CONDITIONS:
            continue
        condition = clean(listed)
        if condition.pop("observedGeneration", None) is not None:
            known = before.get(condition["type"], {})
            if generation := _generation(listed, known, copy):
                condition["observedGeneration"] = generation
        found.append(
            _gated(condition, seen, current) if condition["type"] == "Ready" else condition
        )
    return found


def _hold_resize(
    conditions: list[JSONObject], seen: PodView, held_back: Iterable[HeldBack]
) -> list[JSONObject]:
    """A resize that did not get to the copy is pending, in a kubelet's words (KEP-1287)."""
    for held in held_back:
        if held.part is UpdatePart.RESIZE:
            reason = "Infeasible" if held.permanent else "Deferred"
            pending = _condition(_RESIZE_PENDING, "True", reason, held.message)
            if seen.generation:
                pending["observedGeneration"] = seen.generation
            return [*(c for c in conditions if c["type"] != _RESIZE_PENDING), pending]
    return conditions


def _hold_containers(status: JSONObject, held_back: Iterable[HeldBack]) -> None:
    """An ephemeral container that did not get to the copy waits, and says why."""
    name = "ephemeralContainerStatuses"
    for held in held_back:
        if held.part is UpdatePart.EPHEMERAL_CONTAINER:
            waiting = container_status.not_started(held.container, held.reason, held.message)
            status[name] = [*objects_in(status[name]), waiting]


def _pod_ips(below: JSONObject, current: JSONObject, placement: Placement) -> list[str]:
    if placement.allocate_ip is None:
        ips = [str(ip["ip"]) for ip in objects_in(below.get("podIPs")) if ip.get("ip")]
        return ips or [str(below["podIP"])]
    return [str(current.get("podIP") or placement.allocate_ip())]


def _gated(ready: JSONObject, seen: PodView, current: JSONObject) -> JSONObject:
    """Ready = ContainersReady AND the pod's readiness gates (dropped below). KEP-580."""
    if not seen.readiness_gates:
        return ready
    # When it turned here is not when it turned below.
    ready = {k: v for k, v in ready.items() if k != "lastTransitionTime"}
    if ready.get("status") != "True":
        return ready
    has = {c.get("type"): c.get("status") for c in objects_in(current.get("conditions"))}
    missing = [gate for gate in seen.readiness_gates if has.get(gate) != "True"]
    if not missing:
        return ready
    text = ", ".join(
        f'the status of pod readiness gate "{gate}" is not "True", but {has[gate]}'
        if gate in has
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in missing
    )
    return {**ready, "status": "False", "reason": "ReadinessGatesNotReady", "message": text}


def _has_ended(status: JSONObject) -> bool:
    """Whether a status is final and no container runs by it."""
    containers = [c for name in CONTAINER_LISTS for c in objects_in(status[name])]
    runs = any(object_in(c.get("state")).get("running") is not None for c in containers)
    return status["phase"] in TERMINAL and not runs


def _forwarded(
    seen: PodView, placement: Placement, copy: ObservedPod | None, *, ended: bool
) -> JSONObject:
    """The mark says where the copy was made first, for ever, as exactly as that is known.

    And which one it was: of a pod that has the mark another copy never starts.
    """
    known = placement.place.startswith(seen.place)
    place = placement.place if known else seen.place
    reason = COPY_ENDED if ended else COPY_MADE
    made = seen.copy if seen.forwarded or copy is None else copy_mark(copy.handle)
    said = [f"{word} {value}" for word, value in ((PLACE, place), (COPY, made)) if value]
    return _condition(FORWARDED, "True", reason, " ".join(said))


def _unsent(unsent: bool) -> list[JSONObject]:
    return [_condition(FORWARDED, "False", "NoCopyAskedFor")] if unsent else []


def _scheduled(copy: ObservedPod) -> JSONObject:
    if copy.scheduled:
        return _condition(COMPUTE_SCHEDULED, "True")
    waiting = copy.waiting or WaitingReason(
        "Scheduling", "waiting for a place in the compute cluster"
    )
    return _condition(COMPUTE_SCHEDULED, "False", waiting.reason, waiting.message)


def _condition(kind: str, status: str, reason: str = "", message: str = "") -> JSONObject:
    condition: JSONObject = {"type": kind, "status": status}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _stamp(conditions: list[JSONObject], current: JSONObject, now: str) -> list[JSON]:
    """Give conditions without a transition time the old one if their status is the same."""
    old = {c.get("type"): c for c in objects_in(current.get("conditions"))}
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
