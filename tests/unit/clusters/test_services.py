"""Cluster DNS and kube-proxy are told what to serve."""

from pathlib import Path

from tests.clusters.cluster_dns import corefile
from tests.clusters.kube_proxy import proxy_config
from tests.clusters.node_config import NodeSite

SITE = NodeSite(
    name="gpu-node-0",
    folder=Path("/state/nodes/n1"),
    namespace=Path("/run/netns/vnc0-0"),
    address="10.200.1.1",
    pod_cidr="10.200.64.0/24",
    cgroup="vnode-clusters-0/n1",
)


def test_names_outside_of_the_cluster_do_not_exist() -> None:
    """In a block of their own: `template` would answer for the cluster's names as well."""
    inside, outside = corefile(
        address="10.200.0.10", ready_port=20007, kubeconfig=Path("/state/admin.kubeconfig")
    ).split("\n.:53")
    assert "kubernetes cluster.local in-addr.arpa ip6.arpa" in inside
    assert "template" not in inside
    assert "rcode NXDOMAIN" in outside


def test_dns_listens_on_one_address_of_the_bridge() -> None:
    text = corefile(address="10.200.0.10", ready_port=20007, kubeconfig=Path("/k"))
    assert text.count("bind 10.200.0.10") == len(text.split("\n}\n")) - 1
    assert "ready 10.200.0.10:20007" in text


def test_the_proxy_knows_its_node_and_its_pods() -> None:
    config = proxy_config(SITE, kubeconfig=Path("/state/kube-proxy.kubeconfig"))
    assert (config["hostnameOverride"], config["clusterCIDR"]) == ("gpu-node-0", "10.200.64.0/24")
    assert config["mode"] == "iptables"
