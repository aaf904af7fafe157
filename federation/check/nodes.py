"""The virtual nodes as the tenant's API server has them, and what they need to know of it.

In: Node objects, and the ConfigMap in which an API server publishes its client CA. Out: findings.
"""

from collections.abc import Sequence

from federation.check.findings import Finding, ok, one_line, warn, wrong
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, NotFound
from vnode.kube.resources import CONFIG_MAPS, NODES
from vnode.kube.types import ConfigMap, NodeName
from vnode.node.objects import Node
from vnode.node.status import COMPUTE_REACHABLE

__all__ = ["AGENT", "client_ca", "judge_node", "node"]

AGENT = "kubectl -n vnode-system get pods; kubectl -n vnode-system logs deploy/vnode"
"""Where to look when a virtual node is not as it should be."""


async def node(client: KubeClient, name: NodeName) -> Sequence[Finding]:
    """Is the virtual node there and healthy? Raises KubeError."""
    try:
        return judge_node(await client.get(NODES, Node, name=name))
    except NotFound:
        return [warn("is not registered: no agent with this configuration has run yet", AGENT)]


def judge_node(found: Node) -> Sequence[Finding]:
    """What a Node says of itself."""
    conditions = {each.type: each for each in found.status.conditions}
    ready, link = conditions.get("Ready"), conditions.get(COMPUTE_REACHABLE)
    if ready is None or ready.status != "True":
        why = f" ({ready.message})" if ready is not None and ready.message else ""
        return [wrong(f"is not Ready{why}: the agent is away", AGENT)]
    if link is not None and link.status == "False":
        text = f"its compute cluster does not answer the agent: {link.message}"
        return [wrong(text, "see the link of that cluster")]
    room = found.status.allocatable
    shown = ", ".join(f"{room[key]} {key}" for key in ("pods", "cpu", "memory") if key in room)
    if room.get("pods", "0") == "0":
        return [wrong("shows room for 0 pods", "see namespaces and capacity of its cluster")]
    return [ok(f"Ready; room for {shown}")]


async def client_ca(client: KubeClient) -> Sequence[Finding]:
    """Does the tenant publish the CA by which its API server is known? Raises KubeError."""
    name, namespace = "extension-apiserver-authentication", "kube-system"
    try:
        found = await client.get(CONFIG_MAPS, ConfigMap, name=name, namespace=namespace)
    except (Forbidden, NotFound) as error:
        text = f"the client CA of the API server cannot be read: {one_line(error)}"
        return [wrong(text, "kubectl apply -f deploy/tenant/rbac.yaml")]
    if not found.data.get("client-ca-file"):
        text = "the API server names no CA of client certificates: logs and exec are refused"
        return [wrong(text, "start it with --client-ca-file and --kubelet-client-certificate")]
    return [ok("the CA of the API server's client certificates is known")]
