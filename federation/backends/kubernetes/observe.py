"""A compute pod as an `ObservedPod`: whose copy it is and how it does. Pure.

Identity comes from labels and annotations alone (DESIGN 4.3, 4.8), and is believed only where it
agrees with where the object lies: a pod that imitates our marks in a namespace that is not the one
of its claimed tenant namespace is nobody's copy.
"""

from datetime import datetime, timedelta

import msgspec

from federation.backends.kubernetes import serverless
from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.injection import lacks_sidecar
from federation.backends.kubernetes.sidecars import put_in, status_without
from federation.backends.kubernetes.translate.fingerprints import SENT, from_mark
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_EPHEMERAL,
    ANNOTATION_GENERATION,
    ANNOTATION_NAME,
    ANNOTATION_NAMESPACE,
    ANNOTATION_NODE,
    ANNOTATION_UID,
    START_GATE,
    NamespaceMapping,
    Owner,
)
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import UID, NodeName, ObjectKey, ObjectMeta, Pod


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    ephemeral_containers: list[_Named] = []
    scheduling_gates: list[_Named] = []


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""
    conditions: list[_Condition] = []


class _Statuses(msgspec.Struct, frozen=True, rename="camel"):
    ephemeral_container_statuses: list[msgspec.Raw] = []


_GATED = "SchedulingGated"
"""Reason of PodScheduled=False that an API server gives, and a scheduler takes back some time after
the gate has gone."""
_DIGITS = 19
"""More than an int64 has."""
_SPEC = msgspec.json.Decoder(_Spec)
_STATUS = msgspec.json.Decoder(_Status)


def tenant_key(
    metadata: ObjectMeta, *, owner: Owner, namespaces: NamespaceMapping
) -> ObjectKey | None:
    """Tenant namespace and name of one of our objects; None if it is not ours."""
    if not owner.owns(metadata):
        return None
    namespace = metadata.annotations.get(ANNOTATION_NAMESPACE, "")
    name = metadata.annotations.get(ANNOTATION_NAME, "")
    if not namespace or not name or namespaces.below(namespace) != metadata.namespace:
        return None
    return ObjectKey(namespace, name)


def names_of(pod: Pod) -> Names:
    """What a copy is called on both sides."""
    marks = pod.metadata.annotations
    return Names(
        namespace_below=pod.metadata.namespace,
        namespace=marks.get(ANNOTATION_NAMESPACE, ""),
        uid_below=pod.metadata.uid,
        uid=marks.get(ANNOTATION_UID, ""),
        node_below=_SPEC.decode(pod.spec).node_name,
        node=marks.get(ANNOTATION_NODE, ""),
    )


def observed_pod(pod: Pod, *, owner: Owner, namespaces: NamespaceMapping) -> ObservedPod | None:
    """Read a compute pod; None if it is not a copy of this tenant cluster's."""
    key = tenant_key(pod.metadata, owner=owner, namespaces=namespaces)
    if key is None or key.name != pod.metadata.name:
        return None
    marks = pod.metadata.annotations
    names = names_of(pod)
    status, spec = _STATUS.decode(pod.status), _SPEC.decode(pod.spec)
    told = serverless.tell(_status_of_ours(pod))
    shown = names.conceal_status(told.status)
    scheduled = names.node_below != "" and told.waiting is None
    gates = {gate.name for gate in spec.scheduling_gates}
    return ObservedPod(
        key=key,
        uid=UID(marks.get(ANNOTATION_UID, "")),
        handle=pod.metadata.uid,
        node=NodeName(marks.get(ANNOTATION_NODE, "")),
        digest=marks.get(ANNOTATION_DIGEST, ""),
        generation=_number(marks.get(ANNOTATION_GENERATION, "")),
        # Most say nothing that has to be changed: then it is in memory once.
        status=pod.status if shown == bytes(pod.status) else shown,
        deleting=pod.metadata.deletion_timestamp is not None,
        grace_seconds=pod.metadata.deletion_grace_period_seconds,
        made_at=pod.metadata.creation_timestamp,
        removal_requested=_removal_requested(pod.metadata),
        scheduled=scheduled,
        waiting=None
        if scheduled
        else told.waiting or _waiting(status, names, gated=bool(gates - {START_GATE})),
        own_generation=pod.metadata.generation,
        gated=START_GATE in gates,
        unfit=lacks_sidecar(pod),
    )


def foreign_containers(pod: Pod) -> frozenset[str]:
    """Names of the containers of a copy that somebody else has added."""
    return put_in(pod) | _foreign_ephemeral(pod)


def _foreign_ephemeral(pod: Pod) -> frozenset[str]:
    added = _SPEC.decode(pod.spec).ephemeral_containers
    if not added:
        return frozenset()
    noted = from_mark(pod.metadata.annotations.get(ANNOTATION_EPHEMERAL))
    ours = {name for name, value in noted.items() if value != SENT}
    return frozenset(container.name for container in added) - ours


def _status_of_ours(pod: Pod) -> bytes:
    """PodStatus without containers of others: a tenant's of the same name is not them."""
    foreign, told = _foreign_ephemeral(pod), status_without(pod, put_in(pod))
    if not foreign:
        return told
    status = msgspec.json.decode(told, type=_Statuses)
    ours = [
        raw
        for raw in status.ephemeral_container_statuses
        if msgspec.json.decode(raw, type=_Named).name not in foreign
    ]
    rest: dict[str, msgspec.Raw | list[msgspec.Raw]] = msgspec.json.decode(
        told, type=dict[str, msgspec.Raw]
    )
    rest["ephemeralContainerStatuses"] = ours
    return msgspec.json.encode(rest)


def _number(mark: str) -> int:
    """Somebody below may have spoilt it."""
    return int(mark) if mark.isascii() and mark.isdigit() and len(mark) < _DIGITS else 0


def _removal_requested(metadata: ObjectMeta) -> str | None:
    """deletionTimestamp is when the grace period *ends*; absurd ones are as good as none."""
    if metadata.deletion_timestamp is None:
        return None
    try:
        ends = datetime.fromisoformat(metadata.deletion_timestamp)
        began = ends - timedelta(seconds=metadata.deletion_grace_period_seconds or 0)
    except (ValueError, OverflowError):
        return None
    return began.strftime("%Y-%m-%dT%H:%M:%SZ")


def _waiting(status: _Status, names: Names, *, gated: bool) -> WaitingReason | None:
    """Why it has no node yet; `gated`: by gates of others, ours are nobody's business."""
    for c in status.conditions:
        if c.type == "PodScheduled" and c.status == "False" and (gated or c.reason != _GATED):
            return WaitingReason(c.reason or "Unschedulable", names.conceal(c.message))
    return None
