"""A pod and its copy: what is to be written, and the pod after that."""

from collections.abc import Sequence
from typing import Any, cast

from tests.builders import NODE_ADDRESS, NOW, Object, loads, with_status
from tests.fakes.merge import strategic_merge
from vnode.backend import HeldBack, ObservedPod
from vnode.kube.types import Pod
from vnode.pods.status import statuses
from vnode.pods.status.patch import patch as patch_for
from vnode.pods.status.statuses import Placement
from vnode.pods.view import view

LATER = "2027-01-15T09:00:00Z"
FLAT = Placement(NODE_ADDRESS, None, NOW)
NEVER_OURS = (
    "qosClass",
    "nominatedNodeName",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
)


def isolated(address: str = "198.18.0.9", *, now: str = NOW) -> Placement:
    return Placement(NODE_ADDRESS, lambda: address, now)


def wanted(
    pod: Pod, copy: ObservedPod, placement: Placement = FLAT, held: Sequence[HeldBack] = ()
) -> Any:
    return statuses.mirrored(pod, view(pod), copy, placement, held)


def patched(pod: Pod, patch: Object | None) -> Pod:
    """The pod after the API server applied a patch."""
    if patch is None:
        return pod
    return with_status(pod, cast("Object", strategic_merge(loads(pod.status), patch["status"])))


def mirrored(pod: Pod, copy: ObservedPod, placement: Placement = FLAT, *held: HeldBack) -> Pod:
    return patched(pod, patch_for(pod, wanted(pod, copy, placement, held)))


def shown(pod: Pod) -> Any:
    return loads(pod.status)


def condition_of(pod: Pod, kind: str) -> Any:
    return next((c for c in shown(pod).get("conditions", []) if c["type"] == kind), None)
