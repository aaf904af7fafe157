"""What kubelets say about our copies."""

import random
from typing import Any

import pytest

from federation.backends.kubernetes.usage.kubelet import KubeletSource, summary_samples
from federation.backends.kubernetes.usage.samples import ContainerSample
from tests.builders import make_error
from tests.fakes.clock import LoopClock
from tests.unit.federation.usage.scripted import START, ScriptedServer, make_copy
from vnode.kube.errors import ServerError
from vnode.kube.types import encode
from vnode.usage import AcceleratorUsage, MemoryUsage

pytestmark = pytest.mark.looptime

TIME = "2027-01-15T08:00:10Z"


def container(name: str = "main", **fields: Any) -> Any:
    return {
        "name": name,
        "startTime": "2027-01-15T08:00:00Z",
        "cpu": {"time": TIME, "usageNanoCores": 5, "usageCoreNanoSeconds": 700, "psi": {}},
        "memory": {"time": TIME, "workingSetBytes": 10, "usageBytes": 20, "rssBytes": 5},
        **fields,
    }


def pod(uid: str, *containers: Any) -> Any:
    return {"podRef": {"name": "x", "namespace": "y", "uid": uid}, "containers": list(containers)}


def path(node: str) -> str:
    return f"/api/v1/nodes/{node}/proxy/stats/summary"


class Kubelets:
    """A compute cluster's kubelets and the source that asks them."""

    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.source = KubeletSource(
            self.server.client, cluster="gpu", clock=LoopClock(), rng=random.Random(1)
        )


async def test_each_node_is_asked_once_for_all_its_copies_cpu_and_memory_only() -> None:
    kubelets = Kubelets()
    kubelets.server.answers = {
        path("gpu-1"): {"pods": [pod("below-1", container()), pod("below-2", container())]},
        path("gpu-2"): {"pods": [pod("below-3", container())]},
    }
    copies = [make_copy(1), make_copy(2), make_copy(3, node_below="gpu-2")]
    measured = await kubelets.source.measure(copies)
    assert measured.samples.keys() == {"below-1", "below-2", "below-3"}
    assert kubelets.server.paths == [path("gpu-1"), path("gpu-2")]
    assert kubelets.server.asked[0][1] == {"only_cpu_and_memory": "true"}
    assert not measured.unanswered
    assert not measured.failed


async def test_a_node_that_fails_leaves_the_figures_of_the_others() -> None:
    kubelets = Kubelets()
    kubelets.server.answers = {
        path("gpu-1"): make_error(503),
        path("gpu-2"): {"pods": [pod("below-2", container())]},
    }
    copies = [make_copy(1), make_copy(2, node_below="gpu-2")]
    measured = await kubelets.source.measure(copies)
    assert measured.samples.keys() == {"below-2"}
    assert list(measured.unanswered) == [copies[0]]
    assert measured.failed


async def test_a_right_that_is_missing_is_no_failure() -> None:
    kubelets = Kubelets()
    kubelets.server.answers = {path("gpu-1"): make_error(403)}
    measured = await kubelets.source.measure([make_copy()])
    assert list(measured.unanswered) == [make_copy()]
    assert not measured.failed


def test_a_container_is_read_with_counter_rate_memory_and_accelerators() -> None:
    gpu = {
        "make": "nvidia",
        "model": "a100",
        "id": "1",
        "memoryTotal": 80,
        "memoryUsed": 8,
        "dutyCycle": 9,
    }
    answer = encode({"pods": [pod("below-1", container(accelerators=[gpu]))]})
    assert summary_samples(answer, {"below-1"}) == {
        "below-1": [
            ContainerSample(
                name="main",
                time=START + 10,
                started_at=START,
                cpu_total=700,
                cpu_rate=5,
                memory=MemoryUsage(time=START + 10, working_set=10, usage=20, rss=5),
                accelerators=[
                    AcceleratorUsage(
                        make="nvidia",
                        model="a100",
                        id="1",
                        memory_total=80,
                        memory_used=8,
                        duty_cycle=9,
                    )
                ],
            )
        ]
    }


def test_pods_of_others_are_not_even_decoded() -> None:
    broken = {"podRef": {"uid": "foreign"}, "containers": [{"name": 7}]}
    answer = encode({"pods": [broken, pod("below-1", container())]})
    assert summary_samples(answer, {"below-1"}).keys() == {"below-1"}


def test_a_container_of_which_nothing_was_measured_is_left_out() -> None:
    bare = {"name": "main", "startTime": None}
    half = {"name": "half", "startTime": None, "memory": {"time": TIME}}
    answer = encode({"pods": [pod("below-1", bare, half)]})
    (sample,) = summary_samples(answer, {"below-1"})["below-1"]
    assert (sample.name, sample.cpu_total, sample.memory) == ("half", None, None)


@pytest.mark.parametrize(
    "answer", [b"<html>", encode({"pods": [pod("below-1", container(startTime="yesterday"))]})]
)
def test_an_answer_that_is_no_summary_is_an_error(answer: bytes) -> None:
    with pytest.raises(ServerError):
        summary_samples(answer, {"below-1"})


def test_an_empty_node_is_read() -> None:
    assert summary_samples(b'{"node":{},"pods":null}', {"below-1"}) == {}
