"""The whole configuration document, and the virtual nodes that follow from it.

In: the sections. Out: `AgentConfig`, whose checks see all sections at once (names and ports that
collide, time limits that contradict each other).
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Self, TypeAlias

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic.json_schema import GenerateJsonSchema

from federation.backends.kubernetes.translate.names import NamespaceMode
from federation.backends.kubernetes.translate.policy import PvcMode
from federation.config.clusters import ClusterConfig, NamespaceReclaim, PoolConfig
from federation.config.compute import ComputeKind, Taint
from federation.config.eci import EciClusterConfig, EciPoolConfig
from federation.config.values import (
    Address,
    DnsLabel,
    Duration,
    FilePath,
    Host,
    Misfit,
    Network,
    Port,
    Section,
    TenantName,
    format_duration,
    refuse,
)
from vnode.kube.types import JSON, NodeName
from vnode.pods.limits import Limits
from vnode.runtime.leader import RETRY_JITTER

_MAX_PORT = 65535
_MAX_NODE_NAME = 63
_LIMITS = Limits()


AnyClusterConfig: TypeAlias = ClusterConfig | EciClusterConfig


def _kind(cluster: object) -> str:
    """Of an entry of `clusters`, as it is written or as a model."""
    if isinstance(cluster, dict):
        return str(cluster.get("kind", ComputeKind.KUBERNETES))
    return str(getattr(cluster, "kind", ComputeKind.KUBERNETES))


AnyCluster: TypeAlias = Annotated[
    Annotated[ClusterConfig, Tag(ComputeKind.KUBERNETES)]
    | Annotated[EciClusterConfig, Tag(ComputeKind.ECI)],
    Discriminator(_kind),
]
"""A compute cluster; `kind` says of what kind, and is kubernetes where it is missing."""


class LogLevel(enum.StrEnum):
    """Least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """Form of log lines."""

    TEXT = "text"
    JSON = "json"


class ApiServerConfig(Section):
    """Address of the tenant's API server as pods in compute clusters see it."""

    host: Host | None = None
    """null: as in the tenant's kubeconfig."""
    port: Port | None = None
    """null: as in the tenant's kubeconfig."""


_ALL_OF_IT = 1.01
"""What the shares of an account may add up to; a third three times is not more."""


class TenantConfig(Section):
    """The cluster whose users submit work."""

    name: TenantName
    """Prefix of its namespaces in compute clusters: at most 20 characters, no "--"."""
    kubeconfig: FilePath | None = None
    """null: in-cluster, the ServiceAccount of the agent's own pod."""
    context: str | None = None
    """Context in the kubeconfig. null: its current-context."""
    namespaces: tuple[DnsLabel, ...] = ()
    """Namespaces whose pods may be forwarded. Empty: all but kube-*."""
    api_server: ApiServerConfig = ApiServerConfig()

    def forwards(self, namespace: str) -> bool:
        """Whether pods of that tenant namespace may be forwarded."""
        if self.namespaces:
            return namespace in self.namespaces
        return not namespace.startswith("kube-")


class CertificateSource(enum.StrEnum):
    """Where serving certificates of virtual nodes come from."""

    AUTO = "auto"
    SELF_SIGNED = "selfSigned"
    FILES = "files"


class CertificateConfig(Section):
    """Serving certificate of the kubelet API; a new one is taken up without a restart."""

    source: CertificateSource = CertificateSource.AUTO
    """auto: self-signed, and from the tenant's signer (kubernetes.io/kubelet-serving) as soon as
    somebody approves the request. selfSigned: nothing is asked for. files: those below."""
    file: FilePath | None = None
    """PEM certificate chain, for source files."""
    key: FilePath | None = None
    """PEM private key, for source files."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.file is None) != (self.key is None):
            raise ValueError("file and key belong together; give both or neither")
        if self.source is CertificateSource.FILES and self.file is None:
            raise ValueError("source files needs file and key")
        if self.source is not CertificateSource.FILES and self.file is not None:
            raise ValueError("file and key are used with source files only; set source: files")
        return self


class KubeletConfig(Section):
    """The kubelet API that the tenant's API server calls for logs, exec and metrics."""

    listen: Address = "0.0.0.0"  # noqa: S104 - reached from the control plane
    """Address to listen on."""
    advertise: Address | None = None
    """IP address of the virtual nodes (InternalIP, and hostIP of their pods). null: the pod's own
    address (environment POD_IP)."""
    base_port: Port = 10250
    """Port of the first virtual node; the others follow in the order of this file."""
    passed_port: Port = 11250
    """With advertise and several replicas: port of the first virtual node on which the replica that
    serves it takes connections that another one passes on; the others follow as with basePort."""
    certificate: CertificateConfig = CertificateConfig()
    insecure: bool = False
    """true: no authentication. For test suites only."""
    sessions_per_namespace: int = Field(default=100, ge=1)
    """Most exec, attach, port-forward and log sessions at once per tenant namespace."""
    sessions: int = Field(default=2000, ge=1)
    """Most of them at once altogether."""


class LimitsConfig(Section):
    """What one tenant namespace may have in one compute cluster. More of it waits and says so."""

    pods_per_namespace: int = Field(default=_LIMITS.pods, ge=1)
    """Copies of pods; others wait with reason TooManyPods."""
    objects_per_namespace: int = Field(default=_LIMITS.objects, ge=1)
    """Copies of ConfigMaps and Secrets; pods that need more wait with reason TooManyObjects."""
    references_per_pod: int = Field(default=_LIMITS.references, ge=1)
    """ConfigMaps, Secrets and ServiceAccount tokens of one pod; pods with more are rejected."""


class LeaderElectionConfig(Section):
    """How replicas agree on who writes: one Lease per compute cluster."""

    namespace: DnsLabel = "vnode-system"
    """Tenant namespace of the Leases."""
    lease_duration: Duration = 15.0
    """A Lease that was not renewed for so long may be taken by another replica."""
    renew_deadline: Duration = 10.0
    """A holder that could not renew for so long stops writing."""
    retry_period: Duration = 2.0
    """Time between two tries."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("leaderElection", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        lease, renew = format_duration(self.lease_duration), format_duration(self.renew_deadline)
        if self.renew_deadline >= self.lease_duration:
            yield Misfit(
                ("renewDeadline",), f"{renew} must be shorter than leaseDuration ({lease})"
            )
        if self.retry_period * RETRY_JITTER >= self.renew_deadline:
            retry = format_duration(self.retry_period)
            yield Misfit(
                ("retryPeriod",),
                f"{retry} times {RETRY_JITTER} (jitter) must be shorter than renewDeadline "
                f"({renew})",
            )


class LoggingConfig(Section):
    """Logs go to stderr."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat | None = None
    """null: text on a terminal, JSON lines otherwise."""


@dataclass(frozen=True, slots=True)
class VirtualNode:
    """A Node object that the agent keeps in the tenant cluster."""

    name: NodeName
    port: int
    """Port of its kubelet API."""
    passed_port: int
    """The same, for other replicas of the agent."""
    cluster: AnyClusterConfig
    pool: PoolConfig | EciPoolConfig

    @property
    def taints(self) -> tuple[Taint, ...]:
        """Its taints: the pool's, or the default one."""
        return self.pool.taints_in(self.cluster.cluster_name)


class AgentConfig(Section):
    """Configuration of one agent: one tenant cluster, one or more compute clusters."""

    tenant: TenantConfig
    kubelet: KubeletConfig = KubeletConfig()
    pod_addresses: Network = Field(default="198.18.0.0/15", validate_default=True)
    """Unroutable range from which pods of clusters with network isolated get their addresses."""
    leader_election: LeaderElectionConfig = LeaderElectionConfig()
    logging: LoggingConfig = LoggingConfig()
    limits: LimitsConfig = LimitsConfig()
    clusters: tuple[AnyCluster, ...] = Field(min_length=1)

    @cached_property
    def virtual_nodes(self) -> tuple[VirtualNode, ...]:
        """One per cluster and pool, in the order of the file."""
        pools = [(cluster, pool) for cluster in self.clusters for pool in cluster.pools]
        return tuple(
            VirtualNode(
                name=pool.node_name_in(cluster.cluster_name),
                port=pool.port or self.kubelet.base_port + index,
                passed_port=self.kubelet.passed_port + index,
                cluster=cluster,
                pool=pool,
            )
            for index, (cluster, pool) in enumerate(pools)
        )

    @property
    def kubernetes_clusters(self) -> tuple[ClusterConfig, ...]:
        """Clusters with an API server."""
        return tuple(c for c in self.clusters if isinstance(c, ClusterConfig))

    @property
    def eci_clusters(self) -> tuple[EciClusterConfig, ...]:
        """Accounts of Alibaba Cloud ECI."""
        return tuple(c for c in self.clusters if isinstance(c, EciClusterConfig))

    @property
    def clusters_with_claims(self) -> tuple[ClusterConfig, ...]:
        """Clusters some of whose pods may mount claims (`policy.pvc`)."""
        return tuple(
            c for c in self.kubernetes_clusters if c.has_pvc(PvcMode.SHARED, PvcMode.FLUID)
        )

    @property
    def reads_claims(self) -> bool:
        """Whether pods of any cluster may mount claims of the tenant."""
        by_groups = any(c.policy.fluid is not None for c in self.eci_clusters)
        return by_groups or bool(self.clusters_with_claims)

    @model_validator(mode="after")
    def _check(self) -> Self:
        clusters = [*self._cluster_misfits(), *self._share_misfits()]
        refuse("agent", clusters or [*self._node_misfits()])
        return self

    def _cluster_misfits(self) -> Iterator[Misfit]:
        seen: set[str] = set()
        secrets: dict[str, str] = {}
        for index, cluster in enumerate(self.clusters):
            if cluster.name in seen:
                yield Misfit(
                    ("clusters", index, "name"),
                    f'"{cluster.name}" is used twice; cluster names must be unique',
                )
            seen.add(cluster.name)
            if not isinstance(cluster, ClusterConfig):
                continue
            secret = cluster.kubeconfig_secret
            if secret and (other := secrets.setdefault(secret, cluster.name)) != cluster.name:
                yield Misfit(
                    ("clusters", index, "kubeconfigSecret"),
                    f'"{secret}" is that of {other} too, and the agent would write the token of '
                    "one over the other's; each cluster has a Secret of its own",
                )
            if self.tenant.namespaces and cluster.namespaces.reclaim is NamespaceReclaim.DELETE:
                yield Misfit(
                    ("clusters", index, "namespaces", "reclaim"),
                    "Delete needs to see when tenant namespaces go, which it cannot with a list of "
                    "them; remove tenant.namespaces or set reclaim: Retain",
                )
            if cluster.namespaces.mode is NamespaceMode.MAP:
                for namespace in self.tenant.namespaces:
                    if namespace not in cluster.namespaces.table:
                        yield Misfit(
                            ("clusters", index, "namespaces", "table"),
                            f'has no entry for "{namespace}"; add it, or remove it from '
                            "tenant.namespaces",
                        )

    def _share_misfits(self) -> Iterator[Misfit]:
        """Each cluster has a budget of its own, also where another replica serves it."""
        shares: dict[tuple[str, FilePath], float] = {}
        for index, cluster in enumerate(self.clusters):
            if not isinstance(cluster, EciClusterConfig):
                continue
            account = cluster.url, cluster.credentials
            shares[account] = shares.get(account, 0.0) + cluster.account_share
            if shares[account] > _ALL_OF_IT:
                yield Misfit(
                    ("clusters", index, "accountShare"),
                    f"{cluster.account_share:g} is more than is left of this account's limits by "
                    "the clusters above that use it too; give each of them a part",
                )

    def _node_misfits(self) -> Iterator[Misfit]:
        names: dict[NodeName, str] = {}
        ports: dict[int, str] = {}
        places = [
            (index, position)
            for index, cluster in enumerate(self.clusters)
            for position in range(len(cluster.pools))
        ]
        for (index, position), node in zip(places, self.virtual_nodes, strict=True):
            at = ("clusters", index, "pools", position)
            here = f"clusters[{index}].pools[{position}]"
            if len(node.name) > _MAX_NODE_NAME:
                yield Misfit(
                    at,
                    f'node name "{node.name}" is longer than {_MAX_NODE_NAME} characters; '
                    "set nodeName",
                )
            if (other := names.setdefault(node.name, here)) != here:
                yield Misfit(
                    at, f'node name "{node.name}" is used by {other} too; set another nodeName'
                )
            if node.port > _MAX_PORT:
                yield Misfit(
                    at, f"port {node.port} is above {_MAX_PORT}; lower kubelet.basePort or set port"
                )
            if (other := ports.setdefault(node.port, here)) != here:
                yield Misfit(at, f"port {node.port} is used by {other} too; set another port")
        if self.kubelet.advertise is not None:
            yield from self._passed_misfits(ports)

    def _passed_misfits(self, ports: Mapping[int, str]) -> Iterator[Misfit]:
        for node in self.virtual_nodes:
            if node.passed_port > _MAX_PORT or node.passed_port in ports:
                other = ports.get(node.passed_port)
                why = f"used by {other}" if other else f"above {_MAX_PORT}"
                yield Misfit(
                    ("kubelet", "passedPort"),
                    f"port {node.passed_port} for {node.name} is {why}; set another one",
                )


class _UntitledSchema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: object) -> bool:
        """Titles made from field names say nothing that the name does not."""
        return False


def config_schema() -> dict[str, JSON]:
    """JSON Schema (2020-12) of the configuration file."""
    schema: dict[str, JSON] = AgentConfig.model_json_schema(schema_generator=_UntitledSchema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "vnode agent configuration",
    }
