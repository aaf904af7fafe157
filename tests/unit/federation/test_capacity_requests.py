"""What one pod takes from a node, case by case as kube-scheduler counts."""

import msgspec
import pytest

from federation.backends.kubernetes.capacity.requests import RequestingPod, pod_requests
from vnode.kube.types import JSON


def requests(spec: dict[str, JSON], status: dict[str, JSON] | None = None) -> dict[str, str]:
    body = {"metadata": {}, "spec": spec, "status": status or {}}
    pod = msgspec.convert(body, RequestingPod)
    found = pod_requests(pod.spec, pod.status)
    return {name: str(quantity) for name, quantity in found.items() if name != "pods"}


def container(cpu: str, *, name: str = "c", sidecar: bool = False) -> dict[str, JSON]:
    policy: dict[str, JSON] = {"restartPolicy": "Always"} if sidecar else {}
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **policy}


def test_containers_add_up() -> None:
    assert requests({"containers": [container("1"), container("500m")]}) == {"cpu": "1500m"}


def test_an_init_container_counts_only_where_it_takes_more_than_the_rest() -> None:
    spec: dict[str, JSON] = {"containers": [container("2")], "initContainers": [container("1")]}
    assert requests(spec) == {"cpu": "2"}
    spec["initContainers"] = [container("3"), container("1")]
    assert requests(spec) == {"cpu": "3"}


def test_sidecars_run_beside_containers_and_beside_later_init_containers() -> None:
    spec: dict[str, JSON] = {
        "containers": [container("2")],
        "initContainers": [container("1", sidecar=True), container("4")],
    }
    assert requests(spec) == {"cpu": "5"}
    spec["initContainers"] = [container("4"), container("1", sidecar=True)]
    assert requests(spec) == {"cpu": "4"}


def test_overhead_comes_on_top() -> None:
    spec: dict[str, JSON] = {"containers": [container("1")], "overhead": {"cpu": "250m"}}
    assert requests(spec) == {"cpu": "1250m"}


def test_pod_level_requests_replace_those_of_the_containers() -> None:
    gpu: dict[str, JSON] = {"name": "g", "resources": {"requests": {"nvidia.com/gpu": "1"}}}
    spec: dict[str, JSON] = {
        "containers": [container("1"), gpu],
        "resources": {"requests": {"cpu": "3", "memory": "1Gi"}},
        "overhead": {"cpu": "1"},
    }
    assert requests(spec) == {"cpu": "4", "memory": "1Gi", "nvidia.com/gpu": "1"}


@pytest.mark.parametrize(("infeasible", "cpu"), [(False, "4"), (True, "2")])
def test_a_resize_counts_the_larger_value_until_it_is_done_or_infeasible(
    infeasible: bool, cpu: str
) -> None:
    status: dict[str, JSON] = {
        "containerStatuses": [
            {
                "name": "c",
                "resources": {"requests": {"cpu": "1"}},
                "allocatedResources": {"cpu": "2"},
            }
        ],
        "conditions": [
            {
                "type": "PodResizePending",
                "status": "True",
                "reason": "Infeasible" if infeasible else "Deferred",
            }
        ],
    }
    assert requests({"containers": [container("4")]}, status) == {"cpu": cpu}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_takes_nothing(phase: str) -> None:
    pod = msgspec.convert(
        {"metadata": {}, "spec": {"containers": [container("1")]}, "status": {"phase": phase}},
        RequestingPod,
    )
    assert pod_requests(pod.spec, pod.status) == {}
