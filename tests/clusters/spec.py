"""What clusters to make: values that callers and the command line give to `Harness.up`.

In: keyword arguments or a text such as `gpu-a:real=1,gpus=8` or `gpu-b:kwok=4`.
Out: frozen `ClusterSpec` values. Nothing here touches the machine. Wrong text raises `SpecError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?")


def gpu_labels(gpus: int) -> dict[str, str]:
    """The labels that NVIDIA's feature discovery puts on a node with so many GPUs."""
    if not gpus:
        return {}
    return {
        "nvidia.com/gpu.present": "true",
        "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB",
        "nvidia.com/gpu.memory": "81920",
        "nvidia.com/gpu.count": str(gpus),
    }


class SpecError(ValueError):
    """The description of a cluster makes no sense; the message says which part."""


@dataclass(frozen=True)
class NodePool:
    """Simulated (kwok) nodes that are all alike. Quantities are Kubernetes quantities per node."""

    count: int
    cpu: str = "96"
    memory: str = "768Gi"
    gpus: int = 8
    pods: int = 1000
    labels: Mapping[str, str] = field(default_factory=lambda: gpu_labels(8))

    def __post_init__(self) -> None:
        if self.count < 1 or self.gpus < 0 or self.pods < 1:
            raise SpecError("a pool needs count >= 1, gpus >= 0 and pods >= 1")


@dataclass(frozen=True)
class ClusterSpec:
    """One cluster: a control plane, and nodes that are simulated, real, both or none.

    `real_nodes` run containers and need root; `gpus_per_real_node` is made-up nvidia.com/gpu
    capacity. `apiserver_args` are appended to the command line of kube-apiserver.
    """

    name: str
    kwok: NodePool | None = None
    real_nodes: int = 0
    gpus_per_real_node: int = 8
    apiserver_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _DNS_LABEL.fullmatch(self.name):
            raise SpecError(f"cluster name {self.name!r}: a DNS label of at most 31 characters")
        if self.real_nodes < 0 or self.gpus_per_real_node < 0:
            raise SpecError(f"cluster {self.name}: numbers of nodes and GPUs cannot be negative")


def parse_cluster_spec(text: str) -> ClusterSpec:
    """`NAME[:KEY=VALUE,...]` with keys real, gpus, kwok, cpu, memory, pods.

    `gpus` counts for real and for kwok nodes alike; cpu, memory and pods for kwok nodes only.
    """
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise SpecError(f"cluster {name}: {part!r} is not KEY=VALUE")
        options[key] = value
    unknown = options.keys() - {"real", "gpus", "kwok", "cpu", "memory", "pods"}
    if unknown:
        raise SpecError(f"cluster {name}: unknown option {', '.join(sorted(unknown))}")

    def number(key: str, default: int) -> int:
        try:
            return int(options.get(key, default))
        except ValueError:
            raise SpecError(f"cluster {name}: {key}={options[key]} is not a number") from None

    gpus = number("gpus", 8)
    count = number("kwok", 0)
    pool = (
        NodePool(
            count=count,
            cpu=options.get("cpu", "96"),
            memory=options.get("memory", "768Gi"),
            gpus=gpus,
            pods=number("pods", 1000),
            labels=gpu_labels(gpus),
        )
        if count
        else None
    )
    if pool is None and options.keys() & {"cpu", "memory", "pods"}:
        raise SpecError(
            f"cluster {name}: cpu, memory and pods describe kwok nodes; give kwok=COUNT"
        )
    return ClusterSpec(name=name, kwok=pool, real_nodes=number("real", 0), gpus_per_real_node=gpus)
