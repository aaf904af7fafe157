"""What of a copy's status a tenant pod asks for."""

from typing import Any

import pytest

from tests.builders import Object, container_status, make_pod
from vnode.kube.types import JSON, Pod
from vnode.pods.status.asked_for import containers, pod_level

GPU = "nvidia.com/gpu"


def asking(*, limits: Object | None = None, requests: Object | None = None, **fields: Any) -> Pod:
    """A pod whose container asks for that."""
    resources = {"limits": limits or {}, "requests": requests or {}}
    return make_pod(containers=[{"name": "main", "resources": resources, **fields}])


def shown(pod: Pod, **below: JSON) -> Object:
    (status,) = containers([{**container_status(), **below}], pod)
    return status


class TestContainers:
    def test_what_they_ask_for_is_shown_as_it_is_below(self) -> None:
        pod = asking(limits={"cpu": "2", "memory": "1Gi"}, requests={"cpu": "2"})
        status = shown(
            pod,
            resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1"}},
            allocatedResources={"cpu": "1"},
        )
        assert status["resources"] == {
            "limits": {"cpu": "1", "memory": "1Gi"},
            "requests": {"cpu": "1"},
        }
        assert status["allocatedResources"] == {"cpu": "1"}

    def test_what_a_limit_range_below_has_added_is_not(self) -> None:
        status = shown(
            asking(requests={"cpu": "2"}),
            resources={"limits": {"cpu": "4"}, "requests": {"cpu": "2", "memory": "128Mi"}},
            allocatedResources={"cpu": "2", "memory": "128Mi"},
        )
        assert status["resources"] == {"requests": {"cpu": "2"}}
        assert status["allocatedResources"] == {"cpu": "2"}

    def test_a_container_that_asks_for_nothing_can_still_be_resized(self) -> None:
        """API servers look whether `resources` is there at all."""
        amounts: Object = {"requests": {"cpu": "100m"}}
        status = shown(make_pod(), resources=amounts, allocatedResources={"cpu": "100m"})
        assert status["resources"] == {}
        assert "allocatedResources" not in status

    def test_a_compute_side_that_tells_nothing_is_no_sign_of_it(self) -> None:
        assert "resources" not in shown(asking(requests={"cpu": "2"}), volumeMounts=[])

    @pytest.mark.parametrize("name", ["vendor.example/vgpu", "claim:gpu"])
    def test_devices_that_were_added_below_are_not_shown(self, name: str) -> None:
        """KEP-4680; the API server would refuse the whole status."""
        ours: Object = {"name": GPU, "resources": [{"resourceID": "1"}]}
        added: Object = {"name": name, "resources": [{"resourceID": "2"}]}
        status = shown(asking(requests={GPU: "1"}), allocatedResourcesStatus=[ours, added])
        assert status["allocatedResourcesStatus"] == [ours]

    def test_mounts_that_were_added_below_are_not_shown(self) -> None:
        pod = asking(volumeMounts=[{"name": "data", "mountPath": "/data", "readOnly": True}])
        ours: Object = {"name": "data", "mountPath": "/data", "readOnly": True}
        added: Object = {"name": "fuse", "mountPath": "/runtime-mnt"}
        assert shown(pod, volumeMounts=[added, ours])["volumeMounts"] == [ours]

    def test_all_else_is_as_it_is_below(self) -> None:
        more: Object = {"user": {"linux": {"uid": 7}}, "stopSignal": "SIGTERM", "restartCount": 3}
        status = shown(make_pod(), resources={}, **more)
        assert {name: status[name] for name in more} == more

    def test_nothing_that_the_api_server_leaves_out_is_left_in(self) -> None:
        status = shown(
            make_pod(),
            resources={"limits": {"cpu": "1"}},
            allocatedResources={"cpu": "1"},
            allocatedResourcesStatus=[{"name": GPU}],
            volumeMounts=[{"name": "x", "mountPath": "/x"}],
        )
        assert status == {**container_status(), "resources": {}}

    def test_init_and_ephemeral_containers_are_looked_up_too(self) -> None:
        asks = {"requests": {"cpu": "1"}}
        pod = make_pod(initContainers=[{"name": "first", "resources": asks}])
        below: Object = {"requests": {"cpu": "1", "memory": "1Gi"}}
        statuses = [container_status(name, resources=below) for name in ("first", "debug")]
        assert [s["resources"] for s in containers(statuses, pod)] == [asks, {}]


SUMS: Object = {
    "resources": {"limits": {"cpu": "4"}, "requests": {"cpu": "3", "memory": "1Gi"}},
    "allocatedResources": {"cpu": "3", "memory": "1Gi"},
}


class TestPodLevel:
    def test_a_pod_that_asks_for_resources_itself_is_shown_them(self) -> None:
        amounts: Object = {"cpu": "3", "memory": "1Gi"}
        pod = make_pod(resources={"limits": {"cpu": "4"}, "requests": amounts})
        assert pod_level(SUMS, pod) == SUMS

    def test_of_those_only(self) -> None:
        pod = make_pod(resources={"requests": {"cpu": "3"}})
        assert pod_level(SUMS, pod) == {
            "resources": {"requests": {"cpu": "3"}},
            "allocatedResources": {"cpu": "3"},
        }

    def test_sums_of_containers_are_not_shown(self) -> None:
        pod = asking(requests={"cpu": "1"})
        assert pod_level(SUMS, pod) == {"resources": None, "allocatedResources": None}
