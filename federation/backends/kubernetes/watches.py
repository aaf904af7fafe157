"""What the backend watches in a compute cluster, and how far.

In: the stores to fill. Out: `Watches` that run until cancelled. With prepared namespaces each kind
is watched in every namespace that is ready, since the credential reaches nothing else. With
namespaces on demand, what carries our label is watched once for the whole cluster. Events and
quotas are not ours and carry no label of ours, so a watch of the whole cluster would bring those
of everybody who shares it (Events of an hour, a quota's status with every pod): they are watched
in namespaces that are ready in both cases.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError
from vnode.kube.resources import Resource
from vnode.kube.types import UID, HasMetadata, ObjectKey
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.reflector_set import ReflectorSet
from vnode.runtime.store import Store

T = TypeVar("T", bound=HasMetadata)


class Watches(Protocol):
    """A set of namespaces that reflectors watch."""

    def add(self, namespace: str) -> None:
        """Start to watch a namespace."""
        ...

    def remove(self, namespace: str) -> None:
        """Stop watching a namespace and forget what is in it."""
        ...

    def error(self, namespace: str) -> KubeError | None:
        """What is wrong with the watch of a namespace now; None: nothing, or it has not begun."""
        ...

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        """The cluster says that it has no such object."""
        ...

    async def run(self) -> None:
        """Watch until cancelled."""
        ...


class WholeCluster(Generic[T]):
    """One reflector for all namespaces: which of them are ready makes no difference to it."""

    def __init__(self, reflector: Reflector[T]) -> None:
        self._reflector = reflector

    def add(self, namespace: str) -> None:
        """Nothing to do: it is watched."""

    def remove(self, namespace: str) -> None:
        """Nothing to do: the watch itself says what goes."""

    def error(self, namespace: str) -> KubeError | None:
        """What is wrong with the one watch now."""
        return self._reflector.last_error

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        """See `Reflector.suspect`."""
        self._reflector.suspect(key, uid)

    async def run(self) -> None:
        """Watch until cancelled."""
        await self._reflector.run()


@dataclass(frozen=True, slots=True)
class WatchFactory:
    """Makes the watches of one backend."""

    client: KubeClient
    clock: Clock
    rng: random.Random
    tenant_label: str
    """Selector of what is ours."""
    whole_cluster: bool
    """Whether what is ours may be watched in all namespaces at once."""

    def scope(self, below: str) -> str:
        """The part of a store of ours that a compute namespace belongs to."""
        return "" if self.whole_cluster else below

    def ours(
        self, resource: Resource, kind: type[T], store: Store[T], *, metadata_only: bool = False
    ) -> Watches:
        """A watch on our own objects, found by their label."""

        def make(namespace: str | None) -> Reflector[T]:
            return Reflector(
                self.client,
                resource,
                kind,
                store,
                namespace=namespace,
                label_selector=self.tenant_label,
                metadata_only=metadata_only,
                clock=self.clock,
                rng=self.rng,
            )

        return WholeCluster(make(None)) if self.whole_cluster else self._each(store, make)

    def others(
        self, resource: Resource, kind: type[T], store: Store[T], *, fields: str = ""
    ) -> Watches:
        """A watch on objects that others write into our namespaces."""

        def make(namespace: str) -> Reflector[T]:
            return Reflector(
                self.client,
                resource,
                kind,
                store,
                namespace=namespace,
                field_selector=fields,
                clock=self.clock,
                rng=self.rng,
            )

        return self._each(store, make)

    @staticmethod
    def _each(store: Store[T], make: Callable[[str], Reflector[T]]) -> Watches:
        return ReflectorSet(store, make)
