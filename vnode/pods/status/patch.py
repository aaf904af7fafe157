"""The patch that makes a tenant pod's status say what it should. Pure.

In: the tenant pod and the status that it should have (`vnode.pods.status.statuses`). Out: a
strategic merge patch for pods/status, or None when the tenant pod says so already. The comparison
is with what the tenant object says *now*: whatever somebody else wrote meanwhile (the node
lifecycle controller during a cut) is put right, and a change that was missed while the agent was
down is mirrored on start.

Only fields on the allow-list are ever written (DESIGN 5, Status). Never qosClass,
nominatedNodeName, resourceClaimStatuses or the condition PodScheduled.
"""

from collections.abc import Mapping

import msgspec

from vnode.kube.types import JSON, JSONObject, Pod, object_in, objects_in

CONTAINER_LISTS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_WHOLE = (
    "phase",
    "startTime",
    "resize",
    "observedGeneration",
    "reason",
    "message",
    "hostIP",
    "podIP",
    *CONTAINER_LISTS,
)
"""Scalars and atomic lists."""
_MAPS = ("resources", "allocatedResources")
_ADDRESSES = ("podIPs", "hostIPs")
_KUBELET_OWNED = frozenset({"PodResizePending", "PodResizeInProgress", "AllContainersRestarting"})
"""Conditions that only a kubelet writes: removed when the copy has them no more."""


def patch(pod: Pod, wanted: Mapping[str, JSON]) -> JSONObject | None:
    """The strategic-merge patch from the pod's status to the wanted one; None: nothing differs.

    It carries metadata.uid, so that it can never hit a successor of the same name; and with a phase
    the resourceVersion, so that it never takes back a terminal phase that was not seen yet.
    """
    current = object_in(msgspec.json.decode(pod.status))
    changes: JSONObject = {}
    for name in (*_WHOLE, *_MAPS, *_ADDRESSES):
        has, wants = current.get(name), wanted.get(name)
        if name not in wanted or not _differs(has, wants):
            continue
        if name in _ADDRESSES:
            # They merge by ip: without the directive there would be two addresses of one family.
            wants = [*objects_in(wants), {"$patch": "replace"}]
        elif name in _MAPS and has and isinstance(wants, dict):
            # Keys that are gone have to go. In a new map the directive would undo the map.
            wants = {**wants, "$patch": "replace"}
        changes[name] = wants
    if conditions := _condition_changes(current, wanted):
        changes["conditions"] = conditions
    if not changes:
        return None
    guards: JSONObject = {"uid": pod.metadata.uid}
    if "phase" in changes:
        guards["resourceVersion"] = pod.metadata.resource_version
    return {"metadata": guards, "status": changes}


def clean(condition: JSONObject) -> JSONObject:
    """A condition without the fields that are null."""
    return {k: v for k, v in condition.items() if v is not None}


def _condition_changes(current: JSONObject, wanted: Mapping[str, JSON]) -> list[JSON]:
    has = {str(c.get("type")): clean(c) for c in objects_in(current.get("conditions"))}
    wants = {str(c["type"]): c for c in objects_in(wanted.get("conditions"))}
    changes: list[JSON] = []
    for kind, condition in wants.items():
        before = has.get(kind, {})
        if "observedGeneration" not in condition:
            before.pop("observedGeneration", None)  # The API server keeps it all the same.
        if before != condition:
            # Conditions merge by type and field by field: what no longer holds is nulled.
            changes.append({**dict.fromkeys(before.keys() - condition.keys()), **condition})
    changes += [
        {"type": t, "$patch": "delete"} for t in has if t in _KUBELET_OWNED and t not in wants
    ]
    return changes


def _differs(has: JSON, wants: JSON) -> bool:
    """Absent, null and empty are the same."""
    return (has or None) != (wants or None)
