"""Writes the fence lists of the virtual nodes that this replica serves.

In: pods to be fenced (`add`), if they still are when it is written, and fences whose copies are
confirmed gone (`drop`), from reconcilers, which never wait. Out: patches of the Nodes' annotation,
each conditional on UID and resourceVersion: the command `vnode fence` writes the same annotation,
and so may the replica that led before. What comes within a moment goes in one patch, so a thousand
pods cost a few. A fence counts when `Fences` has it: by the API server's answer, or by the watch.
"""

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, Invalid, KubeError
from vnode.kube.resources import NODES
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.pods.partition.fence_list import FENCED, MOST_BYTES, Fence, decode, encode, size
from vnode.pods.partition.fences import Fences
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

__all__ = ["FenceKeeper"]

_LOG = structlog.get_logger(__name__)
_GATHER = 0.1
"""Seconds; pods that are given up at once come within a moment of each other."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    fence: Fence
    still: Callable[[], bool]


class FenceKeeper:
    """Owns the fence lists of some virtual nodes."""

    def __init__(
        self,
        client: KubeClient,
        fences: Fences,
        *,
        nodes: Iterable[NodeName],
        clock: Clock,
        rng: random.Random,
        count: Callable[[NodeName, int], None] = lambda _node, _count: None,
    ) -> None:
        """Wire it up; `count` is told how long a node's list has become."""
        self._client = client
        self.fences = fences
        self.nodes = frozenset(nodes)
        self._clock = clock
        self._rng = rng
        self._count = count
        self._adds: dict[NodeName, dict[UID, _Wanted]] = {node: {} for node in self.nodes}
        self._drops: dict[NodeName, set[UID]] = {node: set() for node in self.nodes}
        self.refused: dict[NodeName, str] = {}
        """Why a node's list could not be written the last time, where trying again is no help."""
        self._wake = asyncio.Event()

    def add(self, node: NodeName, fence: Fence, *, still: Callable[[], bool]) -> bool:
        """Fence a pod soon, unless it is not `still` to be given up then; False: the list is full.

        The API server may not take the list for long, and the link be back meanwhile.
        """
        adds = self._adds[node]
        if fence.uid not in adds:
            known = self._annotation(self._shown(node))
            waiting = sum(size(wanted.fence) for wanted in adds.values())
            if len(known) + waiting + size(fence) > MOST_BYTES:
                return False
            adds[fence.uid] = _Wanted(fence, still)
        self._wake.set()
        return True

    def drop(self, node: NodeName, uid: UID) -> None:
        """Take a fence out soon."""
        self._drops[node].add(uid)
        self._wake.set()

    def carried(self, node: NodeName) -> dict[str, str]:
        """The annotation, for a Node object that is made again; what cannot be read as it was."""
        if (text := self.fences.unreadable.get(node)) is not None:
            return {FENCED: text}
        fences = self.fences.on(node)
        return {FENCED: encode(fences)} if fences else {}

    async def run(self) -> None:
        """Write until cancelled."""
        retry = Backoff(0.25, 10.0, rng=self._rng)
        for node in self.nodes:
            self._count(node, len(self.fences.on(node)))
        while True:
            await self._wake.wait()
            await self._clock.sleep(_GATHER)
            self._wake.clear()
            try:
                for node in self.nodes:
                    if self._adds[node] or self._drops[node]:
                        await self._write(node)
            except KubeError as error:
                _LOG.warning("fence list not written", why=str(error))
                self._wake.set()
                await self._clock.sleep(retry.next())
            else:
                retry.reset()

    async def _write(self, name: NodeName) -> None:
        """Bring one list up to date.

        Raises:
            KubeError: what is left is to be tried again.
        """
        node = self._shown(name) or await self.fences.reads.read(name)
        adds, drops = self._still_wanted(name), set(self._drops[name])
        try:
            listed = {fence.uid: fence for fence in decode(self._annotation(node))}
        except ValueError:
            # Somebody's edit: nothing is fenced, so nobody is given up, until it is put right.
            _LOG.error("fence list cannot be read", node=name, annotation=FENCED)
            self._refuse(name, f"annotation {FENCED} of the node cannot be read")
            return
        wanted = {**adds, **listed}  # One that is listed may have been accepted.
        wanted = {uid: fence for uid, fence in wanted.items() if uid not in drops}
        if wanted != listed:
            try:
                await self._patch(node, encode(wanted.values()) if wanted else None)
            except Conflict:
                await self.fences.reads.read(name)
                raise
            except Invalid as refused:
                # No room beside others' annotations: those pods wait.
                _LOG.error("fence list refused", node=name, why=refused.message)
                self._refuse(name, "the API server refuses it")
                return
        self.refused.pop(name, None)
        for uid in adds:
            self._adds[name].pop(uid, None)
        self._drops[name] -= drops
        self._count(name, len(wanted))
        _LOG.info("fence list", node=name, fenced=len(wanted), added=len(adds), dropped=len(drops))

    def _refuse(self, name: NodeName, why: str) -> None:
        self.refused[name] = why
        self._adds[name].clear()

    def _still_wanted(self, name: NodeName) -> dict[UID, Fence]:
        adds = self._adds[name]
        for uid in [uid for uid, wanted in adds.items() if not wanted.still()]:
            del adds[uid]
        return {uid: wanted.fence for uid, wanted in adds.items()}

    async def _patch(self, node: PartialObject, text: str | None) -> None:
        name, reads = NodeName(node.metadata.name), self.fences.reads
        metadata = {
            "uid": node.metadata.uid,
            "resourceVersion": node.metadata.resource_version,
            "annotations": {FENCED: text},
        }
        sent = reads.written(name)
        body = {"metadata": metadata}
        reads.answered(await self._client.patch(NODES, body, PartialObject, name=name), sent)

    def _shown(self, name: NodeName) -> PartialObject | None:
        return self.fences.nodes.get(ObjectKey("", name))

    @staticmethod
    def _annotation(node: PartialObject | None) -> str:
        return node.metadata.annotations.get(FENCED, "") if node is not None else ""
