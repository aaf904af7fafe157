"""Puts together what finds, makes and lets go the compute namespaces of one backend.

In: whether and how namespaces are made on demand (`OnDemand`). Out: one `ComputeNamespaces`.
"""

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from federation.backends.kubernetes.leftovers import Leftovers
from federation.backends.kubernetes.namespace_maker import NamespaceMaker
from federation.backends.kubernetes.namespaces import ComputeNamespaces
from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.watches import Watches
from vnode.kube.client import KubeClient
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDemand:
    """That missing namespaces are made, how, and what becomes of them afterwards."""

    is_gone: Callable[[str], Awaitable[bool]]
    """Asks the tenant's API server whether a tenant namespace is gone; raises KubeError."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels of new namespaces beside our own."""
    delete: bool = False
    """Whether namespaces that the agent made are deleted when nobody needs them any more."""
    report: Callable[[Mapping[str, int]], None] = lambda _: None
    """Called with how many of them are kept for each reason."""


def compute_namespaces(
    client: KubeClient,
    *,
    owner: Owner,
    mapping: NamespaceMapping,
    watches: Iterable[Watches],
    vacant: Callable[[str], bool],
    opened: Callable[[str], None],
    on_demand: OnDemand | None,
    clock: Clock,
    rng: random.Random,
) -> ComputeNamespaces:
    """Build it; see `ComputeNamespaces` for the arguments."""
    maker = leftovers = None
    if on_demand is not None:
        maker = NamespaceMaker(
            client,
            owner=owner,
            labels=on_demand.labels,
            clock=clock,
            backoff=lambda: Backoff(0.05, 0.5, rng=rng),
        )
        leftovers = Leftovers(
            client,
            owner=owner,
            mapping=mapping,
            delete=on_demand.delete,
            is_gone=on_demand.is_gone,
            report=on_demand.report,
            clock=clock,
            rng=rng,
        )
    return ComputeNamespaces(
        client,
        owner=owner,
        mapping=mapping,
        watches=watches,
        clock=clock,
        backoff=lambda: Backoff(1.0, 60.0, rng=rng),
        vacant=vacant,
        opened=opened,
        maker=maker,
        leftovers=leftovers,
    )
