"""What the fence lists of all virtual nodes of one tenant say, whoever leads them.

In: our Node objects as the tenant's API server shows them, one watch for each name, and live reads
where a watch could be behind. Out: the fences of a pod name, and calls to listeners. Owned by the
tenant; `vnode.pods.partition.fence_keeper` writes. The list of a Node that is not there is
remembered, as it comes back with its successor; a list that cannot be read (somebody edited it)
counts as it was before, and is said in the log.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import NODES
from vnode.kube.types import UID, APIObject, NodeName, ObjectKey, ObjectMeta
from vnode.pods.partition.fence_list import FENCED, Fence, decode
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store

__all__ = ["FencedNode", "Fences"]

_LOG = structlog.get_logger(__name__)
_REACHABLE = "vnode.dev/ComputeReachable"


class _Condition(APIObject, frozen=True):
    type: str = ""
    status: str = ""


class _Status(APIObject, frozen=True):
    conditions: list[_Condition] = []


class FencedNode(APIObject, frozen=True):
    """v1.Node, as far as fences go."""

    metadata: ObjectMeta
    status: _Status = _Status()

    @property
    def name(self) -> NodeName:
        """metadata.name."""
        return NodeName(self.metadata.name)

    @property
    def cut_off(self) -> bool:
        """Whether its compute side is shown not to answer: only then fences are added."""
        return any(c.type == _REACHABLE and c.status == "False" for c in self.status.conditions)

    def __repr__(self) -> str:
        return f"FencedNode({self.metadata.name}, uid={self.metadata.uid})"


class Fences:
    """The fence lists of all our virtual nodes."""

    def __init__(self, client: KubeClient, nodes: Store[FencedNode], *, clock: Clock) -> None:
        """Read `nodes`, which others fill, as it changes."""
        self._client = client
        self.nodes = nodes
        self._clock = clock
        self._lists: dict[NodeName, Mapping[UID, Fence]] = {}
        self._by_key: dict[ObjectKey, list[tuple[NodeName, Fence]]] = {}
        self._listeners: list[Callable[[NodeName, ObjectKey], None]] = []
        self._locks: defaultdict[NodeName, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._read_at: dict[NodeName, float] = {}
        for node in nodes.values():
            self._take(node)
        nodes.subscribe(self._changed)

    def of(self, key: ObjectKey) -> tuple[tuple[NodeName, Fence], ...]:
        """Fences of that pod name, with their nodes."""
        return tuple(self._by_key.get(key, ()))

    def get(self, node: NodeName, uid: UID) -> Fence | None:
        """The fence of one pod."""
        return self._lists.get(node, {}).get(uid)

    def on(self, node: NodeName) -> tuple[Fence, ...]:
        """All fences of a virtual node."""
        return tuple(self._lists.get(node, {}).values())

    def subscribe(self, listener: Callable[[NodeName, ObjectKey], None]) -> Callable[[], None]:
        """Call `listener` when a fence came, changed or went; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def refresh(self, apart_from: Iterable[NodeName]) -> None:
        """Read the lists live that may have grown: of nodes whose compute side does not answer.

        A watch may be behind: a pod can be made again, and be brought here, before it tells that
        its predecessor was fenced. Whoever asks while a read is under way shares the next one.

        Raises:
            KubeError: the API server did not answer.
        """
        for node in list(self.nodes.values()):
            if node.cut_off and node.name not in apart_from:
                await self._read(node.name)

    async def _read(self, name: NodeName) -> None:
        asked = self._clock.monotonic()
        async with self._locks[name]:
            if self._read_at.get(name, asked - 1) >= asked:
                return
            began = self._clock.monotonic()
            with suppress(NotFound):  # It comes back with its list.
                node = await self._client.get(NODES, FencedNode, name=name)
                self.nodes.upsert(node, scope=str(name))
            self._read_at[name] = began

    def _changed(self, change: Change[FencedNode]) -> None:
        if change.new is not None:
            self._take(change.new)

    def _take(self, node: FencedNode) -> None:
        before = self._lists.get(node.name, {})
        try:
            fences = decode(node.metadata.annotations.get(FENCED, ""))
        except ValueError:
            _LOG.error("fence list cannot be read", node=node.name, annotation=FENCED)
            return
        now = {fence.uid: fence for fence in fences}
        if now == before:
            return
        self._lists[node.name] = now
        changed = {
            fence.key
            for uid in before.keys() | now.keys()
            if before.get(uid) != now.get(uid)
            for fence in (before.get(uid), now.get(uid))
            if fence is not None
        }
        here: defaultdict[ObjectKey, list[tuple[NodeName, Fence]]] = defaultdict(list)
        for fence in fences:
            here[fence.key].append((node.name, fence))
        for key in changed:
            others = [found for found in self._by_key.pop(key, ()) if found[0] != node.name]
            if found := [*others, *here[key]]:
                self._by_key[key] = found
        for key in changed:
            for listener in list(self._listeners):
                listener(node.name, key)
