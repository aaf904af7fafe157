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
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import NamedTuple

from federation.backends.kubernetes.observe import tenant_key
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_NODE,
    ANNOTATION_UID,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.config import AgentConfig, ClusterConfig, NamespaceCreation
from vnode.backend import Waiting
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.errors import Conflict, Forbidden, NotFound
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
    key: ObjectKey
    """Of the tenant pod that it was made for."""
    uid: UID
    """The same."""
    node: NodeName
    made_at: str
    """RFC 3339."""
    reason: str
    """`HeldReason` or `UNSURE`."""
    until: float | None
    """Unix second at which the agent deletes it; None: never by itself, or not known."""
    below: ObjectKey
    handle: UID


@dataclass(frozen=True, slots=True)
class HeldCopies:
    """Looks for held copies, and releases them."""

    config: AgentConfig
    tenant: KubeClient
    computes: dict[str, KubeClient]
    owner: Owner

    async def find(self) -> list[HeldCopy]:
        """All that there are now. Raises KubeError."""
        # Copies first: pods that are made meanwhile have theirs later, and no copy seems to be
        # without its pod.
        below = [
            (cluster, [each async for each in self._copies(cluster)])
            for cluster in self.config.clusters
        ]
        pods = await self._tenant_pods()
        now = time.time() + self.tenant.clock_offset
        births: dict[NodeName, str | None] = {}
        found: list[HeldCopy] = []
        for cluster, copies in below:
            for key, copy in copies:
                uid = UID(copy.metadata.annotations.get(ANNOTATION_UID, ""))
                node = NodeName(copy.metadata.annotations.get(ANNOTATION_NODE, ""))
                if pods.get(key) == uid or copy.metadata.deletion_timestamp is not None:
                    continue
                if node not in births:
                    births[node] = await self._born(node)
                made = copy.metadata.creation_timestamp or ""
                until = held_for_node(made or None, births[node], grace=cluster.orphan_grace)
                found.append(
                    HeldCopy(
                        cluster.name,
                        key,
                        uid,
                        node,
                        made,
                        _reason(until, now),
                        until if math.isfinite(until) and until else None,
                        copy.metadata.key,
                        copy.metadata.uid,
                    )
                )
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
        if pod is not None and pod.metadata.uid == held.uid:
            raise Waiting(f"{held.key} has its tenant pod; it is not deleted", reason=POD_EXISTS)
        try:
            await self.computes[held.cluster].delete(
                PODS, name=held.below.name, namespace=held.below.namespace, uid=held.handle
            )
        except (NotFound, Conflict):
            return  # What has its name now is another object.

    async def _tenant_pods(self) -> dict[ObjectKey, UID]:
        found: dict[ObjectKey, UID] = {}
        for namespace in self.config.tenant.namespaces or (None,):
            selection = Selection(PODS, namespace, metadata_only=True)
            async for page in list_pages(self.tenant, selection, PartialObject):
                found.update((pod.metadata.key, pod.metadata.uid) for pod in page.items or ())
        return found

    async def _copies(
        self, cluster: ClusterConfig
    ) -> AsyncIterator[tuple[ObjectKey, PartialObject]]:
        client, settings = self.computes[cluster.name], cluster.namespaces
        mapping = NamespaceMapping(
            tenant=self.owner.tenant, mode=settings.mode, table=settings.table
        )
        places: list[str | None] = [None]
        if settings.create is NamespaceCreation.NEVER:
            places = [mapping.below(name) for name in await self._namespaces()]
            places = [place for place in places if place is not None]
        for place in places:
            selection = Selection(
                PODS,
                place,
                label_selector=f"{LABEL_TENANT}={self.owner.tenant}",
                metadata_only=True,
            )
            try:
                async for page in list_pages(client, selection, PartialObject):
                    for copy in page.items or ():
                        key = tenant_key(copy.metadata, owner=self.owner, namespaces=mapping)
                        if key is not None and key.name == copy.metadata.name:
                            yield key, copy
            except Forbidden:
                if place is None:
                    raise  # Else it is not prepared, or not for us.

    async def _namespaces(self) -> tuple[str, ...]:
        tenant = self.config.tenant
        if tenant.namespaces:
            return tenant.namespaces
        pages = list_pages(self.tenant, Selection(NAMESPACES, metadata_only=True), PartialObject)
        names = [item.metadata.name async for page in pages for item in page.items or ()]
        return tuple(name for name in names if tenant.forwards(name))

    async def _born(self, node: NodeName) -> str | None:
        try:
            found = await self.tenant.get(NODES, PartialObject, name=node)
        except NotFound:
            return None
        return found.metadata.creation_timestamp


@asynccontextmanager
async def held_copies(config: AgentConfig) -> AsyncIterator[HeldCopies]:
    """Connect to all clusters of a configuration. Raises KubeError."""
    async with AsyncExitStack() as stack:
        tenant, *computes = [
            await stack.enter_async_context(await KubeClient.connect(connection))
            for connection in _connections(config)
        ]
        system = await tenant.get(NAMESPACES, PartialObject, name="kube-system")
        names = [cluster.name for cluster in config.clusters]
        owner = Owner(tenant=config.tenant.name, cluster_uid=system.metadata.uid)
        yield HeldCopies(config, tenant, dict(zip(names, computes, strict=True)), owner)


def _connections(config: AgentConfig) -> Iterator[Connection]:
    tenant = config.tenant
    yield Connection(
        name="tenant", kubeconfig=tenant.kubeconfig, context=tenant.context, user_agent="vnode-gc"
    )
    for index, cluster in enumerate(config.clusters):
        yield Connection(
            name=f"clusters[{index}] {cluster.name}",
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
            user_agent="vnode-gc",
        )


def _reason(until: float, now: float) -> str:
    if until == math.inf:
        return HeldReason.NODE_MISSING
    return HeldReason.NODE_RECREATED if until > now else UNSURE
