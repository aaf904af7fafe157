"""Which pods use a claim now.

In: tenant pods on virtual nodes where claims go through Fluid, and copies of pods. Out: for each
claim the pods that want it, and calls to a listener when that changes. A tenant pod wants its
claims until it ends or is being deleted; a copy has them until its own containers have ended,
whatever became of its tenant pod. Memory only: both stores are rebuilt by watches.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Generic, TypeVar

import msgspec

from federation.backends.kubernetes.claims import claim_names
from federation.backends.kubernetes.injection import claims_in_use
from vnode.backend import ObservedPod
from vnode.kube.types import NodeName, ObjectKey, Pod
from vnode.runtime.store import Change, Store

_ENDED = frozenset({"Succeeded", "Failed"})


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Status(msgspec.Struct, frozen=True):
    phase: str = ""


_SPEC = msgspec.json.Decoder(_Spec)
_STATUS = msgspec.json.Decoder(_Status)
V = TypeVar("V")


class _Users(Generic[V]):
    """Who has which claims, by pod and by claim."""

    def __init__(self) -> None:
        self._claims: dict[ObjectKey, frozenset[ObjectKey]] = {}
        self._pods: dict[ObjectKey, dict[ObjectKey, V]] = {}

    def of(self, claim: ObjectKey) -> Collection[V]:
        return tuple(self._pods.get(claim, {}).values())

    def put(self, pod: ObjectKey, claims: Iterable[ObjectKey], value: V) -> Iterable[ObjectKey]:
        """This pod has these claims now; returns those for which that is news."""
        now = frozenset(claims)
        gone = self._take(pod, keep=now)
        if now:
            self._claims[pod] = now
        news = [claim for claim in now if pod not in self._pods.get(claim, {})]
        for claim in now:
            self._pods.setdefault(claim, {})[pod] = value
        return [*gone, *news]

    def drop(self, pod: ObjectKey) -> Iterable[ObjectKey]:
        """This pod has no claims any more; returns those that it had."""
        return self._take(pod, keep=frozenset())

    def _take(self, pod: ObjectKey, *, keep: frozenset[ObjectKey]) -> Iterable[ObjectKey]:
        gone = self._claims.pop(pod, frozenset()) - keep
        for claim in gone:
            users = self._pods[claim]
            del users[pod]
            if not users:
                del self._pods[claim]
        return gone


class Uses:
    """Who uses which claim."""

    def __init__(
        self, *, nodes: Collection[NodeName], changed: Callable[[ObjectKey], None]
    ) -> None:
        """`nodes`: virtual nodes where claims go through Fluid; `changed`: told of each claim."""
        self._nodes = nodes
        self._changed = changed
        self._wanted: _Users[Pod] = _Users()
        self._mounted: _Users[None] = _Users()

    def follow_pods(self, pods: Store[Pod]) -> None:
        """Count the tenant's pods; the store is still empty."""
        pods.subscribe(self._pod_changed)

    def follow_copies(self, copies: Store[Pod], read: Callable[[Pod], ObservedPod | None]) -> None:
        """Count copies; `read`: what a pod below is to the tenant. The store is still empty."""
        copies.subscribe(lambda change: self._copy_changed(change, read))

    def wanted_by(self, claim: ObjectKey) -> Collection[Pod]:
        """Tenant pods that want a claim."""
        return self._wanted.of(claim)

    def is_mounted(self, claim: ObjectKey) -> bool:
        """Whether a copy has it, and may be reading."""
        return bool(self._mounted.of(claim))

    def any(self, claim: ObjectKey) -> bool:
        """Whether anybody needs it."""
        return bool(self._wanted.of(claim)) or self.is_mounted(claim)

    def _pod_changed(self, change: Change[Pod]) -> None:
        pod = change.new
        if pod is None:
            self._tell(self._wanted.drop(change.key))
        else:
            self._tell(self._wanted.put(change.key, self._wants(pod), pod))

    def _copy_changed(self, change: Change[Pod], read: Callable[[Pod], ObservedPod | None]) -> None:
        copy = read(change.new) if change.new is not None else None
        claims: Iterable[ObjectKey] = ()
        if copy is not None and change.new is not None and not _has_ended(copy.status):
            names = claims_in_use(change.new.metadata)
            claims = [ObjectKey(copy.key.namespace, name) for name in names]
        self._tell(self._mounted.put(change.key, claims, None))

    def _tell(self, claims: Iterable[ObjectKey]) -> None:
        for claim in claims:
            self._changed(claim)

    def _wants(self, pod: Pod) -> Iterable[ObjectKey]:
        if pod.metadata.deletion_timestamp is not None or _has_ended(bytes(pod.status)):
            return ()
        if _SPEC.decode(pod.spec).node_name not in self._nodes:
            return ()
        return [ObjectKey(pod.metadata.namespace, name) for name in claim_names(pod.spec)]


def _has_ended(status: bytes) -> bool:
    return _STATUS.decode(status).phase in _ENDED
