import json

import pytest

from tests.unit.kubelet.fakes import NODE, FakeBackend, FakePods, make_pod
from vnode.kube.types import UID, ObjectKey
from vnode.kubelet.pods import (
    ContainerNotFound,
    PodNotFound,
    PodNotStarted,
    locate,
    pod_list,
)

KEY = ObjectKey("team", "web")


def make_pods() -> FakePods:
    pod = make_pod(containers=["main", "side"], init=["setup"], ephemeral=["debug"])
    return FakePods(FakeBackend().as_backend(), [pod])


@pytest.mark.parametrize("container", [None, "main", "side", "setup", "debug"])
@pytest.mark.parametrize("uid", [None, UID("uid-1")])
def test_a_pod_is_found_with_any_of_its_containers(container: str | None, uid: UID | None) -> None:
    located = locate(make_pods(), NODE, KEY, uid=uid, container=container)
    assert located.observed.key == KEY


@pytest.mark.parametrize("container", ["fluid-fuse-0", "", "Main"])
def test_a_container_that_the_tenant_did_not_ask_for_is_not_found(container: str) -> None:
    with pytest.raises(ContainerNotFound, match="not found in pod"):
        locate(make_pods(), NODE, KEY, uid=None, container=container)


def test_a_pod_of_another_uid_is_not_found() -> None:
    with pytest.raises(PodNotFound) as caught:
        locate(make_pods(), NODE, KEY, uid=UID("old"), container=None)
    assert (caught.value.code, str(caught.value)) == (404, 'pod "web" does not exist')


def test_a_pod_without_a_copy_is_waiting_to_start() -> None:
    pods = make_pods()
    pods.not_started.add(KEY)
    with pytest.raises(PodNotStarted) as caught:
        locate(pods, NODE, KEY, uid=None, container="main")
    assert caught.value.code == 400


@pytest.mark.parametrize("count", [0, 1, 2, 700])
def test_a_list_is_whole_json_in_bounded_pieces(count: int) -> None:
    pieces = list(pod_list(make_pod(f"pod-{number}") for number in range(count)))
    listed = json.loads(b"".join(pieces))
    assert [item["metadata"]["name"] for item in listed["items"]] == [
        f"pod-{number}" for number in range(count)
    ]
    assert max(map(len, pieces)) < 70_000
    assert (len(pieces) > 1) == (count == 700)
