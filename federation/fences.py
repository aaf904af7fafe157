"""The fence lists of a tenant for administrators: all entries, and letting go of one.

In: a client of the tenant cluster, with the right to list Nodes (and to patch them, to accept).
Out: entries with their Nodes, and the Nodes whose list cannot be read, which is left as it is; or
the mark `accepted` in the lists that have a pod name, written on the condition that the Node did
not change meanwhile.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NODES
from vnode.kube.types import NodeName, ObjectKey, PartialObject
from vnode.node.status import CLUSTER_LABEL
from vnode.pods.partition.fence_list import FENCED, Fence, decode, encode

__all__ = ["Found", "Listed", "accept", "list_fences"]

_TRIES = 5


@dataclass(frozen=True, slots=True)
class Listed:
    """A fence, and the Node that has it."""

    node: NodeName
    fence: Fence


@dataclass(frozen=True, slots=True)
class Found:
    """What the lists say."""

    fences: list[Listed]
    unreadable: list[NodeName]
    """Nodes whose lists cannot be read: no pod starts before they can."""


async def list_fences(client: KubeClient) -> Found:
    """All fences of all virtual nodes, the oldest first. Raises KubeError."""
    nodes = await _nodes(client)
    found = [one for node in nodes for one in _listed(node) or ()]
    found.sort(key=lambda one: (one.fence.since, one.fence.key))
    return Found(found, _unreadable(nodes))


async def accept(client: KubeClient, key: ObjectKey) -> Found:
    """Say that nobody needs to wait for a pod name; returns its fences, none where there is none.

    Raises:
        Conflict: the Nodes change faster than they can be written.
        KubeError: anything else.
    """
    for left in reversed(range(_TRIES)):
        try:
            nodes = await _nodes(client)
            found = [one for node in nodes for one in await _accept(client, node, key)]
            return Found(found, _unreadable(nodes))
        except Conflict:
            if not left:
                raise
    raise AssertionError("unreachable")


async def _accept(client: KubeClient, node: PartialObject, key: ObjectKey) -> list[Listed]:
    before = _listed(node) or []
    after = [_accepted(one) if one.fence.key == key else one for one in before]
    if after != before:
        metadata = {
            "uid": node.metadata.uid,
            "resourceVersion": node.metadata.resource_version,
            "annotations": {FENCED: encode(one.fence for one in after)},
        }
        await client.patch(NODES, {"metadata": metadata}, PartialObject, name=node.metadata.name)
    return [one for one in after if one.fence.key == key]


def _accepted(one: Listed) -> Listed:
    return replace(one, fence=replace(one.fence, accepted=True))


async def _nodes(client: KubeClient) -> list[PartialObject]:
    selection = Selection(NODES, label_selector=CLUSTER_LABEL, metadata_only=True)
    pages = list_pages(client, selection, PartialObject)
    return [node async for page in pages for node in page.items or ()]


def _unreadable(nodes: Iterable[PartialObject]) -> list[NodeName]:
    return [NodeName(node.metadata.name) for node in nodes if _listed(node) is None]


def _listed(node: PartialObject) -> list[Listed] | None:
    """None: its list cannot be read."""
    name = NodeName(node.metadata.name)
    try:
        return [Listed(name, one) for one in decode(node.metadata.annotations.get(FENCED, ""))]
    except ValueError:
        return None
