"""When a copy without tenant pod may be deleted (DESIGN 5, GC; DESIGN 7, Node object deleted).

In: copies whose tenant pod is not in our store. Out: leave to delete one, or the seconds after
which to ask again. A deletion below cannot be taken back, so all of this has to hold:

* it was seen twice, some seconds apart;
* the tenant's API server says itself that the pod is not there, and it is the API server of the
  cluster that we serve (a kubeconfig may have been exchanged under us);
* the copy is not older than its Node object, and pod garbage collection did not delete its tenant
  pod: then no user wished so, and it is held for `orphanGrace`;
* not too many go at once.

A copy that is held may be held for long, or for ever (its virtual node left the configuration): it
is asked about ever more rarely, its reason is logged when it changes, and counted (`HeldReason`).
`vnode gc` lists what is held, and deletes it when somebody says so.

What pod garbage collection deleted is remembered for as long as this agent lives. After a restart
the age of the Node tells: it gives that reason to pods whose Node has not been there for 40 s
(gc_controller.go, gcOrphaned), so the Node that is there now is younger than their copies.
"""

import enum
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from vnode.backend import ObservedPod
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject, Pod
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

ORPHAN_GRACE = 3600.0
"""Seconds for which copies whose users did not wish them away are held, by default."""
_BETWEEN_SIGHTINGS = 2.0
_LATER = 60.0
_IDENTITY_SECONDS = 10.0
_WINDOW, _SHARE, _AT_LEAST = 60.0, 0.2, 50
"""At most this share of all copies (but at least so many) goes in one window of seconds."""


class HeldReason(enum.StrEnum):
    """Why a copy without tenant pod is not deleted."""

    NODE_MISSING = "NodeMissing"
    """Its virtual node has no Node object."""
    NODE_RECREATED = "NodeRecreated"
    """It is older than its Node object, with which its tenant pod may have gone."""
    POD_GC = "DeletionByPodGC"
    """Pod garbage collection deleted its tenant pod."""
    OTHER_TENANT = "OtherTenant"
    """The tenant's API server is another cluster's."""
    TOO_MANY = "TooMany"
    """Others went just now."""


def held_for_node(made_at: str | None, born: str | None, *, grace: float) -> float:
    """Until which Unix second a copy is held for the sake of its Node; 0: it is not. Pure.

    Args:
        made_at: RFC 3339 time at which the copy was made.
        born: the same of its Node object; None: there is none, and it is held for ever.
        grace: `orphanGrace` in seconds.
    """
    if born is None:
        return math.inf
    node, made = parse(born), parse(made_at) if made_at else None
    return 0.0 if made is None or made >= node else node + grace


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    reason: str = ""


class _Status(msgspec.Struct, frozen=True):
    conditions: list[_Condition] = []


_STATUS = msgspec.json.Decoder(_Status)
_COLLECTED = _Condition("DisruptionTarget", "True", "DeletionByPodGC")


@dataclass(slots=True)
class _Sighting:
    """What is remembered of one copy without tenant pod."""

    handle: str
    since: float
    """Monotonic time of its first sighting."""
    backoff: Backoff
    """Between looks for its Node."""
    held: HeldReason | None = None
    """Why it is held, as it was logged."""


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
        grace: float = ORPHAN_GRACE,
        report: Callable[[Mapping[str, int]], None] = lambda _counts: None,
    ) -> None:
        """Wire it up.

        Args:
            client: of the tenant cluster.
            cluster_uid: UID of its kube-system namespace, as read at the start.
            node_born: creationTimestamp of a virtual node's Node object; None: not known yet.
            copies: how many copies there are below.
            clock: of the agent.
            rng: for jitter.
            grace: `orphanGrace` in seconds.
            report: told how many copies are held for each `HeldReason`, whenever that changes.
        """
        self._grace = grace
        self._report = report
        self._held: Counter[HeldReason] = Counter()
        self._collected: dict[UID, float] = {}
        """Tenant pods that pod garbage collection deleted, oldest first, and when."""
        self._client = client
        self._cluster_uid = cluster_uid
        self._node_born = node_born
        self._copies = copies
        self._clock = clock
        self._rng = rng
        self._sighted: dict[ObjectKey, _Sighting] = {}
        self._deleted: dict[str, float] = {}
        """Copies that had leave lately, oldest first, and when."""
        self._identified_at = float("-inf")

    def pod_went(self, pod: Pod) -> None:
        """A tenant pod is gone; this was its last state."""
        conditions = _STATUS.decode(pod.status).conditions
        if _COLLECTED not in conditions:
            return
        now = self._clock.monotonic()
        for uid, at in list(self._collected.items()):
            if now - at < self._grace:
                break
            del self._collected[uid]
        self._collected[pod.metadata.uid] = now

    def cleared(self, key: ObjectKey) -> None:
        """The copy of that name has its tenant pod, or is gone."""
        if (sighting := self._sighted.pop(key, None)) is not None:
            self._count(sighting, None)

    async def wait(self, copy: ObservedPod) -> float:
        """Seconds to wait before the copy may be deleted; 0: now.

        Raises:
            KubeError: the tenant's API server did not answer.
        """
        now = self._clock.monotonic()
        sighting = self._sight(copy, now)
        if now - sighting.since < _BETWEEN_SIGHTINGS:
            return _BETWEEN_SIGHTINGS - (now - sighting.since) + 0.01
        if (held := self._held_for_node(copy)) == math.inf:
            self._tell(
                sighting,
                HeldReason.NODE_MISSING,
                copy,
                "copy without tenant pod is held: its virtual node has no Node object",
                advice="serve that virtual node again, or release the copy with: vnode gc",
            )
            return sighting.backoff.next()
        if held > 0:
            why = "copy without tenant pod is held: it is older than its Node object"
            self._tell(sighting, HeldReason.NODE_RECREATED, copy, why, seconds=round(held))
            return min(held, self._grace)
        if (held := self._collected.get(copy.uid, -math.inf) + self._grace - now) > 0:
            why = "copy without tenant pod is held: pod garbage collection deleted its tenant pod"
            self._tell(sighting, HeldReason.POD_GC, copy, why, seconds=round(held))
            return held
        if not await self._is_our_tenant(now):
            why = "nothing is deleted below: the tenant is another cluster now"
            self._tell(sighting, HeldReason.OTHER_TENANT, copy, why)
            return _LATER
        if await self._exists(copy):
            return _LATER  # Our watch is behind, or the pod is not bound to our node.
        if not self._within_share(copy.handle, now):
            why = "many copies without tenant pod; the rest has to wait"
            self._tell(sighting, HeldReason.TOO_MANY, copy, why)
            return _WINDOW
        self.cleared(copy.key)
        return 0.0

    def not_deleted(self, copy: ObservedPod) -> None:
        """It had leave, and its deletion was certainly not carried out: another may go instead."""
        self._deleted.pop(copy.handle, None)

    def _tell(
        self,
        sighting: _Sighting,
        held: HeldReason,
        copy: ObservedPod,
        why: str,
        **more: str | int,
    ) -> None:
        """Log why a copy is held, and count it, if that is news."""
        if sighting.held is not held:
            self._count(sighting, held)
            _LOG.warning(why, pod=str(copy.key), uid=copy.uid, node=copy.node, **more)

    def _count(self, sighting: _Sighting, held: HeldReason | None) -> None:
        if sighting.held is held:
            return
        if sighting.held is not None:
            self._held[sighting.held] -= 1
        if held is not None:
            self._held[held] += 1
        sighting.held = held
        self._report({reason.value: self._held[reason] for reason in HeldReason})

    def _sight(self, copy: ObservedPod, now: float) -> _Sighting:
        sighting = self._sighted.get(copy.key)
        if sighting is None or sighting.handle != copy.handle:
            self.cleared(copy.key)
            backoff = Backoff(_BETWEEN_SIGHTINGS, _LATER, rng=self._rng)
            sighting = self._sighted[copy.key] = _Sighting(copy.handle, now, backoff)
        return sighting

    def _held_for_node(self, copy: ObservedPod) -> float:
        """Seconds."""
        until = held_for_node(copy.made_at, self._node_born(copy.node), grace=self._grace)
        return until - (self._clock.time() + self._client.clock_offset) if until else 0.0

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

    def _within_share(self, handle: str, now: float) -> bool:
        """Whether one more may go now. Who had leave lately and comes again counts once."""
        while self._deleted and now - self._deleted[first := next(iter(self._deleted))] > _WINDOW:
            del self._deleted[first]
        others = len(self._deleted) - (handle in self._deleted)
        if others >= max(_AT_LEAST, _SHARE * self._copies()):
            return False
        self._deleted.pop(handle, None)  # Its place is by the newest time.
        self._deleted[handle] = now
        return True
