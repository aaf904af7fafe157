"""What stands under `clusters:` for Kubernetes clusters - their pools, policy and capacity.

In: validated scalars. Out: frozen models. Checks within one cluster live here; checks across
clusters live in `federation.config.agent`. Fields are named as in Kubernetes. Choices that the
translation reads are defined there, in `names` and `policy`.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from federation.backends.kubernetes.held_up import PATIENCE
from federation.backends.kubernetes.translate.names import (
    LABEL_MANAGED_BY,
    LABEL_TENANT,
    NamespaceMode,
)
from federation.backends.kubernetes.translate.policy import FluidDialect, HostAccess, PvcMode
from federation.backends.kubernetes.usage.reader import UsageMode
from federation.config.compute import (
    ComputeConfig,
    ComputeKind,
    NodePool,
    TaintEffect,
    pool_misfits,
)
from federation.config.eci_nodes import EciNodesConfig
from federation.config.fluid import FluidConfig
from federation.config.values import (
    DnsLabel,
    Duration,
    FeatureName,
    FilePath,
    LabelKey,
    LabelValue,
    Misfit,
    ObjectName,
    Quantity,
    Section,
    refuse,
)
from vnode.kube.types import NodeName
from vnode.pods.start_once import StartOnce

DEFAULT_NAMESPACE_LABELS = {"pod-security.kubernetes.io/enforce": "baseline"}
OWN_LABELS = frozenset({LABEL_TENANT, LABEL_MANAGED_BY})


class CapacitySourceKind(enum.StrEnum):
    """Where a virtual node's capacity comes from."""

    STATIC = "static"
    QUOTA = "quota"
    NODES = "nodes"


class NamespaceCreation(enum.StrEnum):
    """Whether the agent makes compute namespaces that are missing."""

    NEVER = "Never"
    ON_DEMAND = "OnDemand"


class NamespaceReclaim(enum.StrEnum):
    """What becomes of a namespace that the agent made when its tenant namespace is gone."""

    RETAIN = "Retain"
    DELETE = "Delete"


class TolerationOperator(enum.StrEnum):
    """v1.TolerationOperator."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class Toleration(Section):
    """v1.Toleration that pods of a pool get in the compute cluster."""

    key: LabelKey | None = None
    """null with operator Exists: all taints."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    value: LabelValue = ""
    effect: TaintEffect | None = None
    """null: all effects."""
    toleration_seconds: int | None = None
    """Seconds; only with effect NoExecute. null: for ever."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key is None and self.operator is not TolerationOperator.EXISTS:
            raise ValueError("key is missing; give one, or set operator: Exists for all taints")
        if self.value and self.operator is TolerationOperator.EXISTS:
            raise ValueError("operator Exists takes no value; remove it or set operator: Equal")
        if self.toleration_seconds is not None and self.effect is not TaintEffect.NO_EXECUTE:
            raise ValueError("tolerationSeconds needs effect: NoExecute")
        return self


class NamespacesConfig(Section):
    """Which compute namespace belongs to a tenant namespace."""

    mode: NamespaceMode = NamespaceMode.PREFIX
    """prefix: <tenant>--<namespace>; same: the same name; map: by table."""
    table: Mapping[DnsLabel, DnsLabel] = Field(default_factory=dict)
    """Tenant namespace -> compute namespace, for mode map."""
    create: NamespaceCreation = NamespaceCreation.NEVER
    """Never: namespaces are prepared by the platform; OnDemand: the agent makes one when a pod
    needs it, with rights in the whole cluster (vnode join --on-demand)."""
    reclaim: NamespaceReclaim = NamespaceReclaim.RETAIN
    """Delete: a namespace that the agent made goes when its tenant namespace is gone and no pod and
    no claim is left in it; Retain: it stays, and is reported."""
    labels: Mapping[LabelKey, LabelValue] | None = None
    """Labels of namespaces that the agent makes. null: pods that reach for the node are refused
    (pod-security.kubernetes.io/enforce: baseline)."""

    @property
    def labels_of_new(self) -> Mapping[str, str]:
        """`labels`, or the default ones."""
        return DEFAULT_NAMESPACE_LABELS if self.labels is None else self.labels

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("namespaces", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        if self.table and self.mode is not NamespaceMode.MAP:
            yield Misfit(
                ("table",),
                f"only mode map has a table, this is mode {self.mode}; remove it or set mode: map",
            )
        if self.mode is NamespaceMode.MAP and not self.table:
            yield Misfit(
                ("table",), "is missing; mode map needs an entry for each tenant namespace"
            )
        if self.labels is not None and self.create is NamespaceCreation.NEVER:
            yield Misfit(
                ("labels",), "is only for namespaces that the agent makes; set create: OnDemand"
            )
        if self.reclaim is NamespaceReclaim.DELETE and self.create is NamespaceCreation.NEVER:
            yield Misfit(
                ("reclaim",), "is only for namespaces that the agent makes; set create: OnDemand"
            )
        for key in self.labels or ():
            if key in OWN_LABELS:
                yield Misfit(("labels", key), "says whose a namespace is; remove it")
        seen: set[str] = set()
        for tenant, compute in self.table.items():
            if compute in seen:
                yield Misfit(
                    ("table", tenant),
                    f'"{compute}" is used twice; each tenant namespace needs its own',
                )
            seen.add(compute)


class OverlayConfig(Section):
    """Labels and annotations that every pod of ours carries in the compute cluster."""

    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    annotations: Mapping[LabelKey, str] = Field(default_factory=dict)


class PodPolicyConfig(Section):
    """What tenant pods may ask of a compute cluster, and what is put in the place of what."""

    allow: tuple[HostAccess, ...] = ()
    """Host features that pods may use; all others are rejected."""
    passthrough: tuple[LabelKey, ...] = ()
    """Keys of node labels, taints and topologies that mean the same in both clusters: selectors,
    affinity terms and tolerations with them travel as they are."""
    scheduling_keys: tuple[LabelKey, ...] = ()
    """Label keys that annotation vnode.dev/compute-scheduling may use."""
    deny_prefixes: tuple[str, ...] | None = None
    """Labels and annotations with these prefixes do not travel. null: the built-in list;
    a list replaces it (vnode.dev/ never travels). `*` stands for anything but a slash."""
    priority_classes: Mapping[ObjectName, ObjectName] = Field(default_factory=dict)
    """Tenant PriorityClass -> compute PriorityClass; others run with the compute default."""
    runtime_classes: Mapping[ObjectName, ObjectName] = Field(default_factory=dict)
    """Tenant RuntimeClass -> compute RuntimeClass; pods with others are rejected."""
    scheduler_names: Mapping[str, str] = Field(default_factory=dict)
    """schedulerName in the tenant -> in the compute cluster; others get the compute default."""
    expose_host_ip: bool = False
    """true: pods see the compute node's address as status.hostIP."""
    pvc: PvcMode = PvcMode.NONE
    """none: pods with claims wait; shared: the claim exists below by that name; fluid: the same,
    and claims with label fluid.io/runtime-profile are brought to pods by Fluid."""
    fluid: FluidConfig | None = None
    """What claims may ask of Fluid, for pvc: fluid."""
    overlay: OverlayConfig = OverlayConfig()
    sidecar_patience: Duration = PATIENCE
    """Time for which whoever adds containers to pods in the compute cluster (Fluid, ECI) may end
    them once the pod's own have ended; then the agent does."""


class CapacityConfig(Section):
    """What a virtual node offers. Of several sources the smallest number counts."""

    sources: tuple[CapacitySourceKind, ...] = Field(
        default=(CapacitySourceKind.QUOTA,), min_length=1
    )
    """static: as written here; quota: ResourceQuotas; nodes: free room on the pool's nodes."""
    static: Mapping[LabelKey, Quantity] | None = None
    """Quantity by resource name, for source static."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("capacity", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        for index, source in enumerate(self.sources):
            if source in self.sources[:index]:
                yield Misfit(("sources", index), f"{source} is listed twice; remove one")
        is_source = CapacitySourceKind.STATIC in self.sources
        if is_source and not self.static:
            yield Misfit(
                ("static",),
                'is missing; source static needs numbers, like {cpu: "64", memory: 512Gi, '
                'pods: "110"}',
            )
        if self.static and not is_source:
            yield Misfit(("static",), "is not used; add static to sources or remove it")
        only_static = self.sources == (CapacitySourceKind.STATIC,)
        if only_static and self.static and "pods" not in self.static:
            yield Misfit(
                ("static",), 'has no "pods", so no pod would fit; add it, like pods: "110"'
            )


class PoolConfig(NodePool):
    """A part of a Kubernetes cluster that appears as one virtual node in the tenant."""

    node_selector: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the compute nodes that make up the pool; every pod of ours gets it."""
    tolerations: tuple[Toleration, ...] = ()
    """Tolerations that every pod of ours gets in the compute cluster."""
    eci_nodes: EciNodesConfig | None = None
    """Pods of this pool run on ECI nodes of the compute cluster; null: on ordinary ones."""
    overlay: OverlayConfig = OverlayConfig()
    """Labels and annotations of pods of this pool in the compute cluster, over those of
    policy.overlay: what serverless nodes want to know, such as
    k8s.aliyun.com/eci-use-specs."""
    capacity: CapacityConfig = CapacityConfig()
    pvc: PvcMode | None = None
    """policy.pvc for this pool alone. null: the cluster's."""
    declared_features: tuple[FeatureName, ...] | None = None
    """Kubelet features that the virtual node declares, such as
    InPlacePodLevelResourcesVerticalScaling: the tenant's API server refuses what needs others.
    null: those that all nodes of the pool declare, with capacity source nodes; else none."""


class ClusterConfig(ComputeConfig):
    """A Kubernetes cluster, by its API server."""

    kind: Literal[ComputeKind.KUBERNETES] = ComputeKind.KUBERNETES
    kubeconfig: FilePath
    """Credential for the compute cluster; relative paths start at this file's folder."""
    context: str | None = None
    """Context in the kubeconfig. null: its current-context."""
    kubeconfig_secret: ObjectName | None = None
    """Secret in leaderElection.namespace that the kubeconfig is mounted from, key `kubeconfig`: the
    agent renews the ServiceAccount token in it. null: somebody else renews the credential."""
    namespaces: NamespacesConfig = NamespacesConfig()
    policy: PodPolicyConfig = PodPolicyConfig()
    usage: UsageMode = UsageMode.AUTO
    """Where resource usage of pods is read. metricsAPI: metrics-server of the compute cluster;
    kubelet: its kubelets, by the broad right to get nodes/proxy; auto: what the credential may,
    metricsAPI first; none: nowhere, pods are listed without usage."""
    start_once: StartOnce = StartOnce.RELAXED
    """strict: a pod starts only after the tenant knows that it was sent, for two more writes each,
    where the compute cluster has Kubernetes 1.27 or newer (schedulingGates); relaxed: one that
    others remove before that may run a second time."""
    pools: tuple[PoolConfig, ...] = Field(default=(PoolConfig(),), min_length=1)

    def pool_of(self, node: NodeName) -> PoolConfig:
        """The pool of one of its virtual nodes."""
        return next(p for p in self.pools if p.node_name_in(self.cluster_name) == node)

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("cluster", self._misfits())
        return self

    def pvc_of(self, pool: PoolConfig) -> PvcMode:
        """What happens to claims of pods of a pool."""
        return pool.pvc or self.policy.pvc

    def has_pvc(self, *modes: PvcMode) -> bool:
        """Whether any pool has one of these modes."""
        return any(self.pvc_of(pool) in modes for pool in self.pools)

    @property
    def fluid(self) -> FluidConfig | None:
        """What claims may ask of Fluid; None: no pool has it."""
        return self.policy.fluid if self.has_pvc(PvcMode.FLUID) else None

    @property
    def has_privileged_sidecars(self) -> bool:
        """Whether pods get sidecars that Pod Security has to let pass."""
        return self.fluid is not None and self.fluid.dialect is FluidDialect.FLUID

    def _misfits(self) -> Iterator[Misfit]:
        yield from pool_misfits(self.pools)
        uses_fluid = self.has_pvc(PvcMode.FLUID)
        if uses_fluid and self.policy.fluid is None:
            yield Misfit(
                ("policy", "fluid"),
                "is missing; pvc: fluid needs at least the profiles that claims may name, like "
                "{profiles: [my-profile]}",
            )
        if uses_fluid and self.namespaces.create is NamespaceCreation.ON_DEMAND:
            yield Misfit(
                ("namespaces", "create"),
                "pvc: fluid needs prepared namespaces; set create: Never, or another pvc",
            )
        if self.policy.fluid is not None and not uses_fluid:
            yield Misfit(("policy", "fluid"), "is not used; set pvc: fluid, in policy or in a pool")
        for index, pool in enumerate(self.pools):
            only_quota = pool.capacity.sources == (CapacitySourceKind.QUOTA,)
            if only_quota and self.namespaces.create is NamespaceCreation.ON_DEMAND:
                yield Misfit(
                    ("pools", index, "capacity", "sources"),
                    "quota alone shows no capacity before the first namespace is made, so no pod "
                    "would ever need one; add static or nodes, or set namespaces.create: Never",
                )
