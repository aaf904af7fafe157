"""From specs to running clusters, all at once.

In: a claimed slot, programs, `ClusterSpec`s. Out: `Cluster`s whose nodes are Ready. The first
failure stops the other starts and is raised; taking down what runs by then is the harness's part.
"""

from __future__ import annotations

import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from tests.clusters import host, images, kwok, network, programs
from tests.clusters.cluster import Cluster
from tests.clusters.control_plane import COMPONENTS, ControlPlane
from tests.clusters.node import Node
from tests.clusters.node_config import NodeSite
from tests.clusters.slots import LOOPBACK, Claim, PortAllocator
from tests.clusters.spec import gpu_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from tests.clusters.processes import ProcessTable
    from tests.clusters.spec import ClusterSpec


def programs_for(specs: Sequence[ClusterSpec]) -> set[str]:
    """The programs that clusters like these need."""
    needed = {*COMPONENTS, programs.KUBECTL}
    if any(spec.kwok for spec in specs):
        needed.add(programs.KWOK)
    if any(spec.real_nodes for spec in specs):
        needed.add(programs.KUBELET)
    return needed


class Launcher:
    """Starts clusters in one slot. Used once."""

    def __init__(
        self,
        claim: Claim,
        table: ProcessTable,
        found: Mapping[str, Path],
        progress: Callable[[str], None],
    ) -> None:
        self._claim = claim
        self._slot = claim.slot
        self._table = table
        self._found = found
        self._progress = progress
        self._ports = PortAllocator(claim.slot.component_ports)
        self._archive = claim.state / "images.tar"

    def start(self, specs: Sequence[ClusterSpec]) -> dict[str, Cluster]:
        """Starts all clusters in parallel."""
        if self._claim.containers:
            network.create_bridge(self._slot, clusters=len(specs))
            images.build_archive(self._archive, host.static_busybox())
        planes = [self._control_plane(index, spec) for index, spec in enumerate(specs)]
        sites = self._sites(specs)
        nodes = [self._nodes(*item) for item in zip(specs, planes, sites, strict=True)]
        with ThreadPoolExecutor(len(specs)) as pool:
            started = [
                pool.submit(self._start, *item) for item in zip(specs, planes, nodes, strict=True)
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

    def _start(self, spec: ClusterSpec, plane: ControlPlane, nodes: Sequence[Node]) -> Cluster:
        began = time.monotonic()
        plane.start()
        if spec.kwok:
            program = self._found[kwok.NAME]
            kwok.start(plane, spec.kwok, program=program, ports=self._ports, table=self._table)
        if nodes:
            with ThreadPoolExecutor(len(nodes)) as pool:
                list(pool.map(Node.start, nodes))
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
        )

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
        self, spec: ClusterSpec, plane: ControlPlane, sites: Iterable[NodeSite]
    ) -> list[Node]:
        return [
            Node(
                site,
                control_plane=plane,
                kubelet=self._found[programs.KUBELET],
                archive=self._archive,
                table=self._table,
                gpus=spec.gpus_per_real_node,
                labels=gpu_labels(spec.gpus_per_real_node),
            )
            for site in sites
        ]
