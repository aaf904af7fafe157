"""What clusters to make: values that callers and the command line give to `Harness.up`.

In: keyword arguments or a text such as `gpu-a:real=1,gpus=8` or `gpu-b:kwok=4`.
Out: frozen `ClusterSpec` values. Nothing here touches the machine. Wrong text raises `SpecError`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_OF_KWOK = frozenset({"cpu", "memory", "pods", "cidr"})
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
    """Simulated (kwok) nodes that are all alike. Quantities are Kubernetes quantities per node.

    `cidr` is where their pods' addresses come from: a block such as `10.9.0.0/24`, or the name of
    a cluster of the same harness whose first real node's pods shall have the same addresses.
    Without it, the block is the cluster's own.
    """

    count: int
    cpu: str = "96"
    memory: str = "768Gi"
    gpus: int = 8
    pods: int = 1000
    labels: Mapping[str, str] = field(default_factory=lambda: gpu_labels(8))
    cidr: str | None = None

    def __post_init__(self) -> None:
        if self.cidr is not None and not _is_block_or_name(self.cidr):
            raise SpecError(f"cidr {self.cidr!r}: a block of addresses or the name of a cluster")
        if self.count < 1 or self.gpus < 0 or self.pods < 1:
            raise SpecError("a pool needs count >= 1, gpus >= 0 and pods >= 1")


@dataclass(frozen=True)
class ClusterSpec:
    """One cluster: a control plane, and nodes that are simulated, real, both or none.

    `real_nodes` run containers and need root; `gpus_per_real_node` is made-up nvidia.com/gpu
    capacity. `apiserver_args` and `controller_manager_args` are appended to the command lines of
    these two. `verifies_kubelets`: the API server talks to kubelets of the cluster's CA only; real
    nodes have such certificates, virtual ones have to ask for them.

    `cluster_ips`: ClusterIPs on real nodes. `services`: cluster DNS too; a cluster of the harness
    needs real nodes for it. `conformance`: real nodes on which Kubernetes' own tests pass. They
    have services, upstream's containerd instead of the distribution's, and can pull the images of
    `e2e_images`, always and by any policy. These two need programs that others do without. `pulls`:
    real nodes that can pull the images that they have, which policy Always asks for. `agent`: real
    nodes that have the agent's own image, so that deploy/tenant can be applied as it is.
    """

    name: str
    kwok: NodePool | None = None
    real_nodes: int = 0
    gpus_per_real_node: int = 8
    apiserver_args: tuple[str, ...] = ()
    controller_manager_args: tuple[str, ...] = ()
    verifies_kubelets: bool = False
    cluster_ips: bool = False
    services: bool = False
    conformance: bool = False
    pulls: bool = False
    agent: bool = False

    def __post_init__(self) -> None:
        if not _DNS_LABEL.fullmatch(self.name):
            raise SpecError(f"cluster name {self.name!r}: a DNS label of at most 31 characters")
        if self.real_nodes < 0 or self.gpus_per_real_node < 0:
            raise SpecError(f"cluster {self.name}: numbers of nodes and GPUs cannot be negative")
        for option in ("conformance", "pulls", "agent"):
            if getattr(self, option) and not self.real_nodes:
                raise SpecError(f"cluster {self.name}: {option} is for real nodes; give real=COUNT")

    @property
    def has_cluster_ips(self) -> bool:
        """Whether ClusterIPs work on real nodes."""
        return self.cluster_ips or self.has_services

    @property
    def has_services(self) -> bool:
        """Whether cluster DNS and ClusterIPs work."""
        return self.services or self.conformance

    @property
    def has_registry(self) -> bool:
        """Whether real nodes can pull."""
        return self.pulls or self.conformance


def parse_cluster_spec(text: str) -> ClusterSpec:
    """`NAME[:KEY=VALUE,...]`, keys real, gpus, services, conformance, pulls, agent, those of kwok.

    `gpus` counts for real and for kwok nodes alike; services, conformance, pulls and agent are 0 or
    1; cpu, memory, pods and cidr are for kwok nodes only.
    """
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value:
            raise SpecError(f"cluster {name}: {part!r} is not KEY=VALUE")
        options[key] = value
    known = {"real", "gpus", "kwok", "services", "conformance", "pulls", "agent"}
    if unknown := options.keys() - _OF_KWOK - known:
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
            cidr=options.get("cidr"),
        )
        if count
        else None
    )
    if pool is None and options.keys() & _OF_KWOK:
        described = ", ".join(sorted(_OF_KWOK))
        raise SpecError(f"cluster {name}: {described} describe kwok nodes; give kwok=COUNT")
    return ClusterSpec(
        name=name,
        kwok=pool,
        real_nodes=number("real", 0),
        gpus_per_real_node=gpus,
        services=bool(number("services", 0)),
        conformance=bool(number("conformance", 0)),
        pulls=bool(number("pulls", 0)),
        agent=bool(number("agent", 0)),
    )


def _is_block_or_name(text: str) -> bool:
    if "/" not in text:
        return bool(_DNS_LABEL.fullmatch(text))
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True
