"""Does the capacity source of a pool answer, and does it give room for a pod?

In: the pool's configuration and, for source `nodes`, the nodes of the compute cluster. Out: what
the virtual node would show, or why it would show nothing. Quotas are looked at with their
namespaces.
"""

from collections.abc import Iterable, Mapping, Sequence

from federation.backends.kubernetes.capacity.pool import Pool, Toleration
from federation.check.findings import Finding, ok, warn, wrong
from federation.config import CapacitySourceKind, PoolConfig
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden
from vnode.kube.listing import Selection, list_pages
from vnode.kube.quantity import ZERO, Quantity
from vnode.kube.resources import NODES
from vnode.node.objects import Node

__all__ = ["capacity", "judge_nodes", "judge_static"]


async def capacity(client: KubeClient, pool: PoolConfig, *, mend: str) -> Sequence[Finding]:
    """Ask the sources of a pool. Raises KubeError."""
    settings = pool.capacity
    findings = []
    if CapacitySourceKind.STATIC in settings.sources:
        findings.append(judge_static(settings.static or {}))
    if CapacitySourceKind.NODES in settings.sources:
        try:
            pages = list_pages(client, Selection(NODES), Node)
            nodes = [each async for page in pages for each in page.items or ()]
        except Forbidden:
            return [*findings, wrong("source nodes: may not list nodes", mend)]
        findings.append(judge_nodes(nodes, pool))
    return findings or [ok("source quota: see the namespaces")]


def judge_static(numbers: Mapping[str, str]) -> Finding:
    """Fixed numbers."""
    if Quantity.parse(numbers.get("pods", "1")) == ZERO:
        return wrong("source static: 0 pods, so none fits", "raise capacity.static.pods")
    return ok("source static: " + ", ".join(f"{v} {k}" for k, v in sorted(numbers.items())))


def judge_nodes(nodes: Iterable[Node], config: PoolConfig) -> Finding:
    """Nodes of the pool."""
    pool = Pool(
        selector=dict(config.node_selector),
        tolerations=[
            Toleration(
                key=each.key or "",
                operator=each.operator.value,
                value=each.value,
                effect=each.effect.value if each.effect else "",
            )
            for each in config.tolerations
        ],
    )
    nodes = list(nodes)
    members = [each for each in nodes if pool.contains(each)]
    usable = [each for each in members if pool.accepts_pods(each)]
    if not members:
        text = f"source nodes: none of {len(nodes)} nodes has the labels of nodeSelector"
        return wrong(text, f"label nodes below, or correct nodeSelector of pool {config.name}")
    if not usable:
        text = f"source nodes: none of {len(members)} is ready, schedulable and tolerated"
        return wrong(text, f"kubectl get nodes; or add tolerations to pool {config.name}")
    if len(usable) < len(members):
        return warn(f"source nodes: {len(usable)} of {len(members)} take pods", "kubectl get nodes")
    return ok(f"source nodes: {len(usable)} of {len(members)} take pods")
