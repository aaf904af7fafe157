"""Usage from the resource metrics API of the compute cluster, usually metrics-server's.

In: copies. Out: rates of CPU time and working sets of their containers, by one LIST of our labelled
pods in each compute namespace. Needs `list` on `pods` of group `metrics.k8s.io` there, and nothing
more. The API knows pods by name: a figure that is older than the container is its predecessor's.

Source: k8s.io/metrics/pkg/apis/metrics/v1beta1.
"""

import random
import re
from collections.abc import Iterable, Sequence

import msgspec

from federation.backends.kubernetes.translate.names import LABEL_TENANT
from federation.backends.kubernetes.usage.samples import ContainerSample, Measured, RunningCopy
from federation.backends.kubernetes.usage.scopes import CALL_SECONDS, Scopes
from vnode.kube.client import KubeClient
from vnode.kube.decode import decode
from vnode.kube.errors import ServerError
from vnode.kube.quantity import Quantity
from vnode.kube.resources import Resource
from vnode.kube.timestamps import parse
from vnode.runtime.clock import Clock
from vnode.usage import MemoryUsage

__all__ = ["MetricsSource"]

_POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
_ADVICE = (
    "the agent's account has no right to list pods of metrics.k8s.io in the compute namespace, "
    "or the compute cluster has no metrics-server"
)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9.]+)(h|ms|us|µs|ns|m|s)")


class _Metadata(msgspec.Struct, frozen=True):
    name: str = ""


class _Usage(msgspec.Struct, frozen=True):
    cpu: str | None = None
    memory: str | None = None


class _Container(msgspec.Struct, frozen=True):
    name: str = ""
    usage: _Usage = _Usage()


class _PodMetrics(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    timestamp: str = ""
    window: str = ""
    containers: list[_Container] = []


class _PodMetricsList(msgspec.Struct, frozen=True):
    items: list[_PodMetrics] | None = None


class MetricsSource:
    """Asks one API server about each namespace that has running copies of ours."""

    name = "metricsAPI"

    def __init__(
        self, client: KubeClient, *, cluster: str, tenant: str, clock: Clock, rng: random.Random
    ) -> None:
        self._client = client
        self._query = {"labelSelector": f"{LABEL_TENANT}={tenant}"}
        self._scopes = Scopes(
            source=self.name, cluster=cluster, advice=_ADVICE, clock=clock, rng=rng
        )

    async def measure(self, copies: Sequence[RunningCopy]) -> Measured:
        """See `Source.measure`."""
        by_namespace: dict[str, list[RunningCopy]] = {}
        for copy in copies:
            by_namespace.setdefault(copy.below.namespace, []).append(copy)
        answers = await self._scopes.ask(by_namespace, self._ask)
        samples: dict[str, list[ContainerSample]] = {}
        for namespace, given in answers.given.items():
            for copy in by_namespace[namespace]:
                if own := given.get(copy.below.name):
                    samples[copy.handle] = [s for s in own if _is_of(copy, s)]
        return Measured(
            samples=samples,
            unanswered=[
                c for name, own in by_namespace.items() if name not in answers.given for c in own
            ],
            failed=bool(answers.failed),
        )

    async def _ask(self, namespace: str) -> dict[str, list[ContainerSample]]:
        """One namespace's figures by name of the pod. Raises KubeError."""
        answer = await self._client.request(
            "GET",
            _POD_METRICS.path(namespace=namespace),
            query=self._query,
            timeout=CALL_SECONDS,
            compress=True,
        )
        return pod_samples(answer)


def pod_samples(answer: bytes) -> dict[str, list[ContainerSample]]:
    """Read a PodMetricsList. Raises ServerError."""
    try:
        return {
            pod.metadata.name: list(_samples(pod))
            for pod in decode(answer, _PodMetricsList).items or ()
        }
    except ValueError as error:  # a time or a quantity
        raise ServerError(f"the answer is not a PodMetricsList: {error}", code=200) from None


def _samples(pod: _PodMetrics) -> Iterable[ContainerSample]:
    time, window = parse(pod.timestamp), seconds(pod.window)
    for container in pod.containers:
        cpu, memory = container.usage.cpu, container.usage.memory
        working_set = None if memory is None else _whole(Quantity.parse(memory))
        yield ContainerSample(
            name=container.name,
            time=time,
            cpu_rate=None if cpu is None else max(0, Quantity.parse(cpu).nanos),
            window=window,
            memory=None if working_set is None else MemoryUsage(time=time, working_set=working_set),
        )


def seconds(duration: str) -> float:
    """Seconds of Go's `1m0.5s`. Raises ValueError."""
    parts = _DURATION.findall(duration)
    if "".join(number + unit for number, unit in parts) != duration:
        raise ValueError(f"{duration!r} is not a duration")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _whole(quantity: Quantity) -> int:
    return max(0, quantity.nanos // 10**9)


def _is_of(copy: RunningCopy, sample: ContainerSample) -> bool:
    """Measured after this container started, not before."""
    started = copy.started.get(sample.name)
    return started is not None and sample.time > started
