"""What is not as it should be once nothing is broken any more. Pure.

In: what there is now in the tenant and below. Out: differences in words; none means that all has
settled. Differences come and go while things are on their way: they count when they stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.chaos.ledger import CLUSTER_UID, NODE, TERMINAL, UID, containers
from tests.chaos.plan import TENANT
from tests.clusters import kwok

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Objects = Mapping[str, Mapping[str, Any]]

_OVERDUE = timedelta(seconds=10)
SCHEDULER = "kube-scheduler"
VIRTUAL = "vnode-"
_OWN = "vnode-"
"""Objects below that stand for nothing in the tenant begin so."""


@dataclass(frozen=True)
class Scene:
    """What there is now, by name; of compute clusters by cluster and name."""

    pods: Objects
    copies: Mapping[str, Objects]
    data: Mapping[str, Objects]
    """Of the tenant: ConfigMaps and Secrets, by kind."""
    data_below: Mapping[str, Mapping[str, Objects]]
    """By cluster and kind."""
    cluster_uid: str


def differences(scene: Scene) -> list[str]:
    """All that is not in its final state."""
    return [*_of_pods(scene), *_of_copies(scene), *_of_data(scene)]


def _ours(scene: Scene, copy: Mapping[str, Any]) -> bool:
    return bool(_notes(copy).get(CLUSTER_UID) == scene.cluster_uid)


def _of_pods(scene: Scene) -> Iterator[str]:
    for name, pod in scene.pods.items():
        node = pod["spec"].get("nodeName", "")
        uid = pod["metadata"]["uid"]
        if pod["metadata"].get("deletionTimestamp"):
            yield f"tenant pod {name} ({uid}) is still being deleted{_below(scene, name, pod)}"
        elif not node:
            yield f"tenant pod {name} ({uid}) has no node"
        elif node.startswith(VIRTUAL):
            yield from _of_pod(scene, name, pod, node.removeprefix(VIRTUAL))


def _below(scene: Scene, name: str, pod: Mapping[str, Any]) -> str:
    cluster = pod["spec"].get("nodeName", "").removeprefix(VIRTUAL)
    copy = scene.copies.get(cluster, {}).get(name)
    if copy is None or _notes(copy).get(UID) != pod["metadata"]["uid"]:
        return ""
    since = copy["metadata"].get("deletionTimestamp")
    return f": its copy in {cluster} " + (f"was to go at {since}" if since else "is not deleted")


def overdue(scene: Scene, *, now: datetime) -> Iterator[tuple[str, str, str]]:
    """Copies that were to go a while ago: cluster, name and UID.

    A kubelet tries again until they have gone. kwok tries once: what an API server answers badly
    while it is killed is done only when the pod changes again.
    """
    for cluster, copies in scene.copies.items():
        for name, copy in copies.items():
            metadata = copy["metadata"]
            at = metadata.get("deletionTimestamp")
            if at and now - datetime.fromisoformat(at) > _OVERDUE and _ours(scene, copy):
                yield cluster, name, metadata["uid"]


def unattended(scene: Scene) -> Iterator[tuple[str, str]]:
    """For what pods wait: clusters, and the component of each whose turn it is.

    The scheduler, where a pod has no node; kwok, where one of ours has a node and does not run.
    """
    for pod in scene.pods.values():
        if _waits(pod) and not pod["spec"].get("nodeName"):
            yield TENANT, SCHEDULER
    for cluster, copies in scene.copies.items():
        for copy in copies.values():
            if _waits(copy) and _ours(scene, copy):
                yield cluster, kwok.NAME if copy["spec"].get("nodeName") else SCHEDULER


def _waits(pod: Mapping[str, Any]) -> bool:
    held = pod["spec"].get("schedulingGates") or pod["metadata"].get("deletionTimestamp")
    return not held and _phase(pod) == "Pending"


def _of_pod(scene: Scene, name: str, pod: Mapping[str, Any], cluster: str) -> Iterator[str]:
    uid, phase = pod["metadata"]["uid"], _phase(pod)
    copy = scene.copies.get(cluster, {}).get(name)
    mine = copy if copy is not None and _notes(copy).get(UID) == uid else None
    what = f"tenant pod {name} ({uid}), {phase}"
    if phase in TERMINAL:
        if mine is not None and _phase(mine) not in TERMINAL:
            yield f"{what}: its copy in {cluster} is {_phase(mine)}"
    elif mine is None:
        reason = pod.get("status", {}).get("reason", "")
        yield f"{what}: no copy in {cluster} {reason}".rstrip()
    elif mine["metadata"].get("deletionTimestamp"):
        yield f"{what}: its copy in {cluster} is being deleted"
    elif _phase(mine) != phase or phase != "Running":
        yield f"{what}: its copy in {cluster} is {_phase(mine)}"
    elif containers(pod["status"]) != containers(mine["status"]):
        yield f"{what}: shows other containers than its copy in {cluster}"


def _of_copies(scene: Scene) -> Iterator[str]:
    for cluster, copies in scene.copies.items():
        for name, copy in copies.items():
            if not _ours(scene, copy):
                yield f"pod {name} in {cluster} is somebody else's"
                continue
            notes = _notes(copy)
            pod = scene.pods.get(name)
            fits = (
                pod is not None
                and pod["metadata"]["uid"] == notes.get(UID)
                and pod["spec"].get("nodeName") == notes.get(NODE) == f"{VIRTUAL}{cluster}"
            )
            if not fits:
                uid = notes.get(UID)
                yield f"copy {name} in {cluster} has no tenant pod {uid}"


def _of_data(scene: Scene) -> Iterator[str]:
    for cluster, kinds in scene.data_below.items():
        for kind, objects in kinds.items():
            for name, below in objects.items():
                if name.startswith(_OWN) or not _ours(scene, below):
                    continue
                above = scene.data[kind].get(name)
                if above is None:
                    yield f"{kind} {name} in {cluster} stands for nothing in the tenant"
                elif above.get("data") != below.get("data"):
                    yield f"{kind} {name} in {cluster} is an old version"


def _phase(pod: Mapping[str, Any]) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def _notes(found: Mapping[str, Any]) -> Mapping[str, str]:
    notes: Mapping[str, str] = found["metadata"].get("annotations") or {}
    return notes
