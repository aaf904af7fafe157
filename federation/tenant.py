"""The tenant cluster as the agent sees it at the start, and what it watches of it for everybody.

In: the configuration. Out: `Tenant`, which holds the client, who we are (UID of kube-system), the
API server's version and client CA, and the stores that all compute clusters share: metadata of
ConfigMaps and Secrets, Services, namespaces, claims, the fence lists of all virtual nodes. One
that cannot be used is an error here, before anything is written.
"""

import asyncio
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog

from federation.claims.objects import Claim
from federation.config import AgentConfig
from vnode.backend import ReferenceKind
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    SECRETS,
    SERVICES,
    Resource,
)
from vnode.kube.types import UID, ConfigMap, HasMetadata, NodeName, PartialObject
from vnode.node.objects import Node
from vnode.node.spec import provider_id
from vnode.node.status import CLUSTER_LABEL
from vnode.pods.objects.service_env import Service, api_server_environment
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.pods.partition.fences import Fences
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Change, Store

T = TypeVar("T", bound=HasMetadata)

_LOG = structlog.get_logger(__name__)

_CLIENT_CA_NAMESPACE, _CLIENT_CA = "kube-system", "extension-apiserver-authentication"


class _Version(msgspec.Struct, frozen=True, rename="camel"):
    git_version: str


@dataclass(frozen=True, slots=True, repr=False)
class TenantFacts:
    """What is read once at the start."""

    cluster_uid: UID
    """UID of the tenant's kube-system namespace."""
    version: str
    """gitVersion of its API server."""
    client_ca: bytes
    """PEM of the CA that signs client certificates."""


async def read_facts(client: KubeClient) -> TenantFacts:
    """Ask the tenant's API server who it is. Raises KubeError."""
    system = await client.get(NAMESPACES, PartialObject, name="kube-system")
    version = msgspec.json.decode(await client.request("GET", "/version"), type=_Version)
    return TenantFacts(
        cluster_uid=system.metadata.uid,
        version=version.git_version,
        client_ca=await read_client_ca(client),
    )


async def read_client_ca(client: KubeClient) -> bytes:
    """PEM of the CA that signs client certificates of the tenant. Raises KubeError."""
    published = await client.get(
        CONFIG_MAPS, ConfigMap, name=_CLIENT_CA, namespace=_CLIENT_CA_NAMESPACE
    )
    return published.data.get("client-ca-file", "").encode()


async def left_nodes(client: KubeClient, config: AgentConfig) -> tuple[NodeName, ...]:
    """Virtual nodes of this tenant that the configuration does not name (any more).

    None where rights that are pinned to names forbid to ask: the log says what that means.

    Raises:
        KubeError: the API server did not answer.
    """
    selection = Selection(NODES, label_selector=CLUSTER_LABEL)
    mark = provider_id(tenant=config.tenant.name, cluster="", pool="").rstrip("/") + "/"
    named = {node.name for node in config.virtual_nodes}
    try:
        pages = list_pages(client, selection, Node)
        nodes = [node async for page in pages for node in page.items or ()]
    except Forbidden:
        _LOG.warning(
            "not allowed to list nodes: pods that were given up on virtual nodes which left the "
            "configuration hold no successors",
        )
        return ()
    ours = (node.metadata.name for node in nodes if node.spec.provider_id.startswith(mark))
    return tuple(NodeName(name) for name in ours if name not in named)


class Tenant:
    """The shared watches on the tenant cluster."""

    def __init__(
        self,
        client: KubeClient,
        config: AgentConfig,
        facts: TenantFacts,
        *,
        clock: Clock,
        rng: random.Random,
        left: Collection[NodeName] = (),
    ) -> None:
        """Wire it up; `left`: virtual nodes that left the configuration (`left_nodes`)."""
        self.client = client
        self.facts = facts
        self._config = config
        self._clock = clock
        self._rng = rng
        self.config_maps: Store[PartialObject] = Store("tenant configmaps")
        self.secrets: Store[PartialObject] = Store("tenant secrets")
        self.services = service_store("tenant services")
        self.namespaces: Store[PartialObject] = Store("tenant namespaces")
        self.claims: Store[Claim] = Store("tenant claims")
        """Filled where pods of any cluster may mount claims."""
        self.nodes: Store[PartialObject] = Store("virtual nodes")
        self._node_names = (*(node.name for node in config.virtual_nodes), *left)
        self.fences = Fences(
            client,
            self.nodes,
            ours=[node.name for node in config.virtual_nodes],
            left=left,
            clock=clock,
        )
        """Of all virtual nodes, also of those that other replicas serve, and of `left`."""
        self.service_variables = ServiceVariables(self.services, _api_server_env(client, config))

    @property
    def metadata(self) -> dict[ReferenceKind, Store[PartialObject]]:
        """Stores of objects that pods refer to, metadata only."""
        return {
            ReferenceKind.CONFIG_MAP: self.config_maps,
            ReferenceKind.SECRET: self.secrets,
        }

    @property
    def scopes(self) -> tuple[str | None, ...]:
        """Namespaces to watch; (None,) means the whole cluster."""
        return self._config.tenant.namespaces or (None,)

    @property
    def synced(self) -> bool:
        """Whether the shared stores are complete."""
        stores = (self.config_maps, self.secrets, self.services)
        # Before all namespaces are known, a copy seems to lie where nothing is forwarded.
        named = bool(self._config.tenant.namespaces) or self.namespaces.synced()
        fenced = all(self.nodes.synced(name) for name in self._node_names)
        return (
            named and fenced and all(s.synced(scope or "") for s in stores for scope in self.scopes)
        )

    def each_namespace(
        self, found: Callable[[str], None], gone: Callable[[str], None]
    ) -> Callable[[], None]:
        """Call `found` with every tenant namespace that is forwarded, now and later.

        `gone` is called when one of them was deleted; listed ones are expected to come back.
        Returns a function that ends this.
        """
        forwards = self._config.tenant.forwards
        listed = self._config.tenant.namespaces
        for name in listed or [key.name for key in self.namespaces]:
            if forwards(name):
                found(name)

        def changed(change: Change[PartialObject]) -> None:
            name = change.key.name
            if forwards(name):
                (gone if change.new is None else found)(name)

        return self.namespaces.subscribe(changed)

    async def is_gone(self, namespace: str) -> bool:
        """Ask the API server itself whether a namespace is gone. Raises KubeError.

        An API server that is another cluster's says nothing about ours.
        """
        system = await self.client.get(NAMESPACES, PartialObject, name="kube-system")
        if system.metadata.uid != self.facts.cluster_uid:
            return False
        try:
            await self.client.get(NAMESPACES, PartialObject, name=namespace)
        except NotFound:
            return True
        return False

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for scope in self.scopes:
                partial = PartialObject
                for reflector in (
                    self._reflector(CONFIG_MAPS, partial, self.config_maps, scope, partial=True),
                    self._reflector(SECRETS, partial, self.secrets, scope, partial=True),
                    self._reflector(SERVICES, Service, self.services, scope),
                ):
                    tasks.create_task(reflector.run())
                if self._config.reads_claims:
                    claims = self._reflector(PERSISTENT_VOLUME_CLAIMS, Claim, self.claims, scope)
                    tasks.create_task(claims.run())
            for name in self._node_names:
                # By name: the rights may be pinned to the names of our nodes.
                watch = Reflector(
                    self.client,
                    NODES,
                    PartialObject,
                    self.nodes,
                    field_selector=f"metadata.name={name}",
                    scope=name,
                    metadata_only=True,
                    clock=self._clock,
                    rng=self._rng,
                )
                tasks.create_task(watch.run())
            if not self._config.tenant.namespaces:
                names = self._reflector(
                    NAMESPACES, PartialObject, self.namespaces, None, partial=True
                )
                tasks.create_task(names.run())

    def _reflector(
        self,
        resource: Resource,
        kind: type[T],
        store: Store[T],
        namespace: str | None,
        *,
        partial: bool = False,
    ) -> Reflector[T]:
        return Reflector(
            self.client,
            resource,
            kind,
            store,
            namespace=namespace,
            metadata_only=partial,
            clock=self._clock,
            rng=self._rng,
        )


def _api_server_env(client: KubeClient, config: AgentConfig) -> dict[str, str]:
    """Where in-pod clients find the tenant's API server: as configured, else as we do."""
    url = urlsplit(client.server)
    host = config.tenant.api_server.host or url.hostname or ""
    port = config.tenant.api_server.port or url.port or 443
    return api_server_environment(host, port)
