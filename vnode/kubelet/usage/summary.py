"""Writes `/stats/summary`: a Summary of stats.k8s.io/v1alpha1 as JSON. Pure.

In: a `NodeStats`. Out: pieces of JSON. File systems, networks and volumes are not known and are
left out, as the API allows. Source: k8s.io/kubelet/pkg/apis/stats/v1alpha1/types.go.
"""

from collections.abc import Iterator

from vnode.kube.timestamps import rfc3339
from vnode.kube.types import JSON, encode
from vnode.kubelet.usage.stats import ContainerStats, NodeStats, PodStats
from vnode.usage import AcceleratorUsage, CpuUsage, MemoryUsage

__all__ = ["summary"]

_PIECE_BYTES = 64 * 1024


def summary(stats: NodeStats) -> Iterator[bytes]:
    """The JSON in pieces of some 64 KiB."""
    piece = bytearray(b'{"node":' + encode(_node(stats)) + b',"pods":[')
    comma = b""
    for pod in stats.pods:
        piece += comma
        piece += encode(_pod(pod))
        comma = b","
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece + b"]}")


def _node(stats: NodeStats) -> dict[str, JSON]:
    return {
        "nodeName": stats.name,
        "startTime": rfc3339(stats.started_at),
        **_cpu(stats.cpu),
        **_memory(stats.memory),
    }


def _pod(pod: PodStats) -> dict[str, JSON]:
    return {
        "podRef": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
        "startTime": _time(pod.started_at),
        "containers": [_container(container) for container in pod.containers],
        **_cpu(pod.cpu),
        **_memory(pod.memory),
    }


def _container(container: ContainerStats) -> dict[str, JSON]:
    shown: dict[str, JSON] = {
        "name": container.name,
        "startTime": _time(container.started_at),
    }
    if container.usage is not None:
        shown |= _cpu(container.usage.cpu) | _memory(container.usage.memory)
        if container.usage.accelerators:
            shown["accelerators"] = [_accelerator(a) for a in container.usage.accelerators]
    return shown


def _cpu(cpu: CpuUsage | None) -> dict[str, JSON]:
    if cpu is None:
        return {}
    return {
        "cpu": _known(
            time=rfc3339(cpu.time),
            usageNanoCores=cpu.rate_nanos,
            usageCoreNanoSeconds=cpu.total_nanos,
        )
    }


def _memory(memory: MemoryUsage | None) -> dict[str, JSON]:
    if memory is None:
        return {}
    return {
        "memory": _known(
            time=rfc3339(memory.time),
            availableBytes=memory.available,
            usageBytes=memory.usage,
            workingSetBytes=memory.working_set,
            rssBytes=memory.rss,
        )
    }


def _accelerator(accelerator: AcceleratorUsage) -> JSON:
    return {
        "make": accelerator.make,
        "model": accelerator.model,
        "id": accelerator.id,
        "memoryTotal": accelerator.memory_total,
        "memoryUsed": accelerator.memory_used,
        "dutyCycle": accelerator.duty_cycle,
    }


def _known(**fields: str | int | None) -> dict[str, JSON]:
    return {name: value for name, value in fields.items() if value is not None}


def _time(seconds: float) -> str | None:
    """null is how Kubernetes writes a time that is not known."""
    return rfc3339(seconds) if seconds else None
