"""What all copies in one compute cluster use, read when somebody asks and kept for some seconds.

In: the copies that run, and the sources that configuration allows, best first. Out: one
`UsageReport` per virtual node. What one source does not answer, the next is asked for. All virtual
nodes of the cluster and all scrapers share one reading; while one is under way the others wait for
it. A copy that began to run meanwhile makes the next one due earlier. Nothing is read when nobody
asks.
"""

import asyncio
import enum
import random
from collections.abc import Callable, Iterable, Sequence

from federation.backends.kubernetes.usage.counters import CpuCounters
from federation.backends.kubernetes.usage.kubelet import KubeletSource
from federation.backends.kubernetes.usage.metrics_api import MetricsSource
from federation.backends.kubernetes.usage.samples import RunningCopy, Source
from vnode.kube.client import KubeClient
from vnode.kube.types import UID, NodeName
from vnode.runtime.clock import Clock
from vnode.runtime.turns import in_turns
from vnode.usage import ContainerUsage, UsageReport

__all__ = ["UsageMode", "UsageReader", "usage_sources"]

_KEPT_SECONDS = 10.0
"""Kubelets measure that often; metrics-server scrapes every 15 s or less often."""
_KEPT_SECONDS_WITHOUT_SOME = 1.0
"""For a reading that knows nothing of some copy that runs."""


class UsageMode(enum.StrEnum):
    """Where usage of a compute cluster is read."""

    AUTO = "auto"
    METRICS_API = "metricsAPI"
    KUBELET = "kubelet"
    NONE = "none"


def usage_sources(
    mode: UsageMode,
    client: KubeClient,
    *,
    cluster: str,
    tenant: str,
    clock: Clock,
    rng: random.Random,
) -> list[Source]:
    """The sources that a mode stands for: those that need least rights first."""
    sources: list[Source] = []
    if mode in (UsageMode.AUTO, UsageMode.METRICS_API):
        sources.append(MetricsSource(client, cluster=cluster, tenant=tenant, clock=clock, rng=rng))
    if mode in (UsageMode.AUTO, UsageMode.KUBELET):
        sources.append(KubeletSource(client, cluster=cluster, clock=clock, rng=rng))
    return sources


class UsageReader:
    """Reads what the copies of one compute cluster use."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        copies: Callable[[], Iterable[RunningCopy]],
        clock: Clock,
    ) -> None:
        self._sources = tuple(sources)
        self._copies = copies
        self._clock = clock
        self._counters = CpuCounters()
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self._asked_about: frozenset[str] = frozenset()
        self._pods: dict[NodeName, dict[UID, Sequence[ContainerUsage]]] = {}
        self._complete = True

    async def report(self, node: NodeName) -> UsageReport:
        """What is used on a virtual node, at most 10 s old. See `PodBackend.usage`."""
        if not self._sources:
            return UsageReport()
        async with self._reading:
            if await self._is_due():
                now = self._clock.monotonic()
                await self._read()
                self._read_at = now
        return UsageReport(pods=self._pods.get(node, {}), complete=self._complete)

    async def _is_due(self) -> bool:
        if self._read_at is None:
            return True
        age = self._clock.monotonic() - self._read_at
        if not _KEPT_SECONDS_WITHOUT_SOME <= age < _KEPT_SECONDS:
            return age >= _KEPT_SECONDS
        async for copy in in_turns(self._copies()):
            if copy.handle not in self._asked_about:
                return True
        return False

    async def _read(self) -> None:
        copies = [copy async for copy in in_turns(self._copies())]
        pods: dict[NodeName, dict[UID, Sequence[ContainerUsage]]] = {}
        left: Sequence[RunningCopy] = copies
        failed = False
        for source in self._sources:
            if not left:
                break
            measured = await source.measure(left)
            failed = failed or measured.failed
            async for copy in in_turns(left):
                samples = measured.samples.get(copy.handle)
                if samples is not None:
                    pods.setdefault(copy.node, {})[copy.uid] = [
                        self._counters.take(
                            copy.handle,
                            sample,
                            source=source.name,
                            started_at=_started(copy, sample.name, sample.started_at),
                        )
                        for sample in samples
                    ]
            left = measured.unanswered
        self._asked_about = frozenset(copy.handle for copy in copies)
        self._counters.keep(self._asked_about)
        self._pods = pods
        self._complete = not left or not failed


def _started(copy: RunningCopy, name: str, measured: float | None) -> float:
    return measured if measured is not None else copy.started.get(name, 0.0)
