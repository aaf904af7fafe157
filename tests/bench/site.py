"""Where is measured: a tenant with nodes of its own, a compute cluster, a bridge that is off.

In: a harness. Out: a `Site`. Clusters belong to the harness; the bridge runs only within
`Site.bridged`, so that what is measured without it is measured without it. All nodes are simulated,
and pods of both clusters' own go to nodes with the same label.
"""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.agents import AgentProcess, join
from tests.agents.join import join_compute, uid_of
from tests.bench.bridge import OtherBridge
from tests.bench.scraper import Scraper
from tests.bench.workloads import Place
from tests.clusters import ClusterSpec, NodePool
from tests.clusters.spec import gpu_labels
from tests.e2e.workloads import CLUSTER_LABEL, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.agents import Federation
    from tests.bench.bridge import Bridge, Other
    from tests.clusters import Cluster, Harness
    from tests.clusters.programs import Progress

COMPUTE = "gpu-a"
OWN = {"bench/own": "true"}
"""Label of all simulated nodes."""
DIRECT = "direct"
"""Namespace of pods that are nobody's copies."""
_PODS_PER_NODE = 500
_SETTLE = 2.0


@dataclass(frozen=True)
class Site:
    """Two clusters, and what may stand between them."""

    tenant: Cluster
    compute: Cluster
    bridge: Bridge
    directory: Path
    namespaces: Sequence[str]
    """Of the tenant, whose pods are forwarded."""
    below: str
    """Compute namespace of the first one's pods."""
    node: str
    """The virtual node."""
    user_agent: str
    """How the bridge's user agent begins."""
    other: Other | None
    joined: Federation
    """Of our agent."""
    scraper: Scraper | None
    """None: the bridge is not our agent."""
    progress: Progress

    @contextmanager
    def bridged(self, *, leave_node: bool = False) -> Iterator[Bridge]:
        """Let the bridge run; the virtual node goes with it unless it is to stay for its pods.

        A Node that stays looks Ready for as long as its Lease lasts, to the next bridge too.
        """
        self.bridge.start()
        try:
            self.bridge.wait_ready()
            time.sleep(_SETTLE)
            yield self.bridge
        finally:
            self.bridge.stop()
            if not leave_node:
                self.tenant.kubectl("delete", "node", self.node, "--ignore-not-found")

    def through(self, *, automount: bool = True) -> Place:
        """Pods for the virtual node."""
        if self.other:
            selector, taints = {"kubernetes.io/hostname": self.node}, [{"operator": "Exists"}]
            return Place(self.namespaces, selector, taints, automount=automount)
        return Place(self.namespaces, {CLUSTER_LABEL: COMPUTE}, automount=automount)

    def own(self, *, automount: bool = True) -> Place:
        """Pods for nodes of the tenant's own."""
        return Place(self.namespaces, OWN, automount=automount)

    def direct(self, *, automount: bool = True) -> Place:
        """Pods of the compute cluster's own."""
        names = [f"{DIRECT}-{name}" for name in self.namespaces]
        return Place(names, OWN, automount=automount)


def built(
    harness: Harness,
    directory: Path,
    *,
    pods: int,
    progress: Progress,
    namespaces: int = 1,
    other: Other | None = None,
) -> Site:
    """Start clusters with room for so many pods at once in each of so many namespaces."""
    labels = {**gpu_labels(8), **OWN}
    pool = NodePool(max(4, -(-2 * pods // _PODS_PER_NODE)), labels=labels)
    clusters = harness.up([ClusterSpec("tenant", kwok=pool), ClusterSpec(COMPUTE, kwok=pool)])
    tenant, compute = clusters["tenant"], clusters[COMPUTE]
    names = [NAMESPACE, *(f"bench-{number}" for number in range(1, namespaces))]
    _make_namespaces(tenant, [name for name in names if name != NAMESPACE])
    _make_namespaces(compute, [f"{DIRECT}-{name}" for name in names])
    if namespaces > 1:
        joined = _join_all(harness, tenant, compute, directory=directory, pods=pods)
    else:
        joined = join(harness, tenant, {COMPUTE: compute}, directory=directory, namespaces=names)
        # Also for capacity from nodes; not asked for unless somebody configures it.
        join_compute(
            compute,
            COMPUTE,
            uid=uid_of(tenant),
            config=joined.config,
            directory=directory,
            options=["--capacity-nodes"],
        )
        _make_room(compute, f"demo--{NAMESPACE}", pods)
    bridge: Bridge
    if other:
        bridge = OtherBridge(other, tenant, compute, log=directory / "other.log")
    else:
        bridge = AgentProcess(joined)
    return Site(
        tenant=tenant,
        compute=compute,
        bridge=bridge,
        directory=directory,
        namespaces=names,
        below=other.namespace if other else f"demo--{NAMESPACE}",
        node=other.node if other else f"vnode-{COMPUTE}",
        user_agent=other.user_agent if other else "vnode/",
        other=other,
        joined=joined,
        scraper=None if other else Scraper(tenant, f"vnode-{COMPUTE}"),
        progress=progress,
    )


def _join_all(
    harness: Harness, tenant: Cluster, compute: Cluster, *, directory: Path, pods: int
) -> Federation:
    """All namespaces are forwarded, and made below when they are needed."""
    room = {"cpu": "500", "memory": "2Ti", "pods": str(2 * pods + 1000)}
    capacity = {"sources": ["static"], "static": room}
    pool = {"name": "default", "port": harness.free_port(), "capacity": capacity}
    return join(
        harness,
        tenant,
        {COMPUTE: compute},
        directory=directory,
        namespaces=[],
        on_demand=[COMPUTE],
        overrides={COMPUTE: {"pools": [pool]}},
    )


def _make_namespaces(cluster: Cluster, names: Sequence[str]) -> None:
    """With the label that lets pods tolerate virtual nodes, where there are some."""
    if names:
        labels = {"vnode.dev/virtual-nodes": "enabled"}
        items = [
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": labels},
            }
            for name in names
        ]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        cluster.kubectl("apply", "--server-side", "-f", "-", input=text)


def _make_room(compute: Cluster, namespace: str, pods: int) -> None:
    """Quotas are not what is measured."""
    room = str(2 * pods + 1000)
    for quota, hard in (("vnode", {"pods": room}), ("vnode-objects", {"secrets": room})):
        patch = json.dumps({"spec": {"hard": hard}})
        where = (f"--namespace={namespace}", "patch", "resourcequota", quota)
        compute.kubectl(*where, f"--patch={patch}")
