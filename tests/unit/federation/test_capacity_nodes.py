"""Capacity that is counted from nodes and pods of a compute cluster."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.capacity import (
    NodesCapacity,
    Pool,
    RequestingPod,
    Toleration,
)
from tests.unit.federation.capacity_builders import is_own, make_node, make_requesting_pod
from vnode.kube.quantity import Quantity
from vnode.kube.types import ObjectKey
from vnode.node.objects import Node, Taint
from vnode.runtime.store import Store


@dataclass
class World:
    """A compute cluster and the source that counts it."""

    pool: Pool = field(default_factory=Pool)

    def __post_init__(self) -> None:
        self.nodes: Store[Node] = Store("nodes")
        self.pods: Store[RequestingPod] = Store("pods")
        self.source = self.count()
        self.heard = 0
        self.source.subscribe(self._hear)

    def count(self) -> NodesCapacity:
        """A new source over the same stores."""
        return NodesCapacity(self.nodes, self.pods, pool=self.pool, is_own=is_own)

    def _hear(self) -> None:
        self.heard += 1

    def with_nodes(self, *nodes: Node) -> "World":
        for node in nodes:
            self.nodes.upsert(node)
        return self

    def with_pods(self, *pods: RequestingPod) -> "World":
        for pod in pods:
            self.pods.upsert(pod)
        return self

    @property
    def allocatable(self) -> dict[str, str]:
        return dict(self.source.capacity().allocatable)

    @property
    def largest(self) -> dict[str, str]:
        return dict(self.source.capacity().largest_free)


def test_nodes_add_up_and_pods_of_others_are_taken_off() -> None:
    world = World().with_nodes(
        make_node("n1", cpu="8", gpu="4", pods="10"), make_node("n2", cpu="8", gpu="4", pods="10")
    )
    assert world.allocatable == {"cpu": "16", "memory": "0", "nvidia.com/gpu": "8", "pods": "20"}
    world.with_pods(make_requesting_pod(cpu="1500m", gpu="1"))
    assert world.allocatable == {
        "cpu": "14500m",
        "memory": "0",
        "nvidia.com/gpu": "7",
        "pods": "19",
    }


def test_our_own_pods_are_not_taken_off_as_the_tenants_scheduler_does_that() -> None:
    world = World().with_nodes(make_node(cpu="8", pods="10"))
    world.with_pods(make_requesting_pod(own=True, cpu="3"))
    assert world.allocatable == {"cpu": "8", "memory": "0", "pods": "10"}


def test_a_bound_pod_that_is_still_pending_counts_and_an_unbound_or_ended_one_does_not() -> None:
    world = World().with_nodes(make_node(cpu="8", pods="10"))
    world.with_pods(
        make_requesting_pod("bound", phase="Pending", cpu="1"),
        make_requesting_pod("unbound", node="", phase="Pending", cpu="1"),
        make_requesting_pod("ended", phase="Succeeded", cpu="1"),
    )
    assert world.allocatable == {"cpu": "7", "memory": "0", "pods": "9"}


def test_a_node_that_is_overcommitted_takes_nothing_from_the_others() -> None:
    world = World().with_nodes(make_node("n1", cpu="4"), make_node("n2", cpu="4"))
    world.with_pods(make_requesting_pod(node="n1", cpu="9"))
    assert world.allocatable["cpu"] == "4"


@pytest.mark.parametrize(
    "closed",
    [
        make_node("n2", ready=False, cpu="8"),
        make_node("n2", cordoned=True, cpu="8"),
        make_node("n2", taints=(("dedicated", "NoSchedule"),), cpu="8"),
        make_node("n2", taints=(("dedicated", "NoExecute"),), cpu="8"),
    ],
    ids=["not ready", "cordoned", "NoSchedule", "NoExecute"],
)
def test_a_node_that_takes_no_pods_gives_nothing_but_what_ours_use_there(closed: Node) -> None:
    world = World().with_nodes(make_node("n1", cpu="8"), closed)
    assert world.allocatable["cpu"] == "8"
    # Bound to the virtual node above: published 11 minus 3 leaves the 8 that are free.
    world.with_pods(make_requesting_pod(node="n2", own=True, cpu="3"))
    assert world.allocatable["cpu"] == "11"


def test_a_taint_that_the_pool_tolerates_or_that_only_advises_closes_nothing() -> None:
    pool = Pool(tolerations=(Toleration(key="gpu", operator="Exists"),))
    world = World(pool).with_nodes(
        make_node("n1", taints=(("gpu", "NoSchedule"),), cpu="1"),
        make_node("n2", taints=(("busy", "PreferNoSchedule"),), cpu="1"),
    )
    assert world.allocatable["cpu"] == "2"


def test_nodes_outside_the_pool_do_not_count() -> None:
    world = World(Pool(selector={"pool": "a"})).with_nodes(
        make_node("n1", labels={"pool": "a"}, cpu="1"),
        make_node("n2", labels={"pool": "b"}, cpu="8", gpu="8"),
    )
    assert world.allocatable == {"cpu": "1", "memory": "0", "pods": "0"}


def test_a_pool_whose_last_gpu_node_is_closed_publishes_zero_and_not_nothing() -> None:
    world = World().with_nodes(make_node(gpu="8", ready=False))
    assert world.allocatable["nvidia.com/gpu"] == "0"


def test_an_empty_pool_takes_no_pods() -> None:
    assert World().allocatable == {"cpu": "0", "memory": "0", "pods": "0"}


def test_the_largest_free_slot_is_on_one_node_and_less_what_ours_use() -> None:
    world = World().with_nodes(make_node("n1", gpu="8"), make_node("n2", gpu="8"))
    world.with_pods(
        make_requesting_pod("a", node="n1", gpu="3"),
        make_requesting_pod("b", node="n2", own=True, gpu="4"),
    )
    assert world.allocatable["nvidia.com/gpu"] == "13"
    assert world.largest["nvidia.com/gpu"] == "5"


def test_a_pod_counts_although_it_is_seen_before_its_node() -> None:
    world = World().with_pods(make_requesting_pod(cpu="3")).with_nodes(make_node(cpu="8"))
    assert world.allocatable["cpu"] == "5"


def test_labels_that_all_nodes_share_are_shown_and_those_of_one_node_are_not() -> None:
    common = {"nvidia.com/gpu.product": "A100", "topology.kubernetes.io/zone": "z"}
    world = World().with_nodes(
        make_node("n1", labels={**common, "kubernetes.io/hostname": "n1", "rack": "1"}),
        make_node("n2", labels={**common, "kubernetes.io/hostname": "n2", "rack": "2"}),
    )
    assert world.source.capacity().labels == {"nvidia.com/gpu.product": "A100"}


def test_features_that_all_nodes_of_the_pool_declare_are_published() -> None:
    world = World().with_nodes(
        make_node("n1", features=("A", "B", "C")), make_node("n2", features=("B", "C"))
    )
    assert world.source.capacity().features == ("B", "C")


def test_a_node_that_loses_a_feature_is_heard() -> None:
    world = World().with_nodes(make_node("n1", features=("A", "B")))
    heard = world.heard
    world.with_nodes(make_node("n1", features=("A",)))
    assert world.heard == heard + 1
    assert world.source.capacity().features == ("A",)


def test_how_nodes_below_take_streams_is_not_how_the_virtual_node_does() -> None:
    world = World().with_nodes(make_node("n1", features=("ExtendWebSocketsToKubelet",)))
    assert world.source.capacity().features == ()


def test_of_a_pool_without_nodes_no_feature_is_known() -> None:
    assert World().source.capacity().features is None


def test_no_label_of_a_pool_of_one_node_gives_its_name_away() -> None:
    labels = {
        "kubernetes.io/hostname": "gpu-7",
        "example.com/machine": "rack-gpu-7",
        "node-role.kubernetes.io/worker": "",
        "kubernetes.io/arch": "arm64",
    }
    world = World().with_nodes(make_node("gpu-7", labels=labels))
    assert world.source.capacity().labels == {"kubernetes.io/arch": "arm64"}


def test_listeners_do_not_hear_of_heartbeats_and_of_pods_that_change_nothing() -> None:
    world = World().with_nodes(make_node(cpu="8")).with_pods(make_requesting_pod(cpu="1"))
    before = world.heard
    world.with_nodes(make_node(cpu="8")).with_pods(make_requesting_pod(cpu="1"))
    assert world.heard == before
    world.with_pods(make_requesting_pod(cpu="2"))
    assert world.heard == before + 1


def test_counting_is_complete_when_nodes_and_pods_were_listed() -> None:
    world = World()
    world.nodes.mark_synced()
    assert not world.source.synced
    world.pods.mark_synced()
    assert world.source.synced


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        (Toleration(operator="Exists"), True),
        (Toleration(key="k", operator="Exists"), True),
        (Toleration(key="k", value="v"), True),
        (Toleration(key="k", value="other"), False),
        (Toleration(key="other", operator="Exists"), False),
        (Toleration(key="k", value="v", effect="NoExecute"), False),
        (Toleration(key="k", operator="Gt", value="v"), False),
        (Toleration(), False),
    ],
)
def test_tolerations_match_as_in_kubernetes(toleration: Toleration, tolerates: bool) -> None:
    assert toleration.tolerates(Taint(key="k", value="v", effect="NoSchedule")) is tolerates


CPU = st.sampled_from(["100m", "1", "2500m", "9"])
NODE_NAMES = st.sampled_from(["n1", "n2", "n3"])
NODE_EVENTS = st.builds(
    make_node,
    NODE_NAMES,
    ready=st.booleans(),
    labels=st.sampled_from([{}, {"pool": "a"}, {"pool": "a", "gpu": "x"}]),
    cpu=CPU,
    pods=st.sampled_from(["2", "10"]),
)
POD_NAMES = st.sampled_from(["p1", "p2", "p3", "p4"])
POD_EVENTS = st.builds(
    make_requesting_pod,
    POD_NAMES,
    node=st.sampled_from(["", "n1", "n2", "gone"]),
    own=st.booleans(),
    phase=st.sampled_from(["Pending", "Running", "Failed"]),
    cpu=CPU,
)
EVENTS = st.lists(
    st.one_of(
        NODE_EVENTS,
        POD_EVENTS,
        NODE_NAMES.map(lambda name: ObjectKey("", name)),
        POD_NAMES.map(lambda name: ObjectKey("ns", name)),
    ),
    max_size=30,
)


Occurrence = Node | RequestingPod | ObjectKey


def play(world: World, event: Occurrence) -> None:
    match event:
        case Node():
            world.nodes.upsert(event)
        case RequestingPod():
            world.pods.upsert(event)
        case ObjectKey(namespace=""):
            world.nodes.remove(event)
        case ObjectKey():
            world.pods.remove(event)


@given(EVENTS)
def test_after_every_event_the_sums_are_those_of_a_count_from_scratch(
    events: list[Occurrence],
) -> None:
    world = World(Pool(selector={"pool": "a"}))
    for event in events:
        heard, before = world.heard, world.source.capacity()
        play(world, event)
        assert world.source.capacity() == world.count().capacity()
        assert world.heard > heard or world.source.capacity() == before


@given(st.lists(EVENTS, max_size=5))
def test_however_seldom_the_sums_are_asked_for_they_are_those_of_a_count_from_scratch(
    looks: list[list[Occurrence]],
) -> None:
    world = World(Pool(selector={"pool": "a"}))
    for events in looks:
        for event in events:
            play(world, event)
        assert world.source.capacity() == world.count().capacity()


@given(EVENTS)
def test_no_figure_is_ever_negative(events: list[Occurrence]) -> None:
    world = World()
    for event in events:
        play(world, event)
        for figure in (*world.allocatable.values(), *world.largest.values()):
            assert Quantity.parse(figure) >= Quantity.parse("0")


@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_in_which_objects_become_known_does_not_matter(
    events: list[Occurrence], shuffler: random.Random
) -> None:
    world, other = World(), World()
    for event in events:
        play(world, event)
    objects: list[Occurrence] = [*world.nodes.values(), *world.pods.values()]
    shuffler.shuffle(objects)
    for thing in objects:
        play(other, thing)
    assert other.source.capacity() == world.source.capacity()


@given(EVENTS)
def test_what_is_published_less_our_own_requests_is_what_is_free(
    events: list[Occurrence],
) -> None:
    world = World()
    for event in events:
        play(world, event)
    used = {name: Quantity.parse("0") for name in ("n1", "n2", "n3")}
    own = free = Quantity.parse("0")
    for pod in world.pods.values():
        if pod.spec.node_name and pod.status.phase != "Failed":
            asked = Quantity.parse(pod.spec.containers[0].resources.requests["cpu"])
            own += asked if is_own(pod.metadata) else Quantity.parse("0")
            if pod.spec.node_name in used:
                used[pod.spec.node_name] += asked
    for node in world.nodes.values():
        if node.status.conditions[0].status == "True":
            room = Quantity.parse(node.status.allocatable["cpu"]) - used[node.metadata.name]
            free += max(room, Quantity.parse("0"))
    assert Quantity.parse(world.allocatable["cpu"]) == own + free
