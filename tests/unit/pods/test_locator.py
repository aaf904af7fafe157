"""Where the kubelet API finds a pod: the copy of exactly that pod, or a reason."""

from collections.abc import Iterable

import pytest

from tests.builders import NODE, UID_1, UID_2, make_copy, make_pod, make_uid
from tests.fakes.backend import Below, FakeBackend
from vnode.backend import ObservedPod
from vnode.kube.types import NodeName, ObjectKey, Pod
from vnode.kubelet.pods import PodNotFound, PodNotStarted
from vnode.locator import BackendPods
from vnode.runtime.store import Store

KEY = ObjectKey("team-a", "job-0")


def make_locator(pods: list[Pod], copies: list[ObservedPod]) -> BackendPods:
    store: Store[Pod] = Store("pods")
    for pod in pods:
        store.upsert(pod)
    below = Below(copies={copy.key: copy for copy in copies})
    backend = FakeBackend(below)
    backend.start()
    return BackendPods(store, backend.backend)


def names(pods: Iterable[Pod]) -> list[str]:
    return sorted(pod.metadata.name for pod in pods)


@pytest.mark.parametrize("uid", [None, UID_1])
def test_a_running_pod_is_found_with_or_without_its_uid(uid: str | None) -> None:
    pod, copy = make_pod(), make_copy()
    located = make_locator([pod], [copy]).find(NODE, KEY, uid=make_uid(1) if uid else None)
    assert located.pod is pod
    assert located.observed is copy


def test_a_pod_of_another_uid_is_another_pod() -> None:
    with pytest.raises(PodNotFound):
        make_locator([make_pod()], [make_copy()]).find(NODE, KEY, uid=UID_2)


def test_a_pod_of_another_node_is_not_found() -> None:
    locator = make_locator([make_pod()], [make_copy()])
    with pytest.raises(PodNotFound):
        locator.find(NodeName("vnode-b"), KEY, uid=None)


def test_a_pod_that_is_not_known_is_not_found_although_it_has_a_copy() -> None:
    with pytest.raises(PodNotFound):
        make_locator([], [make_copy()]).find(NODE, KEY, uid=None)


@pytest.mark.parametrize(
    "copies",
    [[], [make_copy(gone=True)], [make_copy(make_pod(uid=UID_2))]],
    ids=["no copy", "a copy that went", "an older pod's copy"],
)
def test_a_pod_without_its_own_copy_has_not_started(copies: list[ObservedPod]) -> None:
    with pytest.raises(PodNotStarted):
        make_locator([make_pod()], copies).find(NODE, KEY, uid=None)


def test_pods_are_listed_by_node() -> None:
    pods = [make_pod("a"), make_pod("b", node="vnode-b"), make_pod("c")]
    assert names(make_locator(pods, []).tenant_pods(NODE)) == ["a", "c"]


def test_pods_run_that_have_a_copy_and_are_neither_deleted_nor_ended() -> None:
    pods = [
        make_pod("runs"),
        make_pod("waits"),
        make_pod("deleted", deleted="2027-01-15T08:00:00Z", grace=30),
        make_pod("ended", status={"phase": "Succeeded"}),
    ]
    copies = [make_copy(pod) for pod in pods if pod.metadata.name != "waits"]
    assert names(make_locator(pods, copies).running(NODE)) == ["runs"]
