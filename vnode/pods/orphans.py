"""When a copy without tenant pod may be deleted (DESIGN 5, GC; DESIGN 7, Node object deleted).

In: copies whose tenant pod is not in our store. Out: leave to delete one, or the seconds after
which to ask again. A deletion below cannot be taken back, so all of this has to hold:

* it was seen twice, some seconds apart;
* the tenant's API server says itself that the pod is not there, and it is the API server of the
  cluster that we serve (a kubeconfig may have been exchanged under us);
* the copy is not older than its Node object: when a Node is deleted, its pods are collected without
  their users' wish, so their copies are held for `ORPHAN_GRACE`;
* not too many go at once.

A copy that is held may be held for long, or for ever (its virtual node left the configuration): it
is asked about ever more rarely, and its reason is logged when it changes.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from vnode.backend import ObservedPod
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

ORPHAN_GRACE = 3600.0
"""Seconds for which copies older than their Node object are held."""
_BETWEEN_SIGHTINGS = 2.0
_LATER = 60.0
_IDENTITY_SECONDS = 10.0
_WINDOW, _SHARE, _AT_LEAST = 60.0, 0.2, 50
"""At most this share of all copies (but at least so many) goes in one window of seconds."""


@dataclass(slots=True)
class _Sighting:
    """What is remembered of one copy without tenant pod."""

    handle: str
    since: float
    """Monotonic time of its first sighting."""
    backoff: Backoff
    """Between looks for its Node."""
    told: str = ""
    """Why it is held, as it was logged."""

    def tell(self, why: str, copy: ObservedPod, **more: str | int) -> None:
        """Log why it is held, if that is news."""
        if self.told != why:
            self.told = why
            _LOG.warning(why, pod=str(copy.key), uid=copy.uid, node=copy.node, **more)


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
        rng: random.Random,
    ) -> None:
        """Wire it up.

        Args:
            client: of the tenant cluster.
            cluster_uid: UID of its kube-system namespace, as read at the start.
            node_born: creationTimestamp of a virtual node's Node object; None: not known yet.
            copies: how many copies there are below.
            clock: of the agent.
            rng: for jitter.
        """
        self._client = client
        self._cluster_uid = cluster_uid
        self._node_born = node_born
        self._copies = copies
        self._clock = clock
        self._rng = rng
        self._sighted: dict[ObjectKey, _Sighting] = {}
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
        sighting = self._sight(copy, now)
        if now - sighting.since < _BETWEEN_SIGHTINGS:
            return _BETWEEN_SIGHTINGS - (now - sighting.since) + 0.01
        if (born := self._node_born(copy.node)) is None:
            sighting.tell(
                "copy without tenant pod is held: its virtual node has no Node object",
                copy,
                advice="serve that virtual node again, or delete the copy in the compute cluster",
            )
            return sighting.backoff.next()
        if (held := self._held(copy, born)) > 0:
            why = "copy without tenant pod is held: it is older than its Node object"
            sighting.tell(why, copy, seconds=round(held))
            return min(held, ORPHAN_GRACE)
        if not await self._is_our_tenant(now):
            sighting.tell("nothing is deleted below: the tenant is another cluster now", copy)
            return _LATER
        if await self._exists(copy):
            return _LATER  # Our watch is behind, or the pod is not bound to our node.
        if not self._within_share(now):
            sighting.tell("many copies without tenant pod; the rest has to wait", copy)
            return _WINDOW
        self._sighted.pop(copy.key, None)
        return 0.0

    def _sight(self, copy: ObservedPod, now: float) -> _Sighting:
        sighting = self._sighted.get(copy.key)
        if sighting is None or sighting.handle != copy.handle:
            backoff = Backoff(_BETWEEN_SIGHTINGS, _LATER, rng=self._rng)
            sighting = self._sighted[copy.key] = _Sighting(copy.handle, now, backoff)
        return sighting

    def _held(self, copy: ObservedPod, born: str) -> float:
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
