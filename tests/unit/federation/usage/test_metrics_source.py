"""What the resource metrics API says about our copies."""

import random
from typing import Any

import pytest

from federation.backends.kubernetes.usage.metrics_api import (
    MetricsSource,
    pod_samples,
    seconds,
)
from federation.backends.kubernetes.usage.samples import ContainerSample
from tests.builders import make_error
from tests.fakes.clock import LoopClock
from tests.unit.federation.usage.scripted import START, ScriptedServer, make_copy
from vnode.kube.errors import ServerError
from vnode.kube.types import encode
from vnode.usage import MemoryUsage

pytestmark = pytest.mark.looptime

SAMPLE = ContainerSample(
    name="main",
    time=START + 30,
    cpu_rate=250_000_000,
    window=15.5,
    memory=MemoryUsage(time=START + 30, working_set=64 * 1024),
)


def metrics(name: str = "job-1", *, timestamp: str = "2027-01-15T08:00:30Z", **usage: str) -> Any:
    return {
        "metadata": {"name": name},
        "timestamp": timestamp,
        "window": "15.5s",
        "containers": [{"name": "main", "usage": usage or {"cpu": "250m", "memory": "64Ki"}}],
    }


def path(namespace: str) -> str:
    return f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"


class Api:
    """A metrics API and the source that asks it."""

    def __init__(self) -> None:
        self.server = ScriptedServer()
        self.source = MetricsSource(
            self.server.client,
            cluster="gpu",
            tenant="red",
            clock=LoopClock(),
            rng=random.Random(1),
        )


async def test_each_namespace_is_asked_once_for_our_labelled_pods() -> None:
    api = Api()
    api.server.answers = {
        path("red--team-a"): {"items": [metrics("job-1"), metrics("somebody-elses")]},
        path("red--team-b"): {"items": [metrics("job-2")]},
    }
    measured = await api.source.measure([make_copy(1), make_copy(2, namespace="red--team-b")])
    assert measured.samples == {"below-1": [SAMPLE], "below-2": [SAMPLE]}
    assert api.server.paths == [path("red--team-a"), path("red--team-b")]
    assert api.server.asked[0][1] == {"labelSelector": "vnode.dev/tenant=red"}


async def test_a_namespace_that_fails_leaves_the_figures_of_the_others() -> None:
    api = Api()
    api.server.answers = {
        path("red--team-a"): make_error(503),
        path("red--team-b"): {"items": [metrics("job-2")]},
    }
    copies = [make_copy(1), make_copy(2, namespace="red--team-b")]
    measured = await api.source.measure(copies)
    assert measured.samples.keys() == {"below-2"}
    assert list(measured.unanswered) == [copies[0]]
    assert measured.failed


async def test_a_pod_that_is_not_measured_yet_is_answered_for_all_the_same() -> None:
    api = Api()
    api.server.answers = {path("red--team-a"): {"items": None}}
    measured = await api.source.measure([make_copy()])
    assert not measured.samples
    assert not measured.unanswered


async def test_a_figure_from_before_the_container_started_is_its_predecessors() -> None:
    api = Api()
    api.server.answers = {path("red--team-a"): {"items": [metrics()]}}
    measured = await api.source.measure([make_copy(started={"main": START + 31})])
    assert measured.samples == {"below-1": []}


async def test_a_container_that_does_not_run_any_more_is_left_out() -> None:
    api = Api()
    api.server.answers = {path("red--team-a"): {"items": [metrics()]}}
    measured = await api.source.measure([make_copy(started={"other": START})])
    assert measured.samples == {"below-1": []}


def test_cpu_and_memory_may_be_missing() -> None:
    (sample,) = pod_samples(encode({"items": [metrics(memory="1Mi")]}))["job-1"]
    assert sample.cpu_rate is None
    assert sample.memory is not None
    (sample,) = pod_samples(encode({"items": [metrics(cpu="17n")]}))["job-1"]
    assert (sample.cpu_rate, sample.memory) == (17, None)


@pytest.mark.parametrize(
    "item", [metrics(cpu="much"), metrics(timestamp="now"), {**metrics(), "window": "10"}]
)
def test_an_answer_that_is_no_list_of_metrics_is_an_error(item: Any) -> None:
    with pytest.raises(ServerError, match="PodMetricsList"):
        pod_samples(encode({"items": [item]}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("15s", 15), ("1m0.5s", 60.5), ("250ms", 0.25), ("1h2m3s", 3723), ("0s", 0), ("5µs", 5e-6)],
)
def test_durations_are_read_as_go_writes_them(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)
