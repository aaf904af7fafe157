"""How a virtual node shows itself when its Node is made."""

import msgspec

from tests.unit.node.builders import (
    decode_node,
    make_capacity,
    make_desired,
    make_virtual_node,
    node_json,
)
from vnode.node.status import new_node


def test_a_new_node_carries_the_labels_that_keep_clouds_and_load_balancers_away() -> None:
    labels = decode_node(node_json()).metadata.labels
    assert labels == {
        "type": "virtual-kubelet",
        "kubernetes.io/role": "agent",
        "kubernetes.io/hostname": "vnode-gpu",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/exclude-from-external-load-balancers": "true",
        "node.kubernetes.io/exclude-disruption": "true",
        "vnode.dev/cluster": "gpu",
        "vnode.dev/pool": "a100",
    }


def test_labels_that_the_pool_shares_are_published_and_remembered_as_ours() -> None:
    node = decode_node(node_json(make_desired(capacity=make_capacity({"gpu": "A100", "b": "c"}))))
    assert node.metadata.labels["gpu"] == "A100"
    assert node.metadata.annotations["vnode.dev/published-labels"] == "b,gpu"


def test_a_pool_of_one_architecture_shows_it_in_label_and_node_info() -> None:
    node = decode_node(
        node_json(make_desired(capacity=make_capacity({"kubernetes.io/arch": "arm64"})))
    )
    assert node.metadata.labels["kubernetes.io/arch"] == "arm64"
    assert node.status.node_info.architecture == "arm64"


def test_a_new_node_of_an_unreachable_cluster_takes_no_pods() -> None:
    node = decode_node(node_json(make_desired(reachable=False)))
    assert [(t.key, t.value, t.effect) for t in node.spec.taints] == [
        ("vnode.dev/provider", "gpu", "NoSchedule"),
        ("vnode.dev/compute-unreachable", "", "NoSchedule"),
    ]
    status = {c.type: c.status for c in node.status.conditions}
    assert (status["Ready"], status["vnode.dev/ComputeReachable"]) == ("True", "False")


def test_a_source_that_does_not_bound_pods_does_not_close_the_node() -> None:
    node = decode_node(node_json(make_desired(capacity=make_capacity(cpu="1"))))
    assert node.status.allocatable == {"cpu": "1", "pods": "10000"}
    node = decode_node(node_json(make_desired(capacity=make_capacity(pods="0"))))
    assert node.status.allocatable == {"pods": "0"}


def test_a_node_of_unknown_capacity_publishes_none() -> None:
    node = decode_node(node_json(make_desired(unknown_capacity=True)))
    assert node.status.capacity == {}
    assert "vnode.dev/largest-free" not in node.metadata.annotations


def test_every_field_of_node_info_that_the_api_requires_is_set() -> None:
    info = msgspec.structs.asdict(decode_node(node_json()).status.node_info)
    assert all(info.values())


def test_machine_identifiers_are_the_same_after_a_restart_and_differ_between_pools() -> None:
    def info(pool: str) -> object:
        return decode_node(node_json(make_desired(make_virtual_node(pool=pool)))).status.node_info

    assert info("a100") == info("a100")
    assert info("a100") != info("h100")


def test_api_servers_need_not_resolve_a_name_to_reach_the_kubelet() -> None:
    status = decode_node(node_json()).status
    assert {a.type: a.address for a in status.addresses} == {
        "InternalIP": "10.0.0.7",
        "Hostname": "10.0.0.7",
    }


def test_the_kubelet_port_is_spelled_as_the_api_spells_it() -> None:
    status = new_node(make_desired())["status"]
    assert isinstance(status, dict)
    assert status["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}
