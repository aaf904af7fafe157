"""What the containers of tenant pods use, as a backend measures it.

A backend makes a `UsageReport` when it is asked for one (`vnode.backend.PodBackend.usage`); the
kubelet API turns it into `/stats/summary` and `/metrics/resource`. Only what was measured is in it:
a figure that is not known is None, a container without any figures is left out. Pure values.
"""

from collections.abc import Mapping, Sequence

import msgspec

from vnode.kube.types import UID

__all__ = ["AcceleratorUsage", "ContainerUsage", "CpuUsage", "MemoryUsage", "UsageReport"]


class CpuUsage(msgspec.Struct, frozen=True, gc=False):
    """CPU time of one container or of a sum of them."""

    time: float
    """Unix seconds at which it was measured."""
    total_nanos: int
    """Core-nanoseconds since the container's start; never falls while it runs."""
    rate_nanos: int | None = None
    """Core-nanoseconds per second of late."""


class MemoryUsage(msgspec.Struct, frozen=True, gc=False):
    """Memory of one container or of a sum of them, in bytes."""

    time: float
    """Unix seconds at which it was measured."""
    working_set: int
    """What cannot be taken away under pressure; what memory limits are compared with."""
    usage: int | None = None
    """All of it, caches included."""
    rss: int | None = None
    """Anonymous memory."""
    available: int | None = None
    """What is left below the limit; None: there is no limit."""


class AcceleratorUsage(msgspec.Struct, frozen=True, gc=False):
    """One GPU or the like that a container uses."""

    make: str
    model: str
    id: str
    memory_total: int
    """Bytes."""
    memory_used: int
    """Bytes."""
    duty_cycle: int
    """Percent of the time in which it worked."""


class ContainerUsage(msgspec.Struct, frozen=True, gc=False):
    """One running container."""

    name: str
    started_at: float | None = None
    """Unix seconds; another one means another counter of CPU time. None: not known."""
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    accelerators: Sequence[AcceleratorUsage] = ()
    """Those that were measured; a request for GPUs is no usage."""


class UsageReport(msgspec.Struct, frozen=True, gc=False):
    """What was measured of the pods of one virtual node."""

    pods: Mapping[UID, Sequence[ContainerUsage]] = {}
    """Containers by UID of the *tenant* pod; the compute side's own sidecars may be among them."""
    complete: bool = True
    """False: something that should have been measured did not answer."""
