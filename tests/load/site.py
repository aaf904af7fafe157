"""Where load is put: a tenant, a compute cluster with one real node, an agent, pods.

In: a harness, or what other tests have started. Out: a `Site`. Clusters belong to the harness, the
agent and the pods to the `with` block of `built`.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.agents import AgentProcess, join
from tests.clusters import ClusterSpec
from tests.e2e.user import BELOW, User
from tests.e2e.workloads import NAMESPACE, pod
from tests.load.client import Way

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

COMPUTE = "gpu"
_READY_SECONDS = 90


@dataclass(frozen=True)
class Site:
    """Running pods and the two ways to them."""

    tenant: Cluster
    compute: Cluster
    node: str
    """The virtual node."""
    agent: AgentProcess
    pods: Sequence[str]

    @property
    def through(self) -> Way:
        """By the tenant's API server."""
        return Way("through", self.tenant.kubeconfig, NAMESPACE)

    @property
    def direct(self) -> Way:
        """By the compute cluster's API server, to the same pods."""
        return Way("direct", self.compute.kubeconfig, BELOW)

    @property
    def user(self) -> User:
        """Who owns the pods."""
        return User(self.tenant)

    @property
    def log(self) -> Path:
        """The agent's."""
        return self.agent.log

    def kubelet(self) -> tuple[str, int]:
        """Address and port of the virtual node's kubelet API."""
        status = self.user.get("node", self.node)["status"]
        address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
        return address, int(status["daemonEndpoints"]["kubeletEndpoint"]["Port"])

    def processes(self) -> dict[str, list[int]]:
        """Process ids of the links of a session, the user's end first; none of given clusters."""
        found = {"agent": [self.agent.pid]}
        for name, cluster in (("tenant API server", self.tenant), ("API server", self.compute)):
            if cluster.table:
                found[name] = [cluster.table.get(cluster.name, "kube-apiserver").identity.pid]
        for name, node in self.compute.nodes.items():
            if self.compute.table:
                for program in ("kubelet", "containerd"):
                    found[program] = [self.compute.table.get(name, program).identity.pid]
            found["shims"] = _shims(str(node.site.socket))
        return found


@contextmanager
def built(harness: Harness, directory: Path, *, pods: int, sessions: int) -> Iterator[Site]:
    """Start everything, with limits of the agent that let so many sessions in."""
    compute = ClusterSpec(COMPUTE, real_nodes=1)
    clusters = harness.up([ClusterSpec("tenant"), compute])
    tenant = clusters.pop("tenant")
    joined = join(harness, tenant, clusters, directory=directory)
    config = yaml.safe_load(joined.config.read_text())
    config["kubelet"]["sessionsPerNamespace"] = sessions
    joined.config.write_text(yaml.safe_dump(config, sort_keys=False))
    with AgentProcess(joined) as agent:
        agent.wait_ready()
        with populated(joined, agent, pods=pods) as site:
            yield site


@contextmanager
def populated(
    federation: Federation, agent: AgentProcess, *, pods: int, compute: str = COMPUTE
) -> Iterator[Site]:
    """Pods in a federation that runs already."""
    names = [f"load-{number}" for number in range(pods)]
    user = User(federation.tenant)
    user.apply(*(pod(name, cluster=compute, command=_SPEAK) for name in names))
    try:
        for name in names:
            user.wait_phase(name, "Running", timeout=_READY_SECONDS)
        yield Site(
            tenant=federation.tenant,
            compute=federation.computes[compute],
            node=f"vnode-{compute}",
            agent=agent,
            pods=names,
        )
    finally:
        user.kubectl("delete", "pods", "--wait=false", "--grace-period=1", *names)


_SPEAK = "echo ready; exec sleep 36000"
"""What the pods do: the first word is what logs are compared with."""


def _shims(socket: str) -> list[int]:
    """Of one containerd; they keep a pod's processes company."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, NotADirectoryError):
            words = (entry / "cmdline").read_text().split("\0")
            if "containerd-shim" in words[0] and socket in words:
                found.append(int(entry.name))
    return found
