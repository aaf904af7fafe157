"""What differs between kinds of compute clusters, as `federation.cluster` sees it.

    Compute   made at the start: a connection with a credential; `probe` says whether it can be used
      └── lead(Term) -> Side   each time that this replica leads the cluster: a backend without
                               memory of earlier terms, and what belongs to it

A `Side` makes nothing happen by itself: the caller runs `Side.backend.run` and `Side.tasks` in its
task group and ends them with it. Errors are those of the Protocols of `vnode.backend`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from federation.backends.kubernetes.translate.names import Owner
from federation.config import VirtualNode
from federation.shared import Shared
from vnode.backend import CapacitySource, PodBackend
from vnode.kube.client import KubeClient
from vnode.kube.types import Pod
from vnode.runtime.store import Store

__all__ = ["Backend", "Compute", "Side", "Task", "Term"]

Task = tuple[str, Coroutine[None, None, None]]
"""A name and what to run until it is cancelled."""


class Backend(PodBackend, Protocol):
    """A `PodBackend` with the health of its link, as virtual nodes show it."""

    @property
    def link_known(self) -> bool:
        """Whether `reachable` rests on anything yet."""
        ...

    @property
    def refuses_us(self) -> bool:
        """Whether the compute side answers, but refuses our credential."""
        ...

    @property
    def websockets(self) -> bool:
        """Whether exec, attach and port-forward go by WebSocket."""
        ...

    async def run(self) -> None:
        """Observe until cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Term:
    """One time of leading a compute cluster."""

    shared: Shared
    owner: Owner
    """Who we are to the compute side."""
    nodes: tuple[VirtualNode, ...]
    """The virtual nodes of the cluster."""
    tenant: KubeClient
    """Client of the tenant that writes only while the Lease is ours."""
    may_write: Callable[[], bool]
    """Whether it is; asked before each write to either side."""
    pods: Store[Pod]
    """The tenant's pods on these nodes; still empty."""
    pods_synced: Callable[[], bool]
    """Whether they, and the tenant's shared stores, are complete."""


class Side(Protocol):
    """A compute cluster while this replica leads it."""

    @property
    def backend(self) -> Backend:
        """Where its pods run."""
        ...

    def node_labels(self, node: VirtualNode) -> Mapping[str, str]:
        """Labels of a virtual node beside those of its pool."""
        ...

    def copies(self) -> int:
        """How many copies there are."""
        ...

    def capacity(self, node: VirtualNode) -> CapacitySource:
        """What a virtual node offers."""
        ...

    def follow(self) -> Callable[[], None]:
        """Begin to follow the tenant's stores; returns how to end that, as they outlive us."""
        ...

    def tasks(self) -> Iterable[Task]:
        """What runs beside the backend. Called once."""
        ...


class Compute(Protocol):
    """A compute cluster as long as the agent lives."""

    async def probe(self, *, known: Callable[[], Awaitable[bool]]) -> None:
        """See that it answers, knows our credential, and can do what is asked for.

        `known` says whether it has virtual nodes already: then it may be away, and that is logged.

        Raises:
            KubeError: it cannot be used.
        """
        ...

    def lead(self, term: Term) -> Side:
        """Make what serves it during one term; nothing is asked of it yet."""
        ...
