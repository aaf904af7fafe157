"""What is asked about, what a source of usage answers, and what such a source is. Pure.

In: a copy's Pod and what `observe` made of it. Out: `RunningCopy`. `ContainerSample` is a source's
raw answer for one container; `counters` makes a `ContainerUsage` of it.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from federation.backends.kubernetes.observe import names_of
from vnode.backend import ObservedPod
from vnode.kube.timestamps import parse
from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.usage import AcceleratorUsage, MemoryUsage

__all__ = ["ContainerSample", "Measured", "RunningCopy", "Source", "running_copy"]


class RunningCopy(msgspec.Struct, frozen=True, gc=False):
    """A copy with containers that run."""

    uid: UID
    """Of the tenant pod."""
    handle: str
    """UID of the copy itself."""
    node: NodeName
    """The virtual node."""
    below: ObjectKey
    """Namespace and name in the compute cluster."""
    node_below: str
    """The compute node that it runs on."""
    started: Mapping[str, float]
    """Unix seconds at which each running container started, by name."""


class ContainerSample(msgspec.Struct, frozen=True, gc=False):
    """One container as a source measured it: CPU either as a counter or as a rate."""

    name: str
    time: float
    """Unix seconds of the measurement."""
    started_at: float | None = None
    """Unix seconds. None: not known."""
    cpu_total: int | None = None
    """Core-nanoseconds since the start."""
    cpu_rate: int | None = None
    """Core-nanoseconds per second, over the last `window` seconds."""
    window: float = 0.0
    memory: MemoryUsage | None = None
    accelerators: Sequence[AcceleratorUsage] = ()


class Measured(msgspec.Struct, frozen=True, gc=False):
    """What a source says about the copies that it was asked about."""

    samples: Mapping[str, Sequence[ContainerSample]] = {}
    """By handle of the copy. A copy may be missing: it was not measured yet."""
    unanswered: Sequence[RunningCopy] = ()
    """Copies of places that gave no answer at all."""
    failed: bool = False
    """Some of these should have answered; the others refuse for good or have nothing to say."""


class Source(Protocol):
    """A place where usage is measured."""

    @property
    def name(self) -> str:
        """How configuration and logs call it."""
        ...

    async def measure(self, copies: Sequence[RunningCopy]) -> Measured:
        """Ask about these copies, within 4 s; raises nothing."""
        ...


class _Running(msgspec.Struct, frozen=True, rename="camel"):
    started_at: str | None = None


class _State(msgspec.Struct, frozen=True):
    running: _Running | None = None


class _ContainerStatus(msgspec.Struct, frozen=True):
    name: str = ""
    state: _State = _State()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    init_container_statuses: list[_ContainerStatus] = []
    container_statuses: list[_ContainerStatus] = []
    ephemeral_container_statuses: list[_ContainerStatus] = []

    def containers(self) -> Iterable[_ContainerStatus]:
        yield from self.init_container_statuses
        yield from self.container_statuses
        yield from self.ephemeral_container_statuses


_STATUS = msgspec.json.Decoder(_Status)


@functools.lru_cache(maxsize=1 << 16)
def _seconds(time: str | None) -> float:
    """Starts are the same at every reading."""
    return parse(time) if time else 0.0


def running_copy(pod: Pod, copy: ObservedPod) -> RunningCopy | None:
    """Read a copy's pod; None if none of its containers runs."""
    started = {
        c.name: _seconds(c.state.running.started_at)
        for c in _STATUS.decode(pod.status).containers()
        if c.state.running is not None
    }
    if not started:
        return None
    return RunningCopy(
        uid=copy.uid,
        handle=copy.handle,
        node=copy.node,
        below=pod.metadata.key,
        node_below=names_of(pod).node_below,
        started=started,
    )
