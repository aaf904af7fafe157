"""Capacity sources that bound (static, quota), that join (minimum) and that close a node."""

import pytest

from federation.backends.kubernetes.capacity import (
    MinimumCapacity,
    NoBlackHole,
    QuotaCapacity,
    ResourceQuota,
    StaticCapacity,
)
from federation.backends.kubernetes.capacity.quota import node_resource
from tests.unit.federation.capacity_builders import is_own, make_pod, make_quota
from vnode.kube.types import ObjectKey, Pod
from vnode.runtime.store import Store

SHORT_OF_GPU = (
    "0/5 nodes are available: 2 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint(s)."
    " preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
)


def quotas(*objects: ResourceQuota) -> tuple[Store[ResourceQuota], QuotaCapacity]:
    store: Store[ResourceQuota] = Store("quotas")
    source = QuotaCapacity(store, scopes=lambda: ["ns", "other"])
    for quota in objects:
        store.upsert(quota)
    return store, source


def test_static_capacity_is_what_was_configured() -> None:
    source = StaticCapacity({"cpu": "64", "nvidia.com/gpu": "8"})
    assert source.synced
    assert source.capacity().allocatable == {"cpu": "64", "nvidia.com/gpu": "8"}


@pytest.mark.parametrize("text", ["-1", "many", ""])
def test_a_static_quantity_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="capacity of cpu"):
        StaticCapacity({"cpu": text})


def test_quotas_of_several_namespaces_add_up() -> None:
    _, source = quotas(
        make_quota("ns", requests_cpu="10", memory="1Gi", gpu="4", pods="20"),
        make_quota("other", requests_cpu="500m", gpu="2"),
    )
    assert source.capacity().allocatable == {
        "cpu": "10500m",
        "memory": "1Gi",
        "nvidia.com/gpu": "6",
        "pods": "20",
    }


def test_the_strictest_quota_of_a_namespace_counts() -> None:
    _, source = quotas(
        make_quota(name="a", requests_cpu="10", cpu="8", limits_cpu="9"),
        make_quota(name="b", limits_cpu="4", count_pods="3", pods="5"),
    )
    assert source.capacity().allocatable == {"cpu": "4", "pods": "3"}


def test_a_quota_with_scopes_binds_some_pods_only_and_is_left_out() -> None:
    _, source = quotas(make_quota(scopes=("BestEffort",), pods="1"))
    assert source.capacity().allocatable == {}


@pytest.mark.parametrize(
    "key",
    [
        "services",
        "count/configmaps",
        "requests.storage",
        "persistentvolumeclaims",
        "gold.storageclass.storage.k8s.io/requests.storage",
        "gpu.deviceclass.resource.k8s.io/devices",
        "limits.nvidia.com/gpu",
    ],
)
def test_quota_keys_that_bound_no_node_resource_are_not_published(key: str) -> None:
    assert node_resource(key) is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("requests.cpu", "cpu"),
        ("requests.ephemeral-storage", "ephemeral-storage"),
        ("requests.amd.com/gpu", "amd.com/gpu"),
        ("hugepages-2Mi", "hugepages-2Mi"),
        ("requests.hugepages-1Gi", "hugepages-1Gi"),
    ],
)
def test_quota_keys_are_named_as_the_node_names_the_resource(key: str, name: str) -> None:
    assert node_resource(key) == name


def test_quota_capacity_is_complete_when_every_namespace_was_listed() -> None:
    store, source = quotas()
    store.mark_synced("ns")
    assert not source.synced
    store.mark_synced("other")
    assert source.synced


def test_listeners_hear_of_quotas_that_grant_something_else_and_not_of_usage() -> None:
    store, source = quotas()
    heard: list[str] = []
    source.subscribe(lambda: heard.append("change"))
    store.upsert(make_quota(cpu="1"))
    store.upsert(make_quota(cpu="1"))
    assert len(heard) == 1
    store.upsert(make_quota(cpu="2"))
    store.remove(ObjectKey("ns", "q"))
    assert len(heard) == 3


def test_the_minimum_of_limits_bounds_only_what_a_limit_names() -> None:
    source = MinimumCapacity(
        [StaticCapacity({"cpu": "8", "memory": "1Gi"}), StaticCapacity({"cpu": "4", "pods": "9"})]
    )
    assert source.capacity().allocatable == {"cpu": "4", "memory": "1Gi", "pods": "9"}


def test_what_the_inventory_lacks_does_not_exist_whatever_a_limit_allows() -> None:
    source = MinimumCapacity(
        [StaticCapacity({"cpu": "8", "nvidia.com/gpu": "8"})],
        inventory=StaticCapacity({"cpu": "9000m", "memory": "2Gi"}),
    )
    assert source.capacity().allocatable == {"cpu": "8", "memory": "2Gi"}


def test_a_minimum_without_any_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no capacity source"):
        MinimumCapacity([])


class Closing:
    """A `NoBlackHole` over a static source of 8 GPUs and 64 CPUs."""

    def __init__(self) -> None:
        self.pods: Store[Pod] = Store("pods")
        self.source = NoBlackHole(
            StaticCapacity({"cpu": "64", "nvidia.com/gpu": "8"}), self.pods, is_own=is_own
        )
        self.heard = 0
        self.source.subscribe(self._hear)

    def _hear(self) -> None:
        self.heard += 1

    @property
    def allocatable(self) -> dict[str, str]:
        return dict(self.source.capacity().allocatable)


def test_a_resource_that_a_pod_waits_for_shows_only_what_is_asked_for_already() -> None:
    world = Closing()
    world.pods.upsert(make_pod("runs", own=True, gpu="2", cpu="1"))
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "8"}
    world.pods.upsert(make_pod("waits", own=True, node="", gpu="4", unschedulable=SHORT_OF_GPU))
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "6"}
    assert world.heard == 1


@pytest.mark.parametrize("ends", ["starts", "goes", "fails"])
def test_the_node_opens_again_when_the_waiting_pod_starts_or_goes(ends: str) -> None:
    world = Closing()
    world.pods.upsert(make_pod(own=True, node="", gpu="4", unschedulable=SHORT_OF_GPU))
    assert world.allocatable["nvidia.com/gpu"] == "4"
    match ends:
        case "starts":
            world.pods.upsert(make_pod(own=True, node="n1", gpu="4"))
        case "goes":
            world.pods.remove(ObjectKey("ns", "p1"))
        case "fails":
            world.pods.upsert(make_pod(own=True, node="", gpu="4", phase="Failed"))
    assert world.allocatable["nvidia.com/gpu"] == "8"
    assert world.heard == 2


def test_pods_of_others_and_other_reasons_close_nothing() -> None:
    world = Closing()
    world.pods.upsert(make_pod("theirs", node="", gpu="4", unschedulable=SHORT_OF_GPU))
    reason = "0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector."
    world.pods.upsert(make_pod("picky", own=True, node="", gpu="4", unschedulable=reason))
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "8"}
    assert world.heard == 0


def test_a_closed_node_never_shows_more_than_its_source() -> None:
    world = Closing()
    world.pods.upsert(make_pod(own=True, node="", gpu="99", unschedulable=SHORT_OF_GPU))
    assert world.allocatable["nvidia.com/gpu"] == "8"


@pytest.mark.parametrize(("asks", "full"), [({"gpu": "2"}, "nvidia.com/gpu"), ({}, "cpu")])
def test_an_instance_that_is_out_of_stock_closes_the_node_for_more_of_it(
    asks: dict[str, str], full: str
) -> None:
    world = Closing()
    waits = make_pod(
        own=True, node="eci", phase="Pending", no_instance="ContainerGroup.NoStock", cpu="1", **asks
    )
    world.pods.upsert(waits)
    closed = {"cpu": "1", **{f"nvidia.com/{name}": amount for name, amount in asks.items()}}
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "8", full: closed[full]}
    world.pods.upsert(make_pod(own=True, node="eci", phase="Running", cpu="1", **asks))
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "8"}


def test_an_instance_that_is_being_made_or_was_given_up_closes_nothing() -> None:
    world = Closing()
    for name, said in {
        "made": {"no_instance": "Creating"},
        "given-up": {"no_instance": "NoStock", "reason": "ContainerInstanceScheduleFailed"},
    }.items():
        world.pods.upsert(make_pod(name, own=True, node="eci", phase="Pending", gpu="2", **said))
    assert world.allocatable == {"cpu": "64", "nvidia.com/gpu": "8"}
