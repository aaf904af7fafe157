"""Builders for virtual nodes and Node objects, and time that is easy to read."""

import msgspec

from vnode.backend import Capacity
from vnode.kube.types import JSON, NodeName
from vnode.node.objects import Node, Taint
from vnode.node.spec import VirtualNode
from vnode.node.status import Desired, new_node

NAME = NodeName("vnode-gpu")
THEN = "2027-01-15T08:00:00Z"
NOW = "2027-01-15T08:01:00Z"


def make_virtual_node(
    *,
    address: str = "10.0.0.7",
    port: int = 10250,
    labels: dict[str, str] | None = None,
    taints: tuple[Taint, ...] | None = None,
    name: str = NAME,
    cluster: str = "gpu",
    pool: str = "a100",
    declared_features: tuple[str, ...] | None = None,
) -> VirtualNode:
    return VirtualNode(
        name=NodeName(name),
        tenant="team-a",
        cluster=cluster,
        pool=pool,
        address=address,
        port=port,
        version="v1.36.3+vnode",
        labels=labels or {},
        taints=taints,
        declared_features=declared_features,
    )


def make_capacity(
    labels: dict[str, str] | None = None,
    largest_free: dict[str, str] | None = None,
    features: tuple[str, ...] | None = None,
    **resources: str,
) -> Capacity:
    allocatable = resources or {"cpu": "64", "memory": "256Gi", "pods": "110"}
    return Capacity(
        allocatable=allocatable,
        labels=labels or {},
        largest_free=largest_free or {},
        features=features,
    )


def make_desired(
    node: VirtualNode | None = None,
    *,
    capacity: Capacity | None = None,
    unknown_capacity: bool = False,
    reachable: bool = True,
    websockets: bool = False,
    now: str = NOW,
) -> Desired:
    return Desired(
        node=node or make_virtual_node(),
        capacity=None if unknown_capacity else capacity or make_capacity(),
        reachable=reachable,
        websockets=websockets,
        now=now,
    )


def node_json(desired: Desired | None = None, *, uid: str = "uid-1") -> dict[str, JSON]:
    """A Node as the API server shows it after we created it."""
    body = new_node(desired or make_desired(now=THEN))
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    body["metadata"] = {**metadata, "uid": uid, "resourceVersion": "5"}
    return body


def decode_node(body: dict[str, JSON]) -> Node:
    return msgspec.convert(body, Node)


def make_node(desired: Desired | None = None, *, uid: str = "uid-1") -> Node:
    return decode_node(node_json(desired, uid=uid))
