"""What the fence lists of all virtual nodes of one tenant say, whoever leads them.

In: our Node objects as the tenant's API server shows them, one watch for each name, and live reads
where a watch could be behind (`vnode.pods.partition.fence_reads`). Out: the fences of a pod name,
and calls to listeners. Owned by the tenant; `vnode.pods.partition.fence_keeper` writes. The list of
a Node that is not there is remembered, as it comes back with its successor, unless it left the
configuration. A list that cannot be read (somebody edited it, or a newer agent wrote it) counts as
it was before, is said in the log, and is `unreadable`: what it says now nobody knows.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.pods.partition.fence_list import FENCED, Fence, decode, generated_from
from vnode.pods.partition.fence_reads import FenceReads
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store

__all__ = ["Fences"]

_LOG = structlog.get_logger(__name__)


class Fences:
    """The fence lists of all our virtual nodes."""

    def __init__(
        self,
        client: KubeClient,
        nodes: Store[PartialObject],
        *,
        ours: Collection[NodeName],
        left: Collection[NodeName] = (),
        clock: Clock,
    ) -> None:
        """Read `nodes`, which others fill, as it changes; for the others see `FenceReads`."""
        self.nodes = nodes
        self.reads = FenceReads(client, nodes, ours=ours, left=left, clock=clock)
        self._left = frozenset(left) - frozenset(ours)
        self._lists: dict[NodeName, Mapping[UID, Fence]] = {}
        self._unreadable: dict[NodeName, str] = {}
        self._generated: dict[NodeName, frozenset[ObjectKey | None]] = {}
        self._by_key: dict[ObjectKey, list[tuple[NodeName, Fence]]] = {}
        self._listeners: list[Callable[[NodeName, ObjectKey], None]] = []
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

    @property
    def unreadable(self) -> Mapping[NodeName, str]:
        """Lists that cannot be read, as they are written: anybody may be fenced there."""
        return self._unreadable

    def any_generated(self, node: NodeName, base: ObjectKey) -> bool:
        """Whether a pod there, of a name generated from that one, is fenced and not accepted."""
        return base in self._generated.get(node, ())

    def subscribe(self, listener: Callable[[NodeName, ObjectKey], None]) -> Callable[[], None]:
        """Call `listener` when a fence came, changed or went; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _changed(self, change: Change[PartialObject]) -> None:
        name = NodeName(change.key.name)
        if change.new is not None:
            self._take(change.new)
        elif name in self._left:
            self._unreadable.pop(name, None)
            self._have(name, ())

    def _take(self, node: PartialObject) -> None:
        name = NodeName(node.metadata.name)
        text = node.metadata.annotations.get(FENCED, "")
        try:
            fences = decode(text)
        except ValueError:
            if self._unreadable.get(name) != text:
                _LOG.error("fence list cannot be read", node=name, annotation=FENCED)
            self._unreadable[name] = text
            return
        if self._unreadable.pop(name, None) is not None:
            _LOG.info("fence list can be read again", node=name)
        self._have(name, fences)

    def _have(self, node: NodeName, fences: Collection[Fence]) -> None:
        before = self._lists.get(node, {})
        now = {fence.uid: fence for fence in fences}
        if now == before:
            return
        self._lists[node] = now
        waited_for = [fence.key for fence in fences if not fence.accepted]
        self._generated[node] = frozenset(map(generated_from, waited_for))
        changed = {
            fence.key
            for uid in before.keys() | now.keys()
            if before.get(uid) != now.get(uid)
            for fence in (before.get(uid), now.get(uid))
            if fence is not None
        }
        here: defaultdict[ObjectKey, list[tuple[NodeName, Fence]]] = defaultdict(list)
        for fence in fences:
            here[fence.key].append((node, fence))
        for key in changed:
            others = [found for found in self._by_key.pop(key, ()) if found[0] != node]
            if found := [*others, *here[key]]:
                self._by_key[key] = found
        for key in changed:
            for listener in list(self._listeners):
                listener(node, key)
