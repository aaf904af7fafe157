"""What the lifecycle rules read of a tenant pod, decoded once per version.

In: `Pod` structs (spec and status as JSON bytes). Out: `PodView`, immutable. Pure.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.pods.partition.policy import WAITS, OnPartition, on_partition

FORWARDED = "vnode.dev/Forwarded"
"""Condition: a copy of this pod was made below. Never taken back. False: none was asked for."""
COMPUTE_SCHEDULED = "vnode.dev/ComputeScheduled"
"""Condition: the compute side has given the copy a place (else reason and message say why not)."""

COPY_MADE, COPY_ENDED = "CopyMade", "CopyEnded"
"""Reasons of condition `vnode.dev/Forwarded`. The second stands beside a final status that we have
written ourselves, by which nothing runs below; others may write a terminal phase too."""
PLACE, COPY = "place", "copy"
"""Words in the message of condition `vnode.dev/Forwarded`; before the fingerprint of the place, and
before that of the copy that the mark was written for."""

TERMINAL = frozenset({"Succeeded", "Failed"})


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Gate(msgspec.Struct, frozen=True, rename="camel"):
    condition_type: str = ""


class _SpecHead(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    restart_policy: str = "Always"
    service_account_name: str = "default"
    readiness_gates: list[_Gate] = []
    containers: list[_Named] = []
    init_containers: list[_Named] = []
    ephemeral_containers: list[_Named] = []


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class _StatusHead(
    msgspec.Struct, frozen=True, rename={"pod_ip": "podIP", "start_time": "startTime"}
):
    phase: str = ""
    reason: str | None = None
    pod_ip: str = ""
    start_time: str | None = None
    conditions: list[_Condition] = []


_SPEC = msgspec.json.Decoder(_SpecHead)
_STATUS = msgspec.json.Decoder(_StatusHead)


@dataclass(frozen=True, slots=True)
class PodView:
    """The facts about a tenant pod on which the lifecycle rules decide."""

    key: ObjectKey
    uid: UID
    generation: int
    """metadata.generation; 0 in API servers that do not count it for pods."""
    node: NodeName
    phase: str
    deleting: bool
    grace_seconds: int | None
    """metadata.deletionGracePeriodSeconds."""
    forwarded: bool
    """A tenant status showed that a copy was made: it must never be made again."""
    ended: bool
    """Terminal, since its copy ended or was gone: nothing of it runs any more."""
    place: str
    """`PodBackend.place` of the namespace in which it was made; empty: not known."""
    restart_policy: str
    service_account: str
    readiness_gates: tuple[str, ...]
    containers: frozenset[str]
    """Names of all containers, init and ephemeral ones included."""
    daemon: bool
    """Controlled by a DaemonSet."""
    digest: str
    """Fingerprint of everything that travels to the copy."""
    unsent: bool = False
    """The tenant status says that no copy was ever asked for."""
    on_partition: OnPartition = WAITS
    """How long it waits for a compute side that does not answer."""
    copy: str = ""
    """`copy_mark` of the copy for which it was marked as forwarded; empty: not known."""
    let_start: bool = False
    """The tenant status shows what only a copy without gate can have: it may have run."""
    held: bool = False
    """The tenant status says why it waits."""

    @property
    def terminal(self) -> bool:
        """Phase Succeeded or Failed, which is final."""
        return self.phase in TERMINAL


def view(pod: Pod) -> PodView:
    """Decode what the lifecycle rules need."""
    spec = _SPEC.decode(pod.spec)
    status = _STATUS.decode(pod.status)
    phase = status.phase or "Pending"
    marks = {c.status: c for c in status.conditions if c.type == FORWARDED}
    mark = marks.get("True")
    said = _words(mark.message) if mark is not None else {}
    placed = any(c.type == COMPUTE_SCHEDULED and c.status == "True" for c in status.conditions)
    names = (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    return PodView(
        key=pod.metadata.key,
        uid=pod.metadata.uid,
        generation=pod.metadata.generation,
        node=NodeName(spec.node_name),
        phase=phase,
        deleting=pod.metadata.deletion_timestamp is not None,
        grace_seconds=pod.metadata.deletion_grace_period_seconds,
        forwarded=mark is not None or phase == "Running",
        ended=mark is not None and mark.reason == COPY_ENDED and phase in TERMINAL,
        place=said.get(PLACE, ""),
        restart_policy=spec.restart_policy,
        service_account=spec.service_account_name or "default",
        readiness_gates=tuple(g.condition_type for g in spec.readiness_gates),
        containers=frozenset(c.name for c in names),
        daemon=any(o.controller and o.kind == "DaemonSet" for o in pod.metadata.owner_references),
        digest=digest(pod),
        unsent="False" in marks,
        on_partition=on_partition(pod.metadata.annotations),
        copy=said.get(COPY, ""),
        let_start=placed or phase == "Running" or bool(status.start_time),
        held=bool(status.reason),
    )


def copy_mark(handle: str) -> str:
    """Fingerprint of a copy's own identity, which tenants are not shown (8 hex characters)."""
    return hashlib.blake2b(handle.encode(), digest_size=4).hexdigest()


def _words(message: str) -> dict[str, str]:
    words = message.split(" ")
    return dict(zip(words[::2], words[1::2], strict=False))


def digest(pod: Pod) -> str:
    """Fingerprint of a tenant pod's labels, annotations and spec (16 hex characters)."""
    h = hashlib.blake2b(digest_size=8)
    for labels in (pod.metadata.labels, pod.metadata.annotations):
        for k in sorted(labels):
            h.update(f"{k}\0{labels[k]}\0".encode())
        h.update(b"\1")
    h.update(pod.spec)
    return h.hexdigest()


def container_names(pod: Pod) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the init containers and of the main containers, in order."""
    spec = _SPEC.decode(pod.spec)
    return tuple(c.name for c in spec.init_containers), tuple(c.name for c in spec.containers)


def pod_address(pod: Pod) -> str:
    """status.podIP, empty while there is none."""
    return _STATUS.decode(pod.status).pod_ip
