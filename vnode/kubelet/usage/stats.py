"""What runs on a virtual node and what it uses: tenant pods joined with a backend's figures.

In: the tenant pods of the node, whose statuses name the containers that run, and a `UsageReport`.
Out: a `NodeStats`, which `vnode.kubelet.usage.summary` and `vnode.kubelet.usage.resource_metrics`
write down.

Names, UIDs and the list of containers come from the tenant alone, so sidecars that the compute side
injected never appear. A container that was not measured is listed without figures. CPU times of a
pod and of the node are counted here, by what the containers' counters rose between two looks: they
do not fall when a container starts again or a pod goes. No I/O; memory is a few numbers a container
that runs.
"""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import msgspec

from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.usage import ContainerUsage, CpuUsage, MemoryUsage, UsageReport

__all__ = ["ContainerStats", "Look", "NodeStats", "NodeUsage", "PodStats"]


class ContainerStats(msgspec.Struct, frozen=True, gc=False):
    """A container that runs."""

    name: str
    started_at: float
    """Unix seconds; 0: not known."""
    usage: ContainerUsage | None
    """None: not measured."""


class PodStats(msgspec.Struct, frozen=True, gc=False):
    """A tenant pod with at least one container that runs."""

    key: ObjectKey
    uid: UID
    started_at: float
    """Unix seconds; 0: not known."""
    containers: Sequence[ContainerStats]
    cpu: CpuUsage | None
    memory: MemoryUsage | None


class NodeStats(msgspec.Struct, frozen=True, gc=False):
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
    time: float
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
        elif container.started_at < before.started_at or cpu.time < before.time:
            return 0  # An old figure, perhaps of the container before this one.
        else:
            used = cpu.total_nanos - before.total
            if used < 0:  # The counter began anew.
                used = cpu.total_nanos
        self.containers[container.name] = _Counter(container.started_at, cpu.time, cpu.total_nanos)
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

    def look(self, report: UsageReport) -> "Look":
        """Begin to join the node's tenant pods with what was measured. One look at a time."""
        return Look(self, report)

    def keep(self, bound: Collection[UID]) -> None:
        """Forget the counters of all pods but these."""
        self._pods = {uid: counter for uid, counter in self._pods.items() if uid in bound}

    def stats(self, pods: Sequence[PodStats], *, complete: bool) -> NodeStats:
        """The node with these pods."""
        return NodeStats(
            name=self._node,
            started_at=self._began,
            cpu=self._cpu(pods),
            memory=self._memory(pods, complete=complete),
            pods=pods,
            complete=complete,
        )

    def count(self, uid: UID, containers: Sequence[ContainerStats]) -> CpuUsage | None:
        """Count what the containers of a pod used since the last look; the pod's CPU time."""
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


class Look:
    """One look at a node: `add` its pods one by one, then `end`."""

    def __init__(self, usage: NodeUsage, report: UsageReport) -> None:
        self._usage = usage
        self._report = report
        self._shown: list[PodStats] = []
        self._bound: set[UID] = set()

    def add(self, pod: Pod) -> None:
        """Take a tenant pod of the node."""
        uid, status = pod.metadata.uid, _STATUS.decode(pod.status)
        self._bound.add(uid)
        running = status.running
        if not running:
            return
        measured = {usage.name: usage for usage in self._report.pods.get(uid, ())}
        containers = [_container(c, measured.get(c.name)) for c in running]
        self._shown.append(
            PodStats(
                key=pod.metadata.key,
                uid=uid,
                started_at=_seconds(status.start_time),
                containers=containers,
                cpu=self._usage.count(uid, containers),
                memory=_sum_memory([c.usage.memory for c in containers if c.usage is not None]),
            )
        )

    def end(self) -> NodeStats:
        """The node with all its pods."""
        self._usage.keep(self._bound)
        return self._usage.stats(self._shown, complete=self._report.complete)


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


@functools.lru_cache(maxsize=1 << 16)
def _seconds(time: str | None) -> float:
    """Most times are the same at every look."""
    return parse(time) if time else 0.0


def _container(status: _ContainerStatus, usage: ContainerUsage | None) -> ContainerStats:
    return ContainerStats(name=status.name, started_at=_started(status, usage), usage=usage)


def _started(container: _ContainerStatus, usage: ContainerUsage | None) -> float:
    """As measured, since it belongs to the counter; else as the pod's status says."""
    if usage is not None and usage.started_at is not None:
        return usage.started_at
    return _seconds(container.state.running.started_at) if container.state.running else 0.0
