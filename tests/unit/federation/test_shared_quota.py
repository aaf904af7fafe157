"""What several virtual nodes over one quota show."""

import pytest

from federation.backends.kubernetes.capacity import SharedQuota, StaticCapacity
from federation.backends.kubernetes.capacity.quota import QuotaCapacity, ResourceQuota
from tests.unit.federation.capacity_builders import is_own, make_pod, make_quota
from vnode.kube.types import ObjectKey, Pod
from vnode.runtime.store import Store


class World:
    """A quota of 8 GPUs, 64 CPUs and 10 pods, as one of its virtual nodes shows it."""

    def __init__(self, *pods: Pod) -> None:
        self.pods: Store[Pod] = Store("pods")
        for pod in pods:
            self.pods.upsert(pod)
        granted = StaticCapacity({"cpu": "64", "nvidia.com/gpu": "8", "pods": "10"})
        self.source = SharedQuota(granted, self.pods, is_others=lambda m: not is_own(m))
        self.heard = 0
        self.source.subscribe(self._hear)

    def _hear(self) -> None:
        self.heard += 1

    @property
    def shown(self) -> dict[str, str]:
        return dict(self.source.capacity().allocatable)


def test_what_pods_of_other_nodes_asked_for_is_not_shown() -> None:
    world = World()
    world.pods.upsert(make_pod("one", gpu="2", cpu="500m"))
    world.pods.upsert(make_pod("two", gpu="1", memory="1Gi"))
    assert world.shown == {"cpu": "63500m", "nvidia.com/gpu": "5", "pods": "8"}
    assert world.heard == 2


def test_pods_that_were_there_before_count() -> None:
    assert World(make_pod(gpu="2")).shown["nvidia.com/gpu"] == "6"


def test_the_node_s_own_pods_are_left_to_the_tenant_s_scheduler() -> None:
    world = World()
    world.pods.upsert(make_pod(own=True, gpu="2"))
    assert world.shown == {"cpu": "64", "nvidia.com/gpu": "8", "pods": "10"}
    assert world.heard == 0


@pytest.mark.parametrize("how", ["gone", "ended"])
def test_what_is_given_back_is_shown_again(how: str) -> None:
    world = World()
    world.pods.upsert(make_pod(gpu="2"))
    if how == "gone":
        world.pods.remove(ObjectKey("ns", "p1"))
    else:
        world.pods.upsert(make_pod(gpu="2", phase="Succeeded"))
    assert world.shown == {"cpu": "64", "nvidia.com/gpu": "8", "pods": "10"}
    assert world.heard == 2


def test_a_change_that_takes_nothing_is_not_told() -> None:
    world = World()
    world.pods.upsert(make_pod(gpu="2", phase="Pending"))
    world.pods.upsert(make_pod(gpu="2", phase="Running"))
    assert world.heard == 1


def test_it_is_never_negative() -> None:
    world = World()
    world.pods.upsert(make_pod(gpu="9"))
    assert world.shown["nvidia.com/gpu"] == "0"


def test_it_knows_and_tells_what_its_quota_does() -> None:
    quotas: Store[ResourceQuota] = Store("quotas")
    quota = QuotaCapacity(quotas, scopes=lambda: ["ns"])
    source = SharedQuota(quota, Store("pods"), is_others=lambda _: True)
    heard: list[bool] = []
    source.subscribe(lambda: heard.append(True))
    synced = [source.synced]
    quotas.mark_synced("ns")
    quotas.upsert(make_quota(gpu="4"))
    assert [*synced, source.synced] == [False, True]
    assert heard == [True]
    assert source.capacity().allocatable == {"nvidia.com/gpu": "4"}
