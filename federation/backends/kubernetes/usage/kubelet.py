"""Usage from the kubelets of the compute nodes, through the API server's node proxy.

In: copies. Out: counters of CPU time and memory of their containers, from `/stats/summary` of each
node that runs one of them. What kubelets say about pods of others is not decoded. Needs `get` on
`nodes/proxy` of the compute cluster, a broad right: it opens logs and commands of every pod there,
but where the fence of namespaces on demand lets nothing through but this.

Source: k8s.io/kubelet/pkg/apis/stats/v1alpha1.
"""

import functools
import random
from collections.abc import Iterable, Sequence

import msgspec
from msgspec import Raw

from federation.backends.kubernetes.usage.samples import ContainerSample, Measured, RunningCopy
from federation.backends.kubernetes.usage.scopes import CALL_SECONDS, Scopes
from vnode.kube.client import KubeClient
from vnode.kube.decode import decode
from vnode.kube.errors import ServerError
from vnode.kube.resources import NODES
from vnode.kube.timestamps import parse
from vnode.runtime.clock import Clock
from vnode.usage import AcceleratorUsage, MemoryUsage

__all__ = ["KubeletSource"]

_ADVICE = (
    "the agent's account in the compute cluster needs the right to get nodes/proxy "
    "(vnode join --usage-kubelet); where admission policies fence the agent, they have to "
    "let CONNECT to /stats/summary through (that of vnode join --on-demand does)"
)


class _Cpu(msgspec.Struct, frozen=True, rename="camel"):
    time: str = ""
    usage_nano_cores: int | None = None
    usage_core_nano_seconds: int | None = None


class _Memory(msgspec.Struct, frozen=True, rename="camel"):
    time: str = ""
    available_bytes: int | None = None
    usage_bytes: int | None = None
    working_set_bytes: int | None = None
    rss_bytes: int | None = None


class _Accelerator(msgspec.Struct, frozen=True, rename="camel"):
    make: str = ""
    model: str = ""
    id: str = ""
    memory_total: int = 0
    memory_used: int = 0
    duty_cycle: int = 0


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    start_time: str | None = None
    cpu: _Cpu | None = None
    memory: _Memory | None = None
    accelerators: list[_Accelerator] = []


_Containers = list[_Container]


class _PodRef(msgspec.Struct, frozen=True):
    uid: str = ""


class _Pod(msgspec.Struct, frozen=True, rename="camel"):
    pod_ref: _PodRef = _PodRef()
    containers: Raw = Raw(b"[]")
    """Decoded for our own pods only."""


class _Summary(msgspec.Struct, frozen=True):
    pods: list[_Pod] | None = None


Samples = dict[str, list[ContainerSample]]


class KubeletSource:
    """Asks one kubelet per compute node that runs our copies."""

    name = "kubelet"

    def __init__(
        self, client: KubeClient, *, cluster: str, clock: Clock, rng: random.Random
    ) -> None:
        self._client = client
        self._scopes = Scopes(
            source=self.name, cluster=cluster, advice=_ADVICE, clock=clock, rng=rng
        )

    async def measure(self, copies: Sequence[RunningCopy]) -> Measured:
        """See `Source.measure`."""
        by_node: dict[str, list[RunningCopy]] = {}
        for copy in copies:
            by_node.setdefault(copy.node_below, []).append(copy)
        answers = await self._scopes.ask(by_node, functools.partial(self._ask, by_node))
        samples: Samples = {}
        for given in answers.given.values():
            samples |= given
        return Measured(
            samples=samples,
            unanswered=[
                c for node, own in by_node.items() if node not in answers.given for c in own
            ],
            failed=bool(answers.failed),
        )

    async def _ask(self, by_node: dict[str, list[RunningCopy]], node: str) -> Samples:
        """One node's figures for our copies. Raises KubeError."""
        path = NODES.path(name=node, subresource="proxy/stats/summary")
        # Without this, kubelets look at file systems too, which takes them long.
        query = {"only_cpu_and_memory": "true"}
        answer = await self._client.request("GET", path, query=query, timeout=CALL_SECONDS)
        return summary_samples(answer, {copy.handle for copy in by_node[node]})


@functools.lru_cache(maxsize=1 << 16)
def _seconds(time: str) -> float:
    """Many containers have the same times, and the same start at every reading."""
    return parse(time)


def summary_samples(answer: bytes, handles: set[str]) -> Samples:
    """Read a kubelet's summary, of the pods with these UIDs. Raises ServerError."""
    found: Samples = {}
    for pod in decode(answer, _Summary).pods or ():
        if pod.pod_ref.uid in handles:
            containers = decode(pod.containers, _Containers)
            try:
                found[pod.pod_ref.uid] = list(_samples(containers))
            except ValueError:
                raise ServerError("a time in the kubelet's summary is none", code=200) from None
    return found


def _samples(containers: Iterable[_Container]) -> Iterable[ContainerSample]:
    for container in containers:
        cpu, memory = container.cpu or _Cpu(), container.memory or _Memory()
        time = cpu.time or memory.time
        if not time:
            continue  # Nothing was measured.
        yield ContainerSample(
            name=container.name,
            time=_seconds(time),
            started_at=_seconds(container.start_time) if container.start_time else None,
            cpu_total=cpu.usage_core_nano_seconds,
            cpu_rate=cpu.usage_nano_cores,
            memory=_memory(memory),
            accelerators=[
                AcceleratorUsage(
                    make=a.make,
                    model=a.model,
                    id=a.id,
                    memory_total=a.memory_total,
                    memory_used=a.memory_used,
                    duty_cycle=a.duty_cycle,
                )
                for a in container.accelerators
            ],
        )


def _memory(memory: _Memory) -> MemoryUsage | None:
    if memory.working_set_bytes is None or not memory.time:
        return None
    return MemoryUsage(
        time=_seconds(memory.time),
        working_set=memory.working_set_bytes,
        usage=memory.usage_bytes,
        rss=memory.rss_bytes,
        available=memory.available_bytes,
    )
