"""When what is known of the fence lists is new enough to make a pod's copy.

In: calls before a copy is made, the answers to our own writes, and which lists we alone write. Out:
the store of Nodes, brought up to date by live reads where that is needed. A Node that was there and
is missing, and an API server that does not answer, are errors: the pod waits.

**Claim.** When `newer_than(m)` returns, with m a moment at which pod S existed, the store has every
fence that was in force when S was made, of a pod that had S's name before.

1. Order of the writes (`vnode.pods.partition.cut_off`, rules in `vnode.pods.lifecycle`): fence F of
   pod P is in the API server before P is written Failed or let go, so before P's name is free, so
   before S exists: F < free < S <= m. Each of these is answered before the next one is sent.
2. A read without resourceVersion is answered by a quorum of etcd with all that was written before
   it was sent (Kubernetes API concepts, "Resource versions"; the store never goes back to an older
   state, so a late watch event cannot undo it). Hence a read of P's Node that was sent at or after
   m shows F. That is what is asked of Nodes whose lists other replicas write.
3. Nodes that this process serves need one read for each time that it leads. While its Lease is
   valid nobody else frees a name there. A name that we free ourselves is free after our store has
   F (a pod is given up only if the store shows its fence), one that was free before we led has F
   in the list that we read after we got the Lease.
4. A write of ours that is not answered (well) makes 3 doubtful, until a read or another answer: an
   answer to a write is as good as one to a read that was sent when the write was.

Not in the claim:

- A name that somebody frees by force (`kubectl delete --force`) before F is written. Users' own
  word that nothing runs, and no reader can know better.
- Nodes that a replica's configuration does not name. While a change that adds a compute cluster
  goes from replica to replica, one with the old configuration does not know that there is a new
  Node, and so not its fences.

Cost: nothing where one replica serves all virtual nodes; else one GET for each Node of the others
for all pods that came before it was sent, and at most one in `SPACING` seconds. A burst of pods
shares one.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, KubeError, NotFound
from vnode.kube.resources import NODES
from vnode.kube.types import NodeName, ObjectKey, PartialObject
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store

__all__ = ["SPACING", "FenceReads", "ListForbidden"]

_LOG = structlog.get_logger(__name__)

SPACING = 0.2
"""Seconds between two reads of one Node."""


class ListForbidden(KubeError):
    """We may not read a virtual node of the configuration."""

    def __init__(self, node: NodeName) -> None:
        super().__init__(f"not allowed to read node {node}, which has a list of fenced pods")
        self.node = node


@dataclass(frozen=True, slots=True)
class _Tenure:
    """A time in which this process alone writes a list."""

    began: float
    lasts: Callable[[], bool]


class FenceReads:
    """Knows how new the Nodes in a store are; see the module."""

    def __init__(
        self,
        client: KubeClient,
        nodes: Store[PartialObject],
        *,
        ours: Iterable[NodeName],
        left: Iterable[NodeName],
        clock: Clock,
    ) -> None:
        """Keep `nodes`, which a watch fills too, new enough.

        Args:
            client: of the tenant.
            nodes: the virtual nodes.
            ours: names of the virtual nodes in the configuration.
            left: names of those that left it. Nobody makes such a Node again: one that is missing
                has no fences any more; of one that may not be read (rights may be pinned to the
                names of the configuration) what was known goes on to count.
            clock: gives the moments.
        """
        self._client = client
        self._nodes = nodes
        self._ours = frozenset(ours)
        self._left = frozenset(left) - self._ours
        self._clock = clock
        self._seen: set[NodeName] = set()
        self._known_at: dict[NodeName, float] = {}
        """When the newest call was sent by whose answer we know a Node's list."""
        self._sent_at: dict[NodeName, float] = {}
        self._forbidden: set[NodeName] = set()
        self._tenures: dict[NodeName, _Tenure] = {}
        self._locks: defaultdict[NodeName, asyncio.Lock] = defaultdict(asyncio.Lock)
        for node in nodes.values():
            self._seen.add(NodeName(node.metadata.name))
        nodes.subscribe(self._changed)

    @contextmanager
    def kept(self, names: Iterable[NodeName], *, lasts: Callable[[], bool]) -> Iterator[None]:
        """We alone write these lists, from now on and as long as `lasts()`."""
        tenures = {name: _Tenure(self._clock.monotonic(), lasts) for name in names}
        self._tenures.update(tenures)
        try:
            yield
        finally:
            for name in tenures:
                self._tenures.pop(name, None)

    async def newer_than(self, moment: float) -> None:
        """Have the store show all fences that were written before `moment` (monotonic).

        Raises:
            NotFound: a virtual node that was there is missing; whoever leads makes it again.
            ListForbidden: a virtual node of the configuration may not be read.
            KubeError: the API server did not answer.
        """
        while old := [n for n in sorted(self._ours | self._left) if not self._is_new(n, moment)]:
            reads = (self._shared_read(name, moment) for name in old)
            for failed in await asyncio.gather(*reads, return_exceptions=True):
                if failed is not None:
                    raise failed

    def _is_new(self, name: NodeName, moment: float) -> bool:
        tenure = self._tenures.get(name)
        if tenure is not None and tenure.lasts():
            moment = tenure.began
        return self._known_at.get(name, -math.inf) >= moment

    async def _shared_read(self, name: NodeName, moment: float) -> None:
        async with self._locks[name]:
            if self._is_new(name, moment):
                return  # Somebody's who waited before us.
            early = self._sent_at.get(name, -math.inf) + SPACING - self._clock.monotonic()
            if early > 0:
                await self._clock.sleep(early)
            sent = self._clock.monotonic()
            try:
                await self.read(name)
            except NotFound:
                if name in self._ours and name in self._seen:
                    raise
                # It never was there, or went for good. Others may have sent later reads meanwhile.
                self._known_at[name] = max(sent, self._known_at.get(name, -math.inf))
            except Forbidden as refused:
                if name not in self._left:
                    raise ListForbidden(name) from refused
                self._cannot_follow(name)
                self._known_at[name] = max(sent, self._known_at.get(name, -math.inf))
            else:
                self._forbidden.discard(name)

    def _cannot_follow(self, name: NodeName) -> None:
        """Nobody would ever give that right back, and all pods of the tenant would wait."""
        if name not in self._forbidden:
            self._forbidden.add(name)
            _LOG.warning(
                "not allowed to read a node that left the configuration: pods that are given up "
                "there from now on hold no successors",
                node=name,
            )

    async def read(self, name: NodeName) -> PartialObject:
        """Read a Node live, into the store. Raises KubeError."""
        sent = self._sent_at[name] = self._clock.monotonic()
        try:
            node = await self._client.get(NODES, PartialObject, name=name)
        except NotFound:
            self._nodes.remove(ObjectKey("", name))
            raise
        self.answered(node, sent)
        return node

    def written(self, name: NodeName) -> float:
        """A write of a list is about to be sent: until it is answered well, the list is unknown.

        Returns the moment, for `answered`.
        """
        self._known_at.pop(name, None)
        return self._clock.monotonic()

    def answered(self, node: PartialObject, sent: float) -> None:
        """Take the answer to a call that was sent then."""
        name = NodeName(node.metadata.name)
        self._nodes.upsert(node, scope=str(name))
        self._known_at[name] = max(sent, self._known_at.get(name, -math.inf))

    def _changed(self, change: Change[PartialObject]) -> None:
        if change.new is not None:
            self._seen.add(NodeName(change.key.name))
