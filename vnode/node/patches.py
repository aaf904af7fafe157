"""What to change so that an existing Node looks as desired: pure functions, None = nothing.

In: the Node as the API server has it and a `Desired`. Out: two patches, each conditional on the
Node's UID: `taint_patch` (JSON patch, as the list is atomic: it carries our own taint only, and the
resourceVersion) and `node_patch` (strategic merge; all the rest, as nodes/status takes labels and
annotations too, which is how kubelets keep theirs). Labels, annotations, taints and conditions of
users and other controllers are never in a patch.
"""

from collections.abc import Mapping

from vnode.kube.quantity import Quantity
from vnode.kube.types import JSON
from vnode.node.objects import Node, NodeCondition
from vnode.node.status import (
    COMPUTE_UNREACHABLE_TAINT,
    PUBLISHED_LABELS_ANNOTATION,
    Desired,
    addresses,
    annotations,
    conditions,
    daemon_endpoints,
    features,
    fixed_labels,
    node_info,
    plain,
    pool_labels,
    resources,
)


def node_patch(current: Node, desired: Desired, *, heartbeat: bool) -> dict[str, JSON] | None:
    """Labels, annotations and status, for a strategic-merge patch of nodes/status.

    `heartbeat` renews lastHeartbeatTime of all our conditions; otherwise it changes only with them.
    """
    metadata = _metadata_changes(current, desired)
    status = _status_changes(current, desired, heartbeat=heartbeat)
    if not metadata and not status:
        return None
    patch: dict[str, JSON] = {"metadata": {"uid": current.uid, **metadata}}
    if status:
        patch["status"] = status
    return patch


def taint_patch(current: Node, desired: Desired) -> list[JSON] | None:
    """The taint for an unreachable compute side, for a JSON patch of the Node.

    The API server refuses it with 409 when the Node changed meanwhile, as it names an index.
    """
    ours = COMPUTE_UNREACHABLE_TAINT
    present = [
        index
        for index, taint in enumerate(current.spec.taints)
        if (taint.key, taint.effect) == (ours.key, ours.effect)
    ]
    change: dict[str, JSON]
    if desired.reachable and present:
        change = {"op": "remove", "path": f"/spec/taints/{present[0]}"}
    elif not desired.reachable and not present:
        if current.spec.taints:
            change = {"op": "add", "path": "/spec/taints/-", "value": plain(ours)}
        else:
            change = {"op": "add", "path": "/spec/taints", "value": [plain(ours)]}
    else:
        return None
    metadata = current.metadata
    return [
        {"op": "replace", "path": "/metadata/uid", "value": metadata.uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata.resource_version},
        change,
    ]


def _metadata_changes(current: Node, desired: Desired) -> dict[str, JSON]:
    metadata = current.metadata
    published = pool_labels(desired)
    before = _published(current)
    keys = set(published)
    wanted: dict[str, str | None] = {**published, **fixed_labels(desired)}
    if desired.capacity is None:  # its labels are not known: those of last time stay
        keys |= before
    else:
        wanted.update(dict.fromkeys(before - wanted.keys()))
    notes = {**annotations(desired), PUBLISHED_LABELS_ANNOTATION: ",".join(sorted(keys))}
    changes: dict[str, JSON] = {}
    if labels := _changed(metadata.labels, wanted):
        changes["labels"] = labels
    if changed_notes := _changed(metadata.annotations, notes):
        changes["annotations"] = changed_notes
    return changes


def _status_changes(current: Node, desired: Desired, *, heartbeat: bool) -> dict[str, JSON]:
    changes: dict[str, JSON] = {}
    if desired.capacity is not None:
        wanted = resources(desired.capacity)
        if capacity := _changed_quantities(current.status.capacity, wanted):
            changes["capacity"] = capacity
        if allocatable := _changed_quantities(current.status.allocatable, wanted):
            changes["allocatable"] = allocatable
    if changed := _changed_conditions(current, desired, heartbeat=heartbeat):
        changes["conditions"] = changed
    reached_at = addresses(desired.node)
    if set(current.status.addresses) != set(reached_at):
        changes["addresses"] = [*(plain(address) for address in reached_at), {"$patch": "replace"}]
    endpoints = daemon_endpoints(desired.node)
    if current.status.daemon_endpoints != endpoints:
        changes["daemonEndpoints"] = plain(endpoints)
    info = node_info(desired)
    if current.status.node_info != info:
        changes["nodeInfo"] = plain(info)
    declared = features(desired)
    if declared is not None and current.status.declared_features != [*declared]:
        changes["declaredFeatures"] = [*declared]
    return changes


def _published(current: Node) -> set[str]:
    text = current.metadata.annotations.get(PUBLISHED_LABELS_ANNOTATION, "")
    return {key for key in text.split(",") if key}


def _changed(current: Mapping[str, str], wanted: Mapping[str, str | None]) -> dict[str, JSON]:
    return {key: value for key, value in wanted.items() if current.get(key) != value}


def _changed_quantities(current: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, JSON]:
    changes: dict[str, JSON] = {
        name: value
        for name, value in wanted.items()
        if name not in current or Quantity.parse(current[name]) != Quantity.parse(value)
    }
    changes.update(dict.fromkeys(current.keys() - wanted.keys()))
    return changes


def _changed_conditions(current: Node, desired: Desired, *, heartbeat: bool) -> list[JSON]:
    present = {condition.type: condition for condition in current.status.conditions}
    changes: list[JSON] = []
    for condition in conditions(reachable=desired.reachable, refused=desired.refused):
        before = present.get(condition.type, NodeCondition())
        transition = desired.now
        if before.status == condition.status and before.last_transition_time:
            transition = before.last_transition_time
        same = (before.status, before.reason, before.message) == (
            condition.status,
            condition.reason,
            condition.message,
        )
        if heartbeat or not same:
            times = {"lastHeartbeatTime": desired.now, "lastTransitionTime": transition}
            changes.append({**plain(condition), **times})
    return changes
