"""What a virtual node is: the settled identity from which its Node object is made.

One `VirtualNode` per compute cluster and pool, built from configuration by the agent. Nothing here
changes while the node is served; what changes (capacity, reachability) flows into
`vnode.node.status` beside it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vnode.kube.types import NodeName
from vnode.node.objects import Taint

PROVIDER_TAINT = "vnode.dev/provider"
"""Key of the default taint; its value is the shown cluster name."""

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LONGEST_LABEL_VALUE = 63


def kubelet_version(git_version: str) -> str:
    """Kubelet version of a virtual node in a cluster whose API server has this gitVersion.

    The mark is SemVer build metadata, so version skew checks see the server's own version
    (`-vnode` would mark a pre-release, which sorts below it).
    """
    separator = "." if "+" in git_version else "+"
    return f"{git_version}{separator}vnode"


def provider_id(*, tenant: str, cluster: str, pool: str) -> str:
    """spec.providerID: the same after every restart, and by which a Node is known as ours."""
    return f"vnode://{tenant}/{cluster}/{pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualNode:
    """One virtual node as the tenant's users see it.

    Raises:
        ValueError: a name that Kubernetes would refuse as node name or label value.
    """

    name: NodeName
    """At most 63 characters, as it is also the value of the label kubernetes.io/hostname."""
    tenant: str
    cluster: str
    """The cluster's shown name; it is not a secret of the compute side."""
    pool: str
    address: str
    """IP address at which the tenant's API server reaches the kubelet API."""
    port: int
    """Port of the kubelet API; each virtual node has its own."""
    version: str
    """Kubelet version that the Node shows, see `kubelet_version`."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Further labels from the configuration."""
    taints: tuple[Taint, ...] | None = None
    """Set when the Node is created, users may change them; None: the default taint."""
    agent_version: str = "0.0.0"
    operating_system: str = "linux"
    architecture: str = "amd64"
    """Used where the pool's nodes do not all have the same."""
    declared_features: tuple[str, ...] | None = None
    """status.declaredFeatures, sorted; None: what all nodes of the pool declare, where known."""

    def __post_init__(self) -> None:
        if len(self.name) > _LONGEST_LABEL_VALUE or not _NODE_NAME.fullmatch(self.name):
            raise ValueError(
                f"node name {self.name!r} is not usable: at most 63 lower-case letters, digits,"
                " '-' and '.', beginning and ending with a letter or digit"
            )
        for what, value in (("cluster", self.cluster), ("pool", self.pool)):
            if len(value) > _LONGEST_LABEL_VALUE or not _LABEL_VALUE.fullmatch(value):
                raise ValueError(
                    f"{what} name {value!r} of node {self.name} is not usable as a label value: at"
                    " most 63 letters, digits, '-', '_' and '.', the ends a letter or digit"
                )

    @property
    def provider_id(self) -> str:
        """spec.providerID, see `provider_id`."""
        return provider_id(tenant=self.tenant, cluster=self.cluster, pool=self.pool)

    @property
    def initial_taints(self) -> tuple[Taint, ...]:
        """Taints that a new Node object gets."""
        if self.taints is not None:
            return self.taints
        return (Taint(key=PROVIDER_TAINT, value=self.cluster, effect="NoSchedule"),)
