"""CPU times of containers, counted on from sample to sample. Pure.

In: samples of either source. Out: `ContainerUsage`, whose CPU time never falls while a container
runs. A kubelet counts itself. The metrics API tells rates only: these are added up here, each for
the time since the sample before it, so that a missed one leaves no hole. When the source of a
container changes, counting goes on from where it was: a jump would look like a burst of work.

State: a few numbers for each container that runs; it begins anew with the process.
"""

from collections.abc import Collection

import msgspec

from federation.backends.kubernetes.usage.samples import ContainerSample
from vnode.usage import ContainerUsage, CpuUsage

__all__ = ["CpuCounters"]

_FIRST_NANOS = 1_000_000
"""Where counting of rates begins. A process that was started has used some time, however idle it
is; metrics-server takes a counter at 0 for one that was not read, and drops the whole pod."""


class _Count(msgspec.Struct, frozen=True, gc=False):
    source: str
    started_at: float
    """As the source says: another one means another container."""
    shown_start: float
    """Belongs to `nanos`; stays when the source changes."""
    time: float
    nanos: int
    """What is shown."""
    total: int = 0
    """The source's own counter, if it has one."""
    rate: int = 0


class CpuCounters:
    """Counters of all containers of one compute cluster."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], _Count] = {}

    def take(
        self, handle: str, sample: ContainerSample, *, source: str, started_at: float
    ) -> ContainerUsage:
        """Count a sample of a copy's container; `started_at` is when it last started."""
        cpu, shown_start = None, started_at
        if sample.cpu_total is not None or sample.cpu_rate is not None:
            key = (handle, sample.name)
            count = _next(self._counts.get(key), sample, source=source, started_at=started_at)
            self._counts[key] = count
            shown_start = count.shown_start
            cpu = CpuUsage(time=count.time, total_nanos=count.nanos, rate_nanos=sample.cpu_rate)
        return ContainerUsage(
            name=sample.name,
            started_at=shown_start,
            cpu=cpu,
            memory=sample.memory,
            accelerators=sample.accelerators,
        )

    def keep(self, handles: Collection[str]) -> None:
        """Forget all copies but these."""
        self._counts = {key: count for key, count in self._counts.items() if key[0] in handles}


def _next(
    before: _Count | None, sample: ContainerSample, *, source: str, started_at: float
) -> _Count:
    known = before
    if known is not None and known.source == source:
        if sample.time < known.time or started_at < known.started_at:
            return known  # Older than what was counted.
        if started_at > known.started_at:
            known = None
    shown_start = known.shown_start if known is not None else started_at
    if sample.cpu_total is not None:
        nanos = _counted(known, sample.cpu_total, source)
    else:
        nanos = _added_up(known, sample, source=source, started_at=started_at)
    return _Count(
        source=source,
        started_at=started_at,
        shown_start=shown_start,
        time=max(sample.time, known.time) if known is not None else sample.time,
        nanos=nanos,
        total=sample.cpu_total or 0,
        rate=sample.cpu_rate or 0,
    )


def _counted(known: _Count | None, total: int, source: str) -> int:
    """What the source's own counter rose by."""
    if known is None:
        return total
    if known.source != source:
        return known.nanos
    return known.nanos + max(0, total - known.total)


def _added_up(
    known: _Count | None, sample: ContainerSample, *, source: str, started_at: float
) -> int:
    """The rate holds for its window; before that, between two samples, their middle is taken."""
    rate = sample.cpu_rate or 0
    if known is None:
        ran = max(0.0, sample.time - started_at)
        return _FIRST_NANOS + round(rate * min(sample.window, ran))
    if known.source != source:
        return known.nanos
    since = sample.time - known.time
    measured = min(since, sample.window)
    return known.nanos + round(rate * measured + (rate + known.rate) / 2 * (since - measured))
