"""From specs to running clusters, all at once.

In: a claimed slot, programs, `ClusterSpec`s. Out: `Cluster`s whose nodes are Ready. The first
failure stops the other starts and is raised; taking down what runs by then is the harness's part.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clusters import (
    agent_image,
    cluster_dns,
    e2e_images,
    host,
    images,
    kube_proxy,
    kwok,
    network,
    programs,
    registry,
)
from tests.clusters.cluster import Cluster
from tests.clusters.control_plane import COMPONENTS, ControlPlane
from tests.clusters.errors import UnsupportedError
from tests.clusters.node import Node
from tests.clusters.node_config import NodeSite
from tests.clusters.slots import LOOPBACK, Claim, PortAllocator, simulated_pod_cidr
from tests.clusters.spec import gpu_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.clusters.processes import ProcessTable
    from tests.clusters.spec import ClusterSpec, NodePool


@dataclass(frozen=True)
class Ingredients:
    """Everything that may take minutes to get, and is in the cache afterwards."""

    programs: Mapping[str, Path]
    e2e_images: Path | None
    """Archive of the images of Kubernetes' tests, where a cluster wants them."""
    agent_image: Path | None
    """Archive of the agent's image, likewise."""

    @classmethod
    def get(cls, specs: Sequence[ClusterSpec], progress: Callable[[str], None]) -> Ingredients:
        """What clusters like these need."""
        conformance = any(spec.conformance for spec in specs)
        return cls(
            programs.ensure(programs_for(specs), progress),
            e2e_images.ensure(progress) if conformance else None,
            agent_image.ensure(progress) if any(spec.agent for spec in specs) else None,
        )


def programs_for(specs: Sequence[ClusterSpec]) -> set[str]:
    """The programs that clusters like these need. Raises UnsupportedError."""
    needed = {*COMPONENTS, programs.KUBECTL}
    containers = any(spec.real_nodes for spec in specs)
    if any(spec.kwok for spec in specs):
        needed.add(programs.KWOK)
    if containers:
        needed.add(programs.KUBELET)
    if any(spec.has_services for spec in specs):
        if not containers:
            raise UnsupportedError("services need a real node, in whichever of the clusters")
        needed.add(programs.COREDNS)
    if any(spec.has_cluster_ips for spec in specs):
        needed.add(programs.KUBE_PROXY)
    if any(spec.conformance for spec in specs):
        needed |= {*programs.CONTAINERD}
    return needed


def simulated_cidr(index: int, pool: NodePool, real: Mapping[str, str]) -> str:
    """The block of the simulated pods of cluster number `index`.

    `real` are the blocks of the clusters that have real nodes. Raises UnsupportedError.
    """
    if pool.cidr is None:
        return simulated_pod_cidr(index)
    if "/" in pool.cidr:
        return pool.cidr
    if pool.cidr not in real:
        raise UnsupportedError(f"no real node in a cluster {pool.cidr!r} has pods")
    return real[pool.cidr]


class Launcher:
    """Starts clusters in one slot. Used once."""

    def __init__(
        self,
        claim: Claim,
        table: ProcessTable,
        ingredients: Ingredients,
        progress: Callable[[str], None],
    ) -> None:
        self._claim = claim
        self._slot = claim.slot
        self._table = table
        self._found = ingredients.programs
        self._e2e_images = ingredients.e2e_images
        self._agent_image = ingredients.agent_image
        self._progress = progress
        self._ports = PortAllocator(claim.slot.component_ports)
        self._archive = claim.state / "images.tar"

    def start(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        """Starts all clusters in parallel."""
        if self._claim.containers:
            network.create_bridge(self._slot, clusters=len(specs))
            images.build_archive(self._archive, host.static_busybox())
        url = self._start_registry() if any(spec.has_registry for spec in specs) else None
        planes = [self._control_plane(index, spec) for index, spec in enumerate(specs)]
        sites = self._sites(specs)
        nodes = [self._nodes(*item, url) for item in zip(specs, planes, sites, strict=True)]
        real = {spec.name: own[0].pod_cidr for spec, own in zip(specs, sites, strict=True) if own}
        blocks = [
            simulated_cidr(index, spec.kwok, real) if spec.kwok else ""
            for index, spec in enumerate(specs)
        ]
        with ThreadPoolExecutor(len(specs)) as pool:
            started = [
                pool.submit(self._start, *item)
                for item in zip(specs, planes, nodes, blocks, strict=True)
            ]
            try:
                wait(started, return_when=FIRST_EXCEPTION)
                # A cluster that failed first, not one that was stopped because of it.
                for future in started:
                    if future.done():
                        future.result()
            except BaseException:
                self._table.close()
                raise
            clusters = [future.result() for future in started]
        return {cluster.name: cluster for cluster in clusters}

    def _start(
        self, spec: ClusterSpec, plane: ControlPlane, nodes: Sequence[Node], kwok_cidr: str
    ) -> Cluster:
        began = time.monotonic()
        found, table = self._found, self._table
        plane.start()
        if spec.has_services:
            program = found[cluster_dns.NAME]
            cluster_dns.start(plane, program=program, ports=self._ports, table=table)
        if spec.kwok:
            program = found[kwok.NAME]
            kwok.start(
                plane, spec.kwok, cidr=kwok_cidr, program=program, ports=self._ports, table=table
            )

        def start_node(node: Node) -> None:
            node.start()
            if spec.has_cluster_ips:
                kube_proxy.start(node.site, plane, program=found[kube_proxy.NAME], table=table)

        if nodes:
            with ThreadPoolExecutor(len(nodes)) as pool:
                list(pool.map(start_node, nodes))
        self._progress(f"{spec.name}: ready after {time.monotonic() - began:.1f} s")
        return Cluster(
            name=spec.name,
            kubeconfig=plane.kubeconfig,
            server=plane.server,
            ca_file=plane.certificates.authority.files.cert,
            audit_log=plane.audit_log,
            kubectl_program=self._found[programs.KUBECTL],
            kubectl_cache=plane.folder / "kubectl-cache",
            control_plane=plane,
            table=self._table,
            nodes={node.site.name: node for node in nodes},
            dns_address=plane.address if spec.has_services else None,
        )

    def _start_registry(self) -> str:
        archive = self._e2e_images or self._archive
        address = self._slot.host_address
        port = self._ports.take({address})
        log = self._claim.state / "registry.log"
        registry.start(archive, address=address, port=port, table=self._table, log=log)
        return f"http://{address}:{port}"

    def _control_plane(self, index: int, spec: ClusterSpec) -> ControlPlane:
        on_bridge = self._claim.containers
        return ControlPlane(
            spec.name,
            index=index,
            folder=self._claim.state / spec.name,
            address=self._slot.control_plane_address(index) if on_bridge else LOOPBACK,
            ports=self._ports,
            programs=self._found,
            table=self._table,
            apiserver_args=spec.apiserver_args,
            controller_manager_args=spec.controller_manager_args,
            verifies_kubelets=spec.verifies_kubelets,
        )

    def _sites(self, specs: Sequence[ClusterSpec]) -> list[list[NodeSite]]:
        """Decides about every real node and makes its namespace; one list per cluster."""
        total = sum(spec.real_nodes for spec in specs)
        numbers = iter(range(total))
        return [
            [
                self._site(f"{spec.name}-node-{local}", next(numbers), total)
                for local in range(spec.real_nodes)
            ]
            for spec in specs
        ]

    def _site(self, name: str, number: int, total: int) -> NodeSite:
        return NodeSite(
            name=name,
            folder=self._claim.state / "nodes" / name,
            namespace=network.create_node(self._slot, number, nodes=total),
            address=self._slot.node_address(number),
            pod_cidr=self._slot.pod_cidr(number),
            cgroup=f"{self._slot.cgroup}/{name}",
        )

    def _nodes(
        self,
        spec: ClusterSpec,
        plane: ControlPlane,
        sites: Iterable[NodeSite],
        registry_url: str | None,
    ) -> list[Node]:
        archive = (spec.conformance and self._e2e_images) or self._archive
        agent = [self._agent_image] if spec.agent and self._agent_image else []
        upstream = self._found[programs.CONTAINERD[0]].parent if spec.conformance else None
        return [
            Node(
                site,
                control_plane=plane,
                kubelet=self._found[programs.KUBELET],
                archives=[archive, *agent],
                table=self._table,
                gpus=spec.gpus_per_real_node,
                labels=gpu_labels(spec.gpus_per_real_node),
                # Without services nobody answers there, which pods without DNS names never notice;
                # without an address the kubelet would warn about each of them in an event.
                dns_address=plane.address,
                registry=registry_url if spec.has_registry else None,
                upstream=upstream,
            )
            for site in sites
        ]
