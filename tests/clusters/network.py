"""The network of real nodes: one bridge per harness, one network namespace per node.

In: a slot. Out: a bridge with an address of the host (and one per control plane), and for each
node a namespace whose eth0 hangs on that bridge. Kubelets therefore all use port 10250, and
iptables rules, host-network pods and host ports are a node's own. Namespaces have no way out of
the machine; host, nodes and pods of one harness reach each other without address translation.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import CommandError
from tests.clusters.host import run

if TYPE_CHECKING:
    from tests.clusters.slots import Slot

_NAMESPACES = Path("/run/netns")
_BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
_BRIDGE_BITS = 18  # nodes and control planes; the rest of the slot's /16 are pods


def create_bridge(slot: Slot, *, clusters: int) -> None:
    """Makes the bridge with the host's address and one for each control plane."""
    run("ip", "link", "add", slot.bridge, "type", "bridge")
    addresses = [slot.control_plane_address(index) for index in range(clusters)]
    run("ip", "address", "add", f"{slot.host_address}/{_BRIDGE_BITS}", "dev", slot.bridge)
    for address in addresses:
        run("ip", "address", "add", f"{address}/32", "dev", slot.bridge)
    run("ip", "link", "set", slot.bridge, "up")


def create_node(slot: Slot, node: int, *, nodes: int) -> Path:
    """Makes the namespace of one of `nodes` nodes and returns its path, for nsenter.

    Programs must be started with nsenter: `ip netns exec` would hide the cgroups from them.
    """
    name = _namespace(slot, node)
    inside = ("ip", "-netns", name)
    run("ip", "netns", "add", name)
    outer = f"{slot.bridge}h{node}"
    run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", outer, "master", slot.bridge, "up")
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{slot.node_address(node)}/{_BRIDGE_BITS}", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    for other in set(range(nodes)) - {node}:
        via = ("via", slot.node_address(other), "dev", "eth0")
        run(*inside, "route", "add", slot.pod_cidr(other), *via)
    host_via = ("via", slot.node_address(node), "dev", slot.bridge)
    run("ip", "route", "add", slot.pod_cidr(node), *host_via)
    path = _NAMESPACES / name
    run("nsenter", f"--net={path}", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    return path


def enable_services(namespace: Path, service_cidr: str) -> None:
    """Prepares a node's namespace for kube-proxy.

    The kernel asks for a route to a ClusterIP before kube-proxy's rules replace the address, so
    there is one, which is never followed. Pods of one node must meet those rules too, although
    their packets only cross a bridge.
    """
    inside = ("nsenter", f"--net={namespace}", "--")
    run(*inside, "ip", "route", "add", service_cidr, "dev", "eth0")
    if not _BRIDGE_FILTER.exists():
        run("modprobe", "br_netfilter")
    run(*inside, "sh", "-c", f"echo 1 >{_BRIDGE_FILTER}")


def remove(slot: Slot) -> None:
    """Removes namespaces, links, addresses and routes of a slot; none may be there."""
    for path in _NAMESPACES.glob(f"{slot.bridge}-*"):
        run("ip", "netns", "delete", path.name)  # its eth0, so the host's end too, goes with it
    if Path(f"/sys/class/net/{slot.bridge}").exists():
        run("ip", "link", "delete", slot.bridge)  # its addresses and routes go with it
    if _NAMESPACES.exists() and not any(_NAMESPACES.iterdir()):
        with contextlib.suppress(CommandError):  # busy: somebody else has just begun to use it
            run("umount", _NAMESPACES)


def _namespace(slot: Slot, node: int) -> str:
    return f"{slot.bridge}-{node}"
