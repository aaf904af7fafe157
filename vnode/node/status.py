"""How a virtual node shows itself: pure functions from what is known to labels, status and taints.

In: a `Desired` (the node's identity, its capacity, whether compute answers, the time). Out: plain
JSON values, from which `vnode.node.patches` makes a new Node object or patches of an existing one.
No I/O, no clock. The tenant's Node is read by everybody there, so no compute name is in here but
the cluster's and the pool's shown names.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from vnode.backend import Capacity
from vnode.kube.types import JSON
from vnode.node.objects import (
    DaemonEndpoint,
    DaemonEndpoints,
    Node,
    NodeAddress,
    NodeCondition,
    NodeSystemInfo,
    Taint,
)
from vnode.node.spec import VirtualNode

COMPUTE_REACHABLE = "vnode.dev/ComputeReachable"
"""Condition: whether the compute side behind the node answers. The node stays Ready without it."""
COMPUTE_UNREACHABLE_TAINT = Taint(key="vnode.dev/compute-unreachable", effect="NoSchedule")
"""On the node while compute does not answer: running pods stay, new ones go elsewhere."""

KUBELET_PORT_ANNOTATION = "vnode.dev/kubelet-port"
LARGEST_FREE_ANNOTATION = "vnode.dev/largest-free"
"""JSON object: per resource the largest free slot on one node of the pool, where known."""
PUBLISHED_LABELS_ANNOTATION = "vnode.dev/published-labels"
"""Comma-separated label keys that we set from configuration and pool: removed when they end."""

CLUSTER_LABEL = "vnode.dev/cluster"
POOL_LABEL = "vnode.dev/pool"
OS_LABEL = "kubernetes.io/os"
ARCH_LABEL = "kubernetes.io/arch"

WEBSOCKETS = "ExtendWebSocketsToKubelet"
"""The declared feature of a node whose streams take WebSocket (KEP-4006). To others the tenant's
API server (1.36) speaks SPDY alone."""

PODS_WITHOUT_LIMIT = "10000"
"""Published where a source does not bound `pods`: without it a node takes no pod at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """Everything that decides how the Node should look now."""

    node: VirtualNode
    capacity: Capacity | None
    """None: not known (yet); what the Node shows is left as it is."""
    reachable: bool
    """Whether the compute side answers."""
    refused: bool = False
    """Where it is not reachable: whether it answers, but refuses our credential."""
    websockets: bool = False
    """Whether exec, attach and port-forward take WebSocket as kubectl speaks it."""
    now: str
    """RFC 3339 in the tenant API server's time."""


def pool_labels(desired: Desired) -> dict[str, str]:
    """Labels that come and go with configuration and pool."""
    shared = desired.capacity.labels if desired.capacity else {}
    fixed = fixed_labels(desired)
    return {k: v for k, v in {**shared, **desired.node.labels}.items() if k not in fixed}


def fixed_labels(desired: Desired) -> dict[str, str]:
    """Labels that every virtual node has."""
    info = node_info(desired)
    return {
        "type": "virtual-kubelet",
        "kubernetes.io/role": "agent",
        "kubernetes.io/hostname": desired.node.name,
        OS_LABEL: info.operating_system,
        ARCH_LABEL: info.architecture,
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        "node.kubernetes.io/exclude-disruption": "true",
        CLUSTER_LABEL: desired.node.cluster,
        POOL_LABEL: desired.node.pool,
    }


def annotations(desired: Desired) -> dict[str, str | None]:
    """Annotations that follow from the identity and the capacity; None: must not be there."""
    values: dict[str, str | None] = {KUBELET_PORT_ANNOTATION: str(desired.node.port)}
    if desired.capacity is not None:
        free = dict(sorted(desired.capacity.largest_free.items()))
        values[LARGEST_FREE_ANNOTATION] = msgspec.json.encode(free).decode() if free else None
    return values


def features(desired: Desired) -> tuple[str, ...] | None:
    """status.declaredFeatures (KEP-5328); None: not known (yet).

    API servers before 1.35 do not know the field and drop it.
    """
    declared = desired.node.declared_features
    if declared is None and desired.capacity is not None:
        declared = desired.capacity.features or ()
    if declared is None or not desired.websockets:
        return declared
    return tuple(sorted({*declared, WEBSOCKETS}))


def resources(capacity: Capacity) -> dict[str, str]:
    """Resource quantities for status.capacity and status.allocatable, which are the same."""
    return {"pods": PODS_WITHOUT_LIMIT, **capacity.allocatable}


def conditions(*, reachable: bool, refused: bool = False) -> tuple[NodeCondition, ...]:
    """The conditions that are ours, without their times.

    NetworkUnavailable is among them as cloud route controllers set it on nodes without a route of
    theirs, and its taint would keep every pod away; no pod network ends at a virtual node.
    """
    if reachable:
        compute = ("True", "ComputeAnswers", "the compute side of this node answers")
    elif refused:
        compute = (
            "False",
            "ComputeRefusesAgent",
            "the compute side of this node refuses the agent's credential, which the platform team"
            " has to renew (vnode join): pods keep their last known state, new pods are not placed"
            " here",
        )
    else:
        compute = (
            "False",
            "ComputeUnreachable",
            "the compute side of this node does not answer: pods keep their last known state,"
            " new pods are not placed here",
        )
    rows = (
        ("Ready", "True", "KubeletReady", "the virtual kubelet is serving this node"),
        (
            "MemoryPressure",
            "False",
            "KubeletHasSufficientMemory",
            "memory is watched where the pods run",
        ),
        (
            "DiskPressure",
            "False",
            "KubeletHasNoDiskPressure",
            "disks are watched where the pods run",
        ),
        (
            "PIDPressure",
            "False",
            "KubeletHasSufficientPID",
            "processes are watched where the pods run",
        ),
        ("NetworkUnavailable", "False", "NoRouteNeeded", "a virtual node needs no route"),
        (COMPUTE_REACHABLE, *compute),
    )
    return tuple(
        NodeCondition(type=kind, status=status, reason=reason, message=message)
        for kind, status, reason, message in rows
    )


def shown_reachable(node: Node | None) -> bool:
    """Whether compute answers by what a Node shows; so it does where nothing is said."""
    shown = node.status.conditions if node is not None else ()
    return all(c.status != "False" for c in shown if c.type == COMPUTE_REACHABLE)


def addresses(node: VirtualNode) -> tuple[NodeAddress, ...]:
    """Where the kubelet API is reached.

    API servers try Hostname before InternalIP unless told otherwise, so the IP address
    stands there too: the node's name need not resolve.
    """
    return (
        NodeAddress(type="InternalIP", address=node.address),
        NodeAddress(type="Hostname", address=node.address),
    )


def daemon_endpoints(node: VirtualNode) -> DaemonEndpoints:
    """Port of the kubelet API."""
    return DaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=node.port))


def node_info(desired: Desired) -> NodeSystemInfo:
    """status.nodeInfo: identifiers made from the providerID, so the same after every restart."""
    node = desired.node
    shared = desired.capacity.labels if desired.capacity else {}
    identity = uuid.uuid5(uuid.NAMESPACE_URL, node.provider_id)
    return NodeSystemInfo(
        machine_id=identity.hex,
        system_uuid=str(identity),
        boot_id=str(uuid.uuid5(identity, "boot")),
        kernel_version="virtual",
        os_image="Virtual node",
        container_runtime_version=f"vnode://{node.agent_version}",
        kubelet_version=node.version,
        operating_system=shared.get(OS_LABEL, node.operating_system),
        architecture=shared.get(ARCH_LABEL, node.architecture),
    )


def new_node(desired: Desired, *, carried: Mapping[str, str] | None = None) -> dict[str, JSON]:
    """The Node object to create, status included (the Node API takes it on create).

    `carried`: further annotations, of the Node object that was there before.
    """
    node = desired.node
    published = pool_labels(desired)
    notes = {**(carried or {}), **annotations(desired)}
    notes = {**notes, PUBLISHED_LABELS_ANNOTATION: ",".join(sorted(published))}
    taints = [*node.initial_taints]
    if not desired.reachable:
        taints.append(COMPUTE_UNREACHABLE_TAINT)
    quantities = resources(desired.capacity) if desired.capacity else {}
    times = {"lastHeartbeatTime": desired.now, "lastTransitionTime": desired.now}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": node.name,
            "labels": {**published, **fixed_labels(desired)},
            "annotations": {key: note for key, note in notes.items() if note is not None},
        },
        "spec": {"providerID": node.provider_id, "taints": [plain(taint) for taint in taints]},
        "status": {
            "capacity": {**quantities},
            "allocatable": {**quantities},
            "conditions": [
                {**plain(condition), **times}
                for condition in conditions(reachable=desired.reachable, refused=desired.refused)
            ],
            "addresses": [plain(address) for address in addresses(node)],
            "daemonEndpoints": plain(daemon_endpoints(node)),
            "nodeInfo": plain(node_info(desired)),
            "declaredFeatures": [*(features(desired) or ())],
        },
    }


def plain(part: msgspec.Struct) -> dict[str, JSON]:
    """A part of a Node as the JSON object that the API takes."""
    value: dict[str, JSON] = msgspec.to_builtins(part)
    return value
