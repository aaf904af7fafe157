"""When a copy without tenant pod may be deleted (DESIGN 5, GC; DESIGN 7, Node object deleted).

In: copies whose tenant pod is not in our store. Out: leave to delete one, or the seconds after
which to ask again. A deletion below cannot be taken back, so all of this has to hold:

* it was seen twice, some seconds apart;
* the tenant's API server says itself that the pod is not there, and it is the API server of the
  cluster that we serve (a kubeconfig may have been exchanged under us);
* the copy is not older than its Node object: when a Node is deleted, its pods are collected without
  their users' wish, so their copies are held for `ORPHAN_GRACE`;
* not too many go at once.
"""

from collections import deque
from collections.abc import Callable

import structlog

from vnode.backend import ObservedPod
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

ORPHAN_GRACE = 3600.0
"""Seconds for which copies older than their Node object are held."""
_BETWEEN_SIGHTINGS = 2.0
_LATER = 60.0
_IDENTITY_SECONDS = 10.0
_WINDOW, _SHARE, _AT_LEAST = 60.0, 0.2, 50
"""At most this share of all copies (but at least so many) goes in one window of seconds."""


class OrphanGuard:
    """Gives leave to delete copies that have no tenant pod."""

    def __init__(
        self,
        client: KubeClient,
        *,
        cluster_uid: UID,
        node_born: Callable[[NodeName], str | None],
        copies: Callable[[], int],
        clock: Clock,
    ) -> None:
        """Wire it up.

        Args:
            client: of the tenant cluster.
            cluster_uid: UID of its kube-system namespace, as read at the start.
            node_born: creationTimestamp of a virtual node's Node object; None: not known yet.
            copies: how many copies there are below.
            clock: of the agent.
        """
        self._client = client
        self._cluster_uid = cluster_uid
        self._node_born = node_born
        self._copies = copies
        self._clock = clock
        self._sighted: dict[ObjectKey, tuple[str, float]] = {}
        self._deleted: deque[float] = deque()
        self._identified_at = float("-inf")

    def cleared(self, key: ObjectKey) -> None:
        """The copy of that name has its tenant pod, or is gone."""
        self._sighted.pop(key, None)

    async def wait(self, copy: ObservedPod) -> float:
        """Seconds to wait before the copy may be deleted; 0: now.

        Raises:
            KubeError: the tenant's API server did not answer.
        """
        now = self._clock.monotonic()
        handle, since = self._sighted.setdefault(copy.key, (copy.handle, now))
        if handle != copy.handle:
            since = now
            self._sighted[copy.key] = (copy.handle, since)
        if now - since < _BETWEEN_SIGHTINGS:
            return _BETWEEN_SIGHTINGS - (now - since) + 0.01
        if (held := self._held(copy)) > 0:
            _LOG.warning("copy older than its Node is held", pod=str(copy.key), seconds=round(held))
            return min(held, ORPHAN_GRACE)
        if not await self._is_our_tenant(now):
            _LOG.error("the tenant API server is another cluster's; nothing is deleted below")
            return _LATER
        if await self._exists(copy):
            return _LATER  # Our watch is behind, or the pod is not bound to our node.
        if not self._within_share(now):
            _LOG.warning("many copies without tenant pod; the rest has to wait")
            return _WINDOW
        self._sighted.pop(copy.key, None)
        return 0.0

    def _held(self, copy: ObservedPod) -> float:
        born = self._node_born(copy.node)
        if born is None:
            return _BETWEEN_SIGHTINGS
        node, made = parse(born), parse(copy.made_at) if copy.made_at else None
        if made is None or made >= node:
            return 0.0
        return node + ORPHAN_GRACE - (self._clock.time() + self._client.clock_offset)

    async def _is_our_tenant(self, now: float) -> bool:
        if now - self._identified_at < _IDENTITY_SECONDS:
            return True
        system = await self._client.get(NAMESPACES, PartialObject, name="kube-system")
        if system.metadata.uid != self._cluster_uid:
            return False
        self._identified_at = now
        return True

    async def _exists(self, copy: ObservedPod) -> bool:
        try:
            live = await self._client.get(
                PODS, PartialObject, name=copy.key.name, namespace=copy.key.namespace
            )
        except NotFound:
            return False
        return live.metadata.uid == copy.uid

    def _within_share(self, now: float) -> bool:
        while self._deleted and now - self._deleted[0] > _WINDOW:
            self._deleted.popleft()
        if len(self._deleted) >= max(_AT_LEAST, _SHARE * self._copies()):
            return False
        self._deleted.append(now)
        return True
