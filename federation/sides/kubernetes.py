"""A Kubernetes cluster as a compute side: everything of it that is no part of the seam.

In: a kubeconfig, the cluster's configuration, the tenant's stores. Out: `KubernetesCompute`, which
owns the client, and for each term a `KubernetesSide`: the backend with its watches, capacity from
quotas and nodes, the check and the binder of claims, the renewal of our own token.
"""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import structlog

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.capacity.black_hole import NoBlackHole
from federation.backends.kubernetes.capacity.minimum import MinimumCapacity
from federation.backends.kubernetes.capacity.nodes import NodesCapacity
from federation.backends.kubernetes.capacity.pool import Pool
from federation.backends.kubernetes.capacity.pool import Toleration as PoolToleration
from federation.backends.kubernetes.capacity.quota import QuotaCapacity
from federation.backends.kubernetes.capacity.requests import TAKES_FROM_A_NODE, RequestingPod
from federation.backends.kubernetes.capacity.shared_quota import SharedQuota
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.pod_writer import ClaimJudge
from federation.backends.kubernetes.server_version import START_GATES_SINCE, server_version
from federation.backends.kubernetes.translate.names import ANNOTATION_NODE, NamespaceMapping
from federation.backends.kubernetes.translate.policy import (
    DEFAULT_DENIED_PREFIXES,
    PvcMode,
    TranslationPolicy,
)
from federation.backends.static_capacity import StaticCapacity
from federation.claims.binder import ClaimBinder
from federation.claims.check import ClaimCheck
from federation.claims.placeholder import NODE_LABEL, NODE_LABEL_VALUE
from federation.config import (
    CapacitySourceKind,
    ClusterConfig,
    NamespaceCreation,
    NamespaceReclaim,
    PodPolicyConfig,
    PoolConfig,
    VirtualNode,
)
from federation.fluid.datasets import FluidClaims
from federation.patience import when_granted
from federation.renewal import TokenRenewal
from federation.sides.side import Task, Term
from vnode.backend import CapacitySource
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.errors import ConfigError, Forbidden, KubeError
from vnode.kube.resources import NODES, PODS
from vnode.kube.types import ObjectMeta
from vnode.node.objects import Node
from vnode.pods.start_once import StartOnce
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store

__all__ = ["KubernetesCompute", "KubernetesSide", "connect"]

_LOG = structlog.get_logger(__name__)

_GATHER = 0.2
"""Seconds. A node's capacity is published at most once a second; others may make many pods."""


@asynccontextmanager
async def connect(
    cluster: ClusterConfig, *, name: str, user_agent: str, clock: Clock, rng: random.Random
) -> AsyncIterator["KubernetesCompute"]:
    """Open the way to a cluster; nothing is asked of it yet. `name`: for errors.

    Raises:
        ConfigError: its kubeconfig cannot be used.
    """
    client = await KubeClient.connect(
        Connection(
            name=name,
            kubeconfig=cluster.kubeconfig,
            context=cluster.context,
            user_agent=user_agent,
        )
    )
    async with client:
        yield KubernetesCompute(cluster, client, clock=clock, rng=rng)


class KubernetesCompute:
    """A `Compute`, reached by an API server."""

    def __init__(
        self, config: ClusterConfig, client: KubeClient, *, clock: Clock, rng: random.Random
    ) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._rng = rng

    async def probe(self, *, known: Callable[[], Awaitable[bool]]) -> None:
        """See `Compute.probe`."""
        ask = partial(self._client.request, "GET", "/version", timeout=10.0)
        try:
            answer = await ask()
        except KubeError as error:
            if await known():
                _LOG.error(
                    "compute cluster not usable yet", cluster=self._config.name, error=str(error)
                )
                return
            if not isinstance(error, Forbidden):
                raise
            answer = await when_granted(ask, of=self._client.name, clock=self._clock, rng=self._rng)
        self._require_start_gates(server_version(answer))

    def lead(self, term: Term) -> "KubernetesSide":
        """See `Compute.lead`."""
        return KubernetesSide(self._config, self._client, term)

    def _require_start_gates(self, version: tuple[int, int] | None) -> None:
        """Raises ConfigError: `startOnce: strict` cannot be kept there."""
        if self._config.start_once is not StartOnce.STRICT:
            return
        if version is not None and version < START_GATES_SINCE:
            raise ConfigError(
                f"{self._client.name}: startOnce: strict needs schedulingGates, which Kubernetes "
                f"has from {_dotted(START_GATES_SINCE)} on, and this is {_dotted(version)}; "
                "upgrade the cluster or set startOnce: relaxed"
            )


class KubernetesSide:
    """A `Side` for one term; see the module."""

    def __init__(self, config: ClusterConfig, client: KubeClient, term: Term) -> None:
        self._config = config
        self._client = client.guarded(term.may_write)
        self._term = term
        self._shared = term.shared
        self._owner = term.owner
        self.backend = self._make_backend()
        self._inventory = self._watch_inventory()

    def node_labels(self, node: VirtualNode) -> Mapping[str, str]:
        """Where placeholders of claims may be used."""
        mode = self._config.pvc_of(self._config.pool_of(node.name))
        return {} if mode is PvcMode.NONE else {NODE_LABEL: NODE_LABEL_VALUE}

    @property
    def _shares_claims(self) -> bool:
        return self._config in self._shared.config.clusters_with_claims

    def copies(self) -> int:
        """See `Side.copies`."""
        return len(self.backend.pods)

    def follow(self) -> Callable[[], None]:
        """Compute namespaces are served while their tenant namespaces are there."""
        places = self.backend.namespaces
        return self._shared.tenant.each_namespace(places.add, places.release)

    def tasks(self) -> Iterator[Task]:
        """See `Side.tasks`."""
        if (binder := self._binder()) is not None:
            yield "claims", binder.run()
        if (renewal := self._renewal()) is not None:
            yield "token renewal", renewal.run()
        if self._inventory is not None:
            # No scope of a namespace: these two need rights on the whole cluster.
            nodes, pods = self._inventory
            clock, rng = self._shared.clock, self._shared.rng
            node_watch = Reflector(self._client, NODES, Node, nodes, clock=clock, rng=rng)
            pod_watch = Reflector(
                self._client,
                PODS,
                RequestingPod,
                pods,
                field_selector=TAKES_FROM_A_NODE,
                gather=_GATHER,
                clock=clock,
                rng=rng,
            )
            yield "compute nodes", node_watch.run()
            yield "all compute pods", pod_watch.run()

    def _renewal(self) -> TokenRenewal | None:
        """Keeps our own token alive, where the configuration says in which Secret it is."""
        shared, config = self._shared, self._config
        if config.kubeconfig_secret is None:
            return None
        return TokenRenewal(
            self._term.tenant,
            self._client,
            cluster=config.name,
            namespace=shared.config.leader_election.namespace,
            secret=config.kubeconfig_secret,
            context=config.context,
            clock=shared.clock,
            rng=shared.rng,
            ends=partial(shared.metrics.token_ends, config.name),
        )

    # --- claims ---------------------------------------------------------------------------------

    def _binder(self) -> ClaimBinder | None:
        """One for all clusters that share claims: the first of them has it."""
        shared, tenant = self._shared, self._shared.tenant
        if shared.config.clusters_with_claims[:1] != (self._config,):
            return None
        return ClaimBinder(
            self._term.tenant,
            claims=tenant.claims,
            forwards=shared.config.tenant.forwards,
            owner=self._owner,
            clock=shared.clock,
            rng=shared.rng,
        )

    def _fluid(self, mapping: NamespaceMapping) -> FluidClaims | None:
        """Prepares claims below, where a pool has them brought by Fluid."""
        config, term, tenant = self._config, self._term, self._shared.tenant
        if config.fluid is None:
            return None

        def synced() -> bool:
            return term.pods_synced() and all(tenant.claims.synced(s or "") for s in tenant.scopes)

        return FluidClaims(
            self._client,
            term.tenant,
            cluster=config.name,
            claims=tenant.claims,
            secrets=tenant.secrets,
            pods=term.pods,
            nodes={
                pool.node_name_in(config.cluster_name)
                for pool in config.pools
                if config.pvc_of(pool) is PvcMode.FLUID
            },
            pods_synced=synced,
            config=config.fluid,
            owner=self._owner,
            mapping=mapping,
            clock=self._shared.clock,
            rng=self._shared.rng,
        )

    def _claim_check(self) -> ClaimJudge | None:
        if not self._shares_claims:
            return None
        claims = self._shared.tenant.claims
        return ClaimCheck(self._term.tenant, claim=claims.get, owner=self._owner).require

    # --- capacity -------------------------------------------------------------------------------

    def _watch_inventory(self) -> tuple[Store[Node], Store[RequestingPod]] | None:
        """The cluster's nodes and pods, where a pool's capacity comes from them."""
        if not any(CapacitySourceKind.NODES in p.capacity.sources for p in self._config.pools):
            return None
        return Store(f"{self._config.name} nodes"), Store(f"{self._config.name} all pods")

    def capacity(self, node: VirtualNode) -> CapacitySource:
        """See `Side.capacity`."""
        backend, owner, pool = self.backend, self._owner, self._config.pool_of(node.name)
        settings = pool.capacity

        def is_own(metadata: ObjectMeta) -> bool:
            return owner.owns(metadata) and metadata.annotations.get(ANNOTATION_NODE) == node.name

        def is_others(metadata: ObjectMeta) -> bool:
            return owner.owns(metadata) and metadata.annotations.get(ANNOTATION_NODE) != node.name

        limits: list[CapacitySource] = []
        if CapacitySourceKind.STATIC in settings.sources and settings.static is not None:
            limits.append(StaticCapacity(settings.static))
        if CapacitySourceKind.QUOTA in settings.sources:
            places = backend.namespaces
            quota = QuotaCapacity(
                backend.quotas, scopes=places.ready, complete=lambda: places.judged
            )
            limits.append(SharedQuota(quota, backend.pods, is_others=is_others))
        counted = None
        if CapacitySourceKind.NODES in settings.sources and self._inventory is not None:
            nodes, pods = self._inventory
            counted = NodesCapacity(nodes, pods, pool=_pool(pool), is_own=is_own)
        least = MinimumCapacity(limits, inventory=counted)
        return NoBlackHole(least, backend.pods, is_own=is_own)

    # --- backend --------------------------------------------------------------------------------

    def _make_backend(self) -> KubernetesBackend:
        namespaces, owner = self._config.namespaces, self._owner
        forwarded = self._shared.config.tenant.namespaces
        mapping = NamespaceMapping(
            tenant=owner.tenant, mode=namespaces.mode, table=namespaces.table
        )
        return KubernetesBackend(
            self._client,
            cluster=self._config.name,
            owner=owner,
            namespaces=mapping,
            policies={
                pool.node_name_in(self._config.cluster_name): policy_of(
                    self._config.policy, pool, namespaces=forwarded
                )
                for pool in self._config.pools
            },
            on_demand=self._on_demand(),
            claim_check=self._claim_check(),
            prepared_claims=self._fluid(mapping),
            forwards=self._shared.config.tenant.forwards,
            sidecar_patience=self._config.policy.sidecar_patience,
            clock=self._shared.clock,
            rng=self._shared.rng,
            usage=self._config.usage,
        )

    def _on_demand(self) -> OnDemand | None:
        namespaces, metrics = self._config.namespaces, self._shared.metrics
        if namespaces.create is NamespaceCreation.NEVER:
            return None
        return OnDemand(
            is_gone=self._shared.tenant.is_gone,
            labels=namespaces.labels_of_new,
            delete=namespaces.reclaim is NamespaceReclaim.DELETE,
            report=lambda counts: metrics.namespaces_kept(self._config.name, counts),
        )


def policy_of(
    policy: PodPolicyConfig, pool: PoolConfig, *, namespaces: Collection[str]
) -> TranslationPolicy:
    """How pods of a pool are translated; `namespaces` are those that are forwarded, none: all."""
    denied, eci = policy.deny_prefixes, pool.eci_nodes
    labels, annotations = (eci.labels, eci.annotations) if eci else ({}, {})
    return TranslationPolicy(
        node_selector=pool.node_selector,
        tolerations=tuple(
            t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in pool.tolerations
        ),
        passthrough=frozenset(policy.passthrough),
        scheduling_keys=frozenset(policy.scheduling_keys),
        denied_prefixes=DEFAULT_DENIED_PREFIXES if denied is None else denied,
        priority_classes=policy.priority_classes,
        runtime_classes=policy.runtime_classes,
        scheduler_names=policy.scheduler_names,
        allow=frozenset(policy.allow),
        overlay_labels={**policy.overlay.labels, **labels, **pool.overlay.labels},
        overlay_annotations={
            **policy.overlay.annotations,
            **annotations,
            **pool.overlay.annotations,
        },
        eci=eci.specs_for(pool.labels) if eci else None,
        expose_host_ip=policy.expose_host_ip,
        pvc=pool.pvc or policy.pvc,
        namespaces=frozenset(namespaces),
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _pool(pool: PoolConfig) -> Pool:
    return Pool(
        selector=pool.node_selector,
        tolerations=[
            PoolToleration(
                key=t.key or "", operator=t.operator, value=t.value, effect=t.effect or ""
            )
            for t in pool.tolerations
        ],
    )
