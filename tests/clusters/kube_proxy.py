"""Services on a real node: kube-proxy in the node's network namespace, in iptables mode.

In: a node's site and its running control plane. Out: ClusterIPs and node ports that work from the
node and its pods. Ended by the process table; its rules go with the namespace.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.clusters import network, pki
from tests.clusters.host import answers
from tests.clusters.processes import Stage
from tests.clusters.slots import service_cidr

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters.control_plane import ControlPlane
    from tests.clusters.node_config import NodeSite
    from tests.clusters.processes import ProcessTable

NAME = "kube-proxy"
_USER = "system:kube-proxy"  # has its rights in every cluster
_HEALTH_PORT = 10256
_START_TIMEOUT = 60.0


def proxy_config(site: NodeSite, *, kubeconfig: Path) -> dict[str, Any]:
    """https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/"""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "hostnameOverride": site.name,
        "clusterCIDR": site.pod_cidr,
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": f"{site.address}:{_HEALTH_PORT}",
        "metricsBindAddress": "127.0.0.1:10249",
        # The limits of connection tracking are the machine's, not the namespace's.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
        "iptables": {"minSyncPeriod": "200ms", "syncPeriod": "30s"},
    }


def start(
    site: NodeSite, control_plane: ControlPlane, *, program: Path, table: ProcessTable
) -> None:
    """Starts kube-proxy and returns when its first rules are in place."""
    network.enable_services(site.namespace, service_cidr(control_plane.index))
    authority = control_plane.certificates.authority
    kubeconfig = pki.write_kubeconfig(
        site.folder / "kube-proxy.kubeconfig",
        cluster=control_plane.name,
        server=control_plane.server,
        ca_file=authority.files.cert,
        user=pki.client_user(authority.issue("kube-proxy", _USER, folder=site.folder)),
    )
    config = site.folder / "kube-proxy.json"
    config.write_text(json.dumps(proxy_config(site, kubeconfig=kubeconfig), indent=1))
    record = table.spawn(
        site.name,
        NAME,
        site.inside(program, f"--config={config}"),
        stage=Stage.CONTROLLER,
        log=site.log(NAME),
    )
    url = f"http://{site.address}:{_HEALTH_PORT}/healthz"
    table.wait_until(
        f"services on {site.name}", lambda: answers(url), watch=record, timeout=_START_TIMEOUT
    )
