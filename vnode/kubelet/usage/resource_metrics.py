"""Writes `/metrics/resource`: what metrics-server scrapes, in the Prometheus text format. Pure.

In: a `NodeStats`. Out: pieces of text, with the time of each measurement. What was not measured has
no line; metrics-server leaves out a pod with a container that has none. The pod's name is the
second label, which virtual-kubelet's own test suite reads by position.

Names and meaning: kubernetes:pkg/kubelet/metrics/collectors/resource_metrics.go. Format:
https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from collections.abc import Iterable, Iterator

from vnode.kubelet.usage.stats import NodeStats, PodStats

__all__ = ["CONTENT_TYPE", "resource_metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_NANO = 1e9
_PIECE_LINES = 500

Sample = tuple[str, float | int, float | None]
"""Labels, value, and Unix seconds of its measurement (None: as of now)."""


def resource_metrics(stats: NodeStats) -> Iterator[bytes]:
    """The text in pieces of some 500 lines."""
    lines: list[str] = []
    for family in _families(stats):
        for line in family:
            lines.append(line)
            if len(lines) >= _PIECE_LINES:
                yield "".join(lines).encode()
                lines.clear()
    yield "".join(lines).encode()


def _families(stats: NodeStats) -> Iterator[Iterator[str]]:
    pods, failed = stats.pods, 0 if stats.complete else 1
    yield _family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        _container_cpu(pods),
    )
    yield _family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        _container_memory(pods),
    )
    yield _family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
        _container_start(pods),
    )
    cpu, memory = stats.cpu, stats.memory
    yield _family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        [("", cpu.total_nanos / _NANO, cpu.time)] if cpu else [],
    )
    yield _family(
        "node_memory_working_set_bytes",
        "gauge",
        "Current working set of the node in bytes",
        [("", memory.working_set, memory.time)] if memory else [],
    )
    yield _family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        ((_of(p), p.cpu.total_nanos / _NANO, p.cpu.time) for p in pods if p.cpu),
    )
    yield _family(
        "pod_memory_working_set_bytes",
        "gauge",
        "Current working set of the pod in bytes",
        ((_of(p), p.memory.working_set, p.memory.time) for p in pods if p.memory),
    )
    said = "1 if there was an error while getting container metrics, 0 otherwise"
    yield _family("resource_scrape_error", "gauge", said, [("", failed, None)])
    yield _family(
        "scrape_error", "gauge", f"(Deprecated since 1.29.0) {said}", [("", failed, None)]
    )


def _family(name: str, kind: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    first = True
    for labels, value, time in samples:
        if first:
            yield f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"
            first = False
        stamp = "" if time is None else f" {round(time * 1000)}"
        yield f"{name}{labels} {value}{stamp}\n"


def _container_cpu(pods: Iterable[PodStats]) -> Iterator[Sample]:
    for pod in pods:
        for container in pod.containers:
            if (usage := container.usage) is not None and usage.cpu is not None:
                yield _of(pod, container.name), usage.cpu.total_nanos / _NANO, usage.cpu.time


def _container_memory(pods: Iterable[PodStats]) -> Iterator[Sample]:
    for pod in pods:
        for container in pod.containers:
            if (usage := container.usage) is not None and usage.memory is not None:
                yield _of(pod, container.name), usage.memory.working_set, usage.memory.time


def _container_start(pods: Iterable[PodStats]) -> Iterator[Sample]:
    for pod in pods:
        for container in pod.containers:
            if container.started_at > 0:
                yield _of(pod, container.name), container.started_at, None


def _of(pod: PodStats, container: str = "") -> str:
    """Labels; names of Kubernetes objects need no escapes."""
    own = f',container="{container}"' if container else ""
    return f'{{namespace="{pod.key.namespace}",pod="{pod.key.name}"{own}}}'
