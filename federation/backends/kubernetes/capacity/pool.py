"""Which nodes of a compute cluster belong to a pool, what labels and features they share. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vnode.kube.types import APIObject
from vnode.node.objects import Node, Taint
from vnode.node.status import WEBSOCKETS


class Toleration(APIObject, frozen=True):
    """v1.Toleration."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """v1.Toleration.ToleratesTaint; an operator that we do not know tolerates nothing."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        return bool(self.key) and self.operator in ("", "Equal") and self.value == taint.value


@dataclass(frozen=True, slots=True)
class Pool:
    """A part of a compute cluster: the nodes with these labels.

    `tolerations` are those that the pool's pods get below.
    """

    selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[Toleration] = ()

    def contains(self, node: Node) -> bool:
        """Whether the node carries the pool's labels."""
        labels = node.metadata.labels
        return all(labels.get(key) == value for key, value in self.selector.items())

    def accepts_pods(self, node: Node) -> bool:
        """Whether the compute scheduler could place a pod of the pool there now."""
        ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
        return (
            self.contains(node)
            and ready
            and not node.spec.unschedulable
            and node.metadata.deletion_timestamp is None
            and all(self._is_tolerated(taint) for taint in node.spec.taints)
        )

    def _is_tolerated(self, taint: Taint) -> bool:
        if taint.effect == "PreferNoSchedule":
            return True
        return any(toleration.tolerates(taint) for toleration in self.tolerations)


_SINGLE_NODE_KEYS = ("kubernetes.io/hostname", "kubernetes.io/role", "type")
_UNSHARED_PREFIXES = (
    "beta.kubernetes.io/",  # the tenant's controller manager writes them itself
    "failure-domain.beta.kubernetes.io/",
    "node-role.kubernetes.io/",
    "node.kubernetes.io/exclude-",
    "topology.",  # zones and volume topologies of another cluster
    "vnode.dev/",
)


def shared_labels(nodes: Iterable[Node]) -> dict[str, str]:
    """Labels that all these nodes have with the same value, fit to be shown to tenants.

    Left out: roles, topology, what names one node, and values that contain a node's name (in a
    pool of one node every label is shared).
    """
    names: set[str] = set()
    shared: dict[str, str] | None = None
    for node in nodes:
        names.add(node.metadata.name)
        labels = node.metadata.labels
        if shared is None:
            shared = dict(labels)
        elif shared:
            shared = {key: value for key, value in shared.items() if labels.get(key) == value}
    return {
        key: value
        for key, value in sorted((shared or {}).items())
        if key not in _SINGLE_NODE_KEYS
        and not key.startswith(_UNSHARED_PREFIXES)
        and not any(name in value for name in names)
    }


def shared_features(nodes: Iterable[Node]) -> tuple[str, ...] | None:
    """Kubelet features that all these nodes declare (KEP-5328), sorted; None where there is none.

    API servers refuse updates of pods whose node does not declare what they need: resizing
    pod-level resources or init containers (admission NodeDeclaredFeatureValidator, 1.36). How
    streams are taken is the virtual node's own matter, whatever nodes below do.
    """
    shared: set[str] | None = None
    for node in nodes:
        declared = set(node.status.declared_features)
        shared = declared if shared is None else shared & declared
    return None if shared is None else tuple(sorted(shared - {WEBSOCKETS}))
