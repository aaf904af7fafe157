"""The ways to all clusters of a configuration, opened as the agent opens them.

In: the configuration, and kubeconfigs of administrators for what the agent may not see. Out: a
`Site` of `Peer`s. A kubeconfig that cannot be used is a problem of its peer, not an error: the
other clusters are checked. Owns the clients.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.config import AgentConfig, ClusterConfig
from vnode.kube.client import KubeClient
from vnode.kube.config import Access, Connection, load
from vnode.kube.credentials import Credentials
from vnode.kube.errors import ConfigError
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NAMESPACES
from vnode.kube.transport import Transport
from vnode.kube.types import PartialObject

__all__ = ["TENANT", "Peer", "Site", "open_site"]

TENANT = "tenant"
_AT_ONCE = 8
_USER_AGENT = "vnode-check"


@dataclass(frozen=True)
class Peer:
    """One API server and one credential."""

    name: str
    connection: Connection
    access: Access | None = field(default=None, repr=False)
    problem: str = ""
    """Why its kubeconfig cannot be used."""
    opened: KubeClient | None = field(default=None, repr=False)
    secret: str | None = None
    """The Secret of its kubeconfig, in which the agent renews the token."""

    @property
    def client(self) -> KubeClient:
        """The client. Raises ConfigError if there is none."""
        if self.opened is None:
            raise ConfigError(self.problem)
        return self.opened


@dataclass(frozen=True)
class Site:
    """All that a configuration names."""

    config: AgentConfig
    file: Path
    """Of the configuration, for messages."""
    tenant: Peer
    computes: Mapping[str, Peer]
    tenant_admin: Peer | None = None
    """Who sees of the tenant what the agent may not see."""
    compute_admins: Mapping[str, Peer] = field(default_factory=dict)

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Those that the agent uses."""
        return (self.tenant, *self.computes.values())

    @property
    def tenant_viewer(self) -> Peer:
        """Who sees most of the tenant."""
        return self.tenant_admin or self.tenant

    def compute_viewer(self, cluster: ClusterConfig) -> Peer:
        """Who sees most of a compute cluster."""
        return self.compute_admins.get(cluster.name) or self.computes[cluster.name]

    def mapping(self, cluster: ClusterConfig) -> NamespaceMapping:
        """How tenant namespaces are called in that cluster."""
        named = cluster.namespaces
        return NamespaceMapping(self.config.tenant.name, mode=named.mode, table=named.table)

    async def namespaces(self) -> tuple[str, ...]:
        """Tenant namespaces whose pods are forwarded. Raises KubeError."""
        if self.config.tenant.namespaces:
            return self.config.tenant.namespaces
        pages = list_pages(
            self.tenant.client, Selection(NAMESPACES, metadata_only=True), PartialObject
        )
        names = [each.metadata.name async for page in pages for each in page.items or ()]
        return tuple(name for name in names if self.config.tenant.forwards(name))


@asynccontextmanager
async def open_site(
    config: AgentConfig,
    *,
    file: Path,
    kubeconfig: Path | None = None,
    compute_kubeconfigs: Mapping[str, Path] | None = None,
) -> AsyncIterator[Site]:
    """Open the ways to all clusters; no call is made yet.

    Args:
        config: the agent's configuration.
        file: where it was read.
        kubeconfig: of an administrator of the tenant.
        compute_kubeconfigs: of administrators of compute clusters, by cluster name.
    """
    tenant, clusters, admins = config.tenant, config.kubernetes_clusters, compute_kubeconfigs or {}
    async with AsyncExitStack() as stack:
        opening = [
            _open(stack, TENANT, tenant.kubeconfig, tenant.context),
            *(
                _open(stack, c.name, c.kubeconfig, c.context, secret=c.kubeconfig_secret)
                for c in clusters
            ),
            *(_open(stack, f"--compute-kubeconfig {name}", path) for name, path in admins.items()),
        ]
        if kubeconfig is not None:
            opening.append(_open(stack, "--kubeconfig", kubeconfig))
        first, *others = await asyncio.gather(*opening)  # programs may be asked for credentials
        computes, rest = others[: len(clusters)], others[len(clusters) :]
        yield Site(
            config,
            file,
            first,
            {cluster.name: peer for cluster, peer in zip(clusters, computes, strict=True)},
            rest.pop() if kubeconfig is not None else None,
            dict(zip(admins, rest, strict=False)),
        )


async def _open(
    stack: AsyncExitStack,
    name: str,
    path: Path | None,
    context: str | None = None,
    *,
    secret: str | None = None,
) -> Peer:
    connection = Connection(name, path, context, user_agent=_USER_AGENT)
    try:
        access = await load(connection)
    except ConfigError as error:
        return Peer(name, connection, problem=str(error), secret=secret)
    transport = Transport(connection, Credentials(connection, access), limit=_AT_ONCE)
    client = await stack.enter_async_context(KubeClient(transport))
    return Peer(name, connection, access, opened=client, secret=secret)
