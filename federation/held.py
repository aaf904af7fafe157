"""Copies without tenant pod that the agent holds (DESIGN 7), as a command line sees them.

In: the agent's configuration, and with it the agent's rights on both sides. Out: `HeldCopy`s, and
their deletion. Nothing is asked of a running agent: what it holds follows from both clusters, but
for what pod garbage collection deleted, which only the agent has seen (`UNSURE`).

A deletion keeps the agent's guards, but for the one that somebody lifts by asking: it is ours by
label and cluster UID, the tenant's API server says itself that its pod is gone, and it carries the
copy's UID. Errors are `KubeError`s; a compute namespace that we may not read is passed over, as the
agent passes it over.
"""

import math
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from federation.backends.kubernetes.translate.names import Owner
from federation.config import AgentConfig
from federation.held_places import USER_AGENT, Place, PlacedCopy, forwarded, place_of
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.errors import NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NAMESPACES, NODES, PODS
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.pods.orphans import HeldReason, held_for_node

UNSURE = "Unsure"
"""The agent deletes it within minutes, unless it has seen pod garbage collection delete its pod, or
does not run."""

POD_EXISTS = "PodExists"
"""Reason of a refused release: the copy has its tenant pod, again or after all."""


class HeldCopy(NamedTuple):
    """One copy without tenant pod."""

    cluster: str
    copy: PlacedCopy
    reason: str
    """`HeldReason` or `UNSURE`."""
    until: float | None
    """Unix second at which the agent deletes it; None: never by itself, or not known."""

    @property
    def key(self) -> ObjectKey:
        """Of the tenant pod that it was made for."""
        return self.copy.key


@dataclass(frozen=True, slots=True)
class HeldCopies:
    """Looks for held copies, and releases them."""

    config: AgentConfig
    tenant: KubeClient
    places: Mapping[str, Place]
    """By name of the cluster."""
    owner: Owner

    async def find(self) -> list[HeldCopy]:
        """All that there are now. Raises KubeError."""
        # Copies first: pods that are made meanwhile have theirs later, and no copy seems to be
        # without its pod.
        below = [
            (cluster, [each async for each in self.places[cluster.name].copies()])
            for cluster in self.config.clusters
        ]
        pods = await self._tenant_pods()
        now = time.time() + self.tenant.clock_offset
        births: dict[NodeName, str | None] = {}
        found: list[HeldCopy] = []
        for cluster, copies in below:
            for copy in copies:
                if pods.get(copy.key) == copy.uid or copy.deleting:
                    continue
                if copy.node not in births:
                    births[copy.node] = await self._born(copy.node)
                until = held_for_node(
                    copy.made_at or None, births[copy.node], grace=cluster.orphan_grace
                )
                ends = until if math.isfinite(until) and until else None
                found.append(HeldCopy(cluster.name, copy, _reason(until, now), ends))
        return found

    async def release(self, held: HeldCopy) -> None:
        """Delete one, with its own grace period. Gone already is success.

        Raises:
            Waiting: its tenant pod is there, or the tenant is another cluster now.
            KubeError: an API server refused, or did not answer.
        """
        system = await self.tenant.get(NAMESPACES, PartialObject, name="kube-system")
        if system.metadata.uid != self.owner.cluster_uid:
            raise Waiting(
                "the tenant is another cluster now; nothing is deleted", reason="OtherTenant"
            )
        try:
            pod = await self.tenant.get(
                PODS, PartialObject, name=held.key.name, namespace=held.key.namespace
            )
        except NotFound:
            pod = None
        if pod is not None and pod.metadata.uid == held.copy.uid:
            raise Waiting(f"{held.key} has its tenant pod; it is not deleted", reason=POD_EXISTS)
        await self.places[held.cluster].delete(held.copy)

    async def _tenant_pods(self) -> dict[ObjectKey, UID]:
        found: dict[ObjectKey, UID] = {}
        for namespace in self.config.tenant.namespaces or (None,):
            selection = Selection(PODS, namespace, metadata_only=True)
            async for page in list_pages(self.tenant, selection, PartialObject):
                found.update((pod.metadata.key, pod.metadata.uid) for pod in page.items or ())
        return found

    async def _born(self, node: NodeName) -> str | None:
        try:
            found = await self.tenant.get(NODES, PartialObject, name=node)
        except NotFound:
            return None
        return found.metadata.creation_timestamp


@asynccontextmanager
async def held_copies(config: AgentConfig) -> AsyncIterator[HeldCopies]:
    """Connect to all clusters of a configuration. Raises KubeError."""
    settings = config.tenant
    connection = Connection(
        name="tenant",
        kubeconfig=settings.kubeconfig,
        context=settings.context,
        user_agent=USER_AGENT,
    )
    async with AsyncExitStack() as stack:
        tenant = await stack.enter_async_context(await KubeClient.connect(connection))
        system = await tenant.get(NAMESPACES, PartialObject, name="kube-system")
        owner = Owner(tenant=settings.name, cluster_uid=system.metadata.uid)
        places = {
            cluster.name: await stack.enter_async_context(
                place_of(
                    cluster,
                    name=f"clusters[{index}] {cluster.name}",
                    owner=owner,
                    namespaces=partial(forwarded, tenant, settings),
                )
            )
            for index, cluster in enumerate(config.clusters)
        }
        yield HeldCopies(config, tenant, places, owner)


def _reason(until: float, now: float) -> str:
    if until == math.inf:
        return HeldReason.NODE_MISSING
    return HeldReason.NODE_RECREATED if until > now else UNSURE
