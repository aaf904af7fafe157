"""Clusters need what they are asked to be, and nothing more."""

import pytest

from tests.clusters import programs
from tests.clusters.errors import UnsupportedError
from tests.clusters.launch import programs_for, simulated_cidr
from tests.clusters.spec import ClusterSpec, NodePool


def test_ordinary_clusters_need_only_ordinary_programs() -> None:
    specs = [ClusterSpec("tenant", real_nodes=1, cluster_ips=True)]
    specs.append(ClusterSpec("kwok", kwok=NodePool(1)))
    assert programs_for(specs) == set(programs.ORDINARY)


def test_conformance_needs_services_and_upstream_s_containerd() -> None:
    additional = programs_for([ClusterSpec("gpu", real_nodes=1, conformance=True)])
    assert additional > {"coredns", "kube-proxy", "containerd", "containerd-shim-runc-v2", "ctr"}


def test_services_without_any_real_node_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="real node"):
        programs_for([ClusterSpec("tenant", services=True)])


def test_simulated_pods_have_addresses_of_their_cluster_or_as_asked() -> None:
    blocks = {"gpu": "10.200.64.0/24"}
    assert simulated_cidr(3, NodePool(1), blocks) == "10.243.0.0/16"
    assert simulated_cidr(3, NodePool(1, cidr="10.9.0.0/24"), blocks) == "10.9.0.0/24"
    assert simulated_cidr(3, NodePool(1, cidr="gpu"), blocks) == "10.200.64.0/24"


def test_addresses_of_a_cluster_without_real_nodes_cannot_be_had() -> None:
    with pytest.raises(UnsupportedError, match="'other'"):
        simulated_cidr(0, NodePool(1, cidr="other"), {"gpu": "10.200.64.0/24"})
