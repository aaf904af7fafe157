"""What compute clusters of every kind have: a name, a network, pools that are virtual nodes.

In: validated scalars. Out: frozen bases of the models in `clusters` (Kubernetes) and `eci`. Fields
are named as in Kubernetes.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence

from pydantic import Field

from federation.config.values import (
    DnsLabel,
    Duration,
    LabelKey,
    LabelValue,
    Misfit,
    ObjectName,
    Port,
    Section,
)
from vnode.kube.types import ClusterName, NodeName
from vnode.pods.orphans import ORPHAN_GRACE

DEFAULT_POOL = "default"


class ComputeKind(enum.StrEnum):
    """What a compute cluster is."""

    KUBERNETES = "kubernetes"
    ECI = "eci"


class NetworkMode(enum.StrEnum):
    """Whether pod addresses of the compute cluster mean anything in the tenant cluster."""

    ISOLATED = "isolated"
    FLAT = "flat"


class TaintEffect(enum.StrEnum):
    """v1.TaintEffect."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Taint(Section):
    """v1.Taint of a virtual node."""

    key: LabelKey
    value: LabelValue = ""
    effect: TaintEffect


class NodePool(Section):
    """A part of a compute cluster that appears as one virtual node in the tenant."""

    name: DnsLabel = DEFAULT_POOL
    node_name: ObjectName | None = None
    """Name of the virtual node. null: vnode-<cluster> for the pool named default, otherwise
    vnode-<cluster>-<pool>."""
    port: Port | None = None
    """Kubelet port of the virtual node. null: kubelet.basePort + its position in the file."""
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels of the virtual node."""
    taints: tuple[Taint, ...] | None = None
    """Taints of the virtual node. null: vnode.dev/provider=<cluster>:NoSchedule."""

    def node_name_in(self, cluster: ClusterName) -> NodeName:
        """Name of this pool's virtual node."""
        if self.node_name is not None:
            return NodeName(self.node_name)
        suffix = "" if self.name == DEFAULT_POOL else f"-{self.name}"
        return NodeName(f"vnode-{cluster}{suffix}")

    def taints_in(self, cluster: ClusterName) -> tuple[Taint, ...]:
        """Taints of this pool's virtual node."""
        if self.taints is not None:
            return self.taints
        return (Taint(key="vnode.dev/provider", value=cluster, effect=TaintEffect.NO_SCHEDULE),)


class ComputeConfig(Section):
    """A compute cluster of any kind."""

    name: DnsLabel
    """Name in logs, metrics and node names; never shown inside pods."""
    network: NetworkMode = NetworkMode.ISOLATED
    """flat: pods of the tenant reach pods of this cluster by address; isolated: they do not."""
    orphan_grace: Duration = ORPHAN_GRACE
    """Time for which pods whose tenant pods went with their Node, or by pod garbage collection, are
    kept running; `vnode gc` lists them and lets them go earlier."""

    @property
    def cluster_name(self) -> ClusterName:
        """`name`, typed."""
        return ClusterName(self.name)


def pool_misfits(pools: Sequence[NodePool]) -> Iterator[Misfit]:
    """Pools of one cluster that have one name."""
    seen: set[str] = set()
    for index, pool in enumerate(pools):
        if pool.name in seen:
            yield Misfit(
                ("pools", index, "name"),
                f'"{pool.name}" is used twice; pool names must be unique within a cluster',
            )
        seen.add(pool.name)
