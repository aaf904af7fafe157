"""What `--cluster` texts and keyword arguments mean."""

import pytest

from tests.clusters.spec import ClusterSpec, NodePool, SpecError, parse_cluster_spec


def test_a_bare_name_is_a_control_plane_without_nodes() -> None:
    assert parse_cluster_spec("tenant") == ClusterSpec("tenant")


def test_gpus_count_for_real_nodes() -> None:
    spec = parse_cluster_spec("gpu-a:real=2,gpus=4")
    assert (spec.real_nodes, spec.gpus_per_real_node, spec.kwok) == (2, 4, None)


def test_kwok_nodes_have_sizes_and_gpu_labels() -> None:
    pool = parse_cluster_spec("gpu-b:kwok=4,gpus=2,cpu=8,memory=64Gi,pods=20").kwok
    assert pool is not None
    assert (pool.count, pool.cpu, pool.memory, pool.gpus, pool.pods) == (4, "8", "64Gi", 2, 20)
    assert pool.labels["nvidia.com/gpu.count"] == "2"


def test_nodes_without_gpus_have_no_gpu_labels() -> None:
    pool = parse_cluster_spec("cpu:kwok=1,gpus=0").kwok
    assert pool is not None
    assert pool.labels == {}


def test_conformance_nodes_have_services() -> None:
    spec = parse_cluster_spec("gpu:real=1,conformance=1")
    assert (spec.conformance, spec.services, spec.has_services) == (True, False, True)


def test_nodes_pull_where_they_are_asked_to_and_for_conformance() -> None:
    assert parse_cluster_spec("gpu:real=1,pulls=1").has_registry
    assert parse_cluster_spec("gpu:real=1,conformance=1").has_registry
    assert not parse_cluster_spec("gpu:real=1").has_registry


def test_a_cluster_without_nodes_may_have_services() -> None:
    assert parse_cluster_spec("tenant:services=1").has_services
    assert not parse_cluster_spec("tenant:services=0").has_services


@pytest.mark.parametrize("cidr", ["10.9.0.0/24", "gpu"])
def test_simulated_pods_get_addresses_of_a_block_or_of_another_cluster(cidr: str) -> None:
    pool = parse_cluster_spec(f"b:kwok=1,cidr={cidr}").kwok
    assert pool is not None
    assert pool.cidr == cidr


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Upper", "DNS label"),
        ("", "DNS label"),
        ("a" * 32, "DNS label"),
        ("x:real", "KEY=VALUE"),
        ("x:real=", "KEY=VALUE"),
        ("x:real=two", "not a number"),
        ("x:real=-1", "negative"),
        ("x:colour=red", "unknown option colour"),
        ("x:cpu=4", "kwok=COUNT"),
        ("x:cidr=10.9.0.0/24", "kwok=COUNT"),
        ("x:kwok=1,cidr=10.9.0.1/24", "block of addresses"),
        ("x:kwok=1,cidr=Name", "block of addresses"),
        ("x:conformance=1", "real=COUNT"),
        ("x:pulls=1", "real=COUNT"),
        ("x:agent=1", "real=COUNT"),
    ],
)
def test_nonsense_is_refused_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        parse_cluster_spec(text)


def test_a_pool_has_at_least_one_node() -> None:
    with pytest.raises(SpecError, match="count"):
        NodePool(0)
