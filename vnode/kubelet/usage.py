"""What runs on a virtual node and what it uses: tenant pods joined with a backend's figures.

In: the tenant pods of the node, whose statuses name the containers that run, and a `UsageReport`.
Out: a `NodeStats`, which `vnode.kubelet.stats` and `vnode.kubelet.resource_metrics` write down.

Names, UIDs and the list of containers come from the tenant alone, so sidecars that the compute side
injected never appear. A container that was not measured is listed without figures. CPU times of a
pod and of the node are counted here, by what the containers' counters rose between two looks: they
do not fall when a container starts again or a pod goes. No I/O; memory is a few numbers a container
that runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.usage import ContainerUsage, CpuUsage, MemoryUsage, UsageReport

__all__ = ["ContainerStats", "NodeStats", "NodeUsage", "PodStats"]


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """A container that runs."""

    name: str
    started_at: float
    """Unix seconds; 0: not known."""
    usage: ContainerUsage | None
    """None: not measured."""


@dataclass(frozen=True, slots=True)
class PodStats:
    """A tenant pod with at least one container that runs."""

    key: ObjectKey
    uid: UID
    started_at: float
    """Unix seconds; 0: not known."""
    containers: Sequence[ContainerStats]
    cpu: CpuUsage | None
    memory: MemoryUsage | None


@dataclass(frozen=True, slots=True)
class NodeStats:
    """A virtual node: the sums over its pods, and the pods."""

    name: NodeName
    started_at: float
    """Unix seconds since which the node's CPU time is counted."""
    cpu: CpuUsage | None
    memory: MemoryUsage | None
    pods: Sequence[PodStats]
    complete: bool
    """See `UsageReport.complete`."""


@dataclass(slots=True)
class _Counter:
    """The CPU time of one container as it was last seen."""

    started_at: float
    total: int


@dataclass(slots=True)
class _PodCounter:
    total: int = 0
    """Core-nanoseconds of all its containers, those that ended included."""
    containers: dict[str, _Counter] = field(default_factory=dict)

    def add(self, container: ContainerStats, cpu: CpuUsage) -> int:
        """Count what a container used since the last look; returns that."""
        before = self.containers.get(container.name)
        if before is None or container.started_at > before.started_at:
            used = cpu.total_nanos
        elif container.started_at < before.started_at:
            return 0  # An old figure of the container before this one.
        else:
            used = cpu.total_nanos - before.total
            if used < 0:  # The counter began anew.
                used = cpu.total_nanos
        self.containers[container.name] = _Counter(container.started_at, cpu.total_nanos)
        self.total += used
        return used


class NodeUsage:
    """Makes the figures of one virtual node; keeps its counters from look to look."""

    def __init__(self, node: NodeName, *, now: float) -> None:
        """Begin to count at `now` (Unix seconds)."""
        self._node = node
        self._began = now
        self._pods: dict[UID, _PodCounter] = {}
        self._total = 0
        self._time: float | None = None
        """Of the newest measurement; None: nothing was measured yet."""

    def look(self, pods: Iterable[Pod], report: UsageReport) -> NodeStats:
        """Join the node's tenant pods with what was measured, and count on."""
        shown: list[PodStats] = []
        bound: set[UID] = set()
        for pod in pods:
            uid, status = pod.metadata.uid, _STATUS.decode(pod.status)
            bound.add(uid)
            if running := status.running:
                shown.append(self._pod(pod, status, running, report.pods.get(uid, ())))
        self._pods = {uid: counter for uid, counter in self._pods.items() if uid in bound}
        return NodeStats(
            name=self._node,
            started_at=self._began,
            cpu=self._cpu(shown),
            memory=self._memory(shown, complete=report.complete),
            pods=shown,
            complete=report.complete,
        )

    def _pod(
        self,
        pod: Pod,
        status: "_Status",
        running: Sequence["_ContainerStatus"],
        measured: Sequence[ContainerUsage],
    ) -> PodStats:
        by_name = {usage.name: usage for usage in measured}
        containers = [
            ContainerStats(name=c.name, started_at=_started(c, usage), usage=usage)
            for c in running
            for usage in (by_name.get(c.name),)
        ]
        return PodStats(
            key=pod.metadata.key,
            uid=pod.metadata.uid,
            started_at=_seconds(status.start_time),
            containers=containers,
            cpu=self._pod_cpu(pod.metadata.uid, containers),
            memory=_sum_memory([c.usage.memory for c in containers if c.usage is not None]),
        )

    def _pod_cpu(self, uid: UID, containers: Sequence[ContainerStats]) -> CpuUsage | None:
        measured = [(c, c.usage.cpu) for c in containers if c.usage and c.usage.cpu]
        if not measured:
            return None
        counter = self._pods.setdefault(uid, _PodCounter())
        for container, cpu in measured:
            self._total += counter.add(container, cpu)
        return CpuUsage(
            time=max(cpu.time for _, cpu in measured),
            total_nanos=counter.total,
            rate_nanos=_sum_known([cpu.rate_nanos for _, cpu in measured]),
        )

    def _cpu(self, pods: Sequence[PodStats]) -> CpuUsage | None:
        measured = [pod.cpu for pod in pods if pod.cpu is not None]
        if measured:
            newest = max(cpu.time for cpu in measured)
            self._time = max(newest, self._time or newest)  # It must not go back with a pod.
        if self._time is None:
            return None
        rate = _sum_known([cpu.rate_nanos for cpu in measured])
        return CpuUsage(time=self._time, total_nanos=self._total, rate_nanos=rate)

    def _memory(self, pods: Sequence[PodStats], *, complete: bool) -> MemoryUsage | None:
        memory = _sum_memory([pod.memory for pod in pods])
        if memory is None and complete and not pods and self._time is not None:
            return MemoryUsage(time=self._time, working_set=0)
        return memory


def _sum_known(numbers: Sequence[int | None]) -> int | None:
    """The sum, unless a part of it is not known."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def _sum_memory(parts: Sequence[MemoryUsage | None]) -> MemoryUsage | None:
    """The sum of what was measured; `available` does not add up."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    return MemoryUsage(
        time=max(part.time for part in known),
        working_set=sum(part.working_set for part in known),
        usage=_sum_known([part.usage for part in known]),
        rss=_sum_known([part.rss for part in known]),
    )


class _Running(msgspec.Struct, frozen=True, rename="camel"):
    started_at: str | None = None


class _State(msgspec.Struct, frozen=True):
    running: _Running | None = None


class _ContainerStatus(msgspec.Struct, frozen=True):
    name: str = ""
    state: _State = _State()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    start_time: str | None = None
    init_container_statuses: list[_ContainerStatus] = []
    container_statuses: list[_ContainerStatus] = []
    ephemeral_container_statuses: list[_ContainerStatus] = []

    @property
    def running(self) -> list[_ContainerStatus]:
        """Containers of all kinds that run."""
        kinds = (
            self.init_container_statuses,
            self.container_statuses,
            self.ephemeral_container_statuses,
        )
        return [c for kind in kinds for c in kind if c.state.running is not None]


_STATUS = msgspec.json.Decoder(_Status)


def _seconds(time: str | None) -> float:
    return parse(time) if time else 0.0


def _started(container: _ContainerStatus, usage: ContainerUsage | None) -> float:
    """As measured, since it belongs to the counter; else as the pod's status says."""
    if usage is not None and usage.started_at is not None:
        return usage.started_at
    return _seconds(container.state.running.started_at) if container.state.running else 0.0
