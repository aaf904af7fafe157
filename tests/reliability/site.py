"""Where faults are made: a tenant, one compute cluster of simulated nodes, agents, many pods.

In: a harness. Out: a `Site`, whose agents end with the `with` block of `built`; the clusters are
the harness's. The tenant has ordinary nodes too, simulated: while most of a cluster's nodes are
unreachable, Kubernetes evicts nothing, and a test of absence would prove nothing.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.agents import AgentProcess, join
from tests.agents.replica import replica
from tests.chaos.history import JSON
from tests.clusters import ClusterSpec, NodePool
from tests.e2e.user import BELOW, User
from tests.e2e.workloads import deployment, pod_spec
from tests.measuring.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

    Progress = Callable[[str], None]

COMPUTE = "gpu-a"
NODE = f"vnode-{COMPUTE}"
LOAD = "steady"
"""Name of the Deployment, and label `app` of its pods."""
UNREACHABLE = "vnode.dev/ComputeReachable"
_OWN_NODES = 3
SECOND_ADDRESS = "127.0.0.2"
"""Of the second replica: replicas in a cluster have addresses of their own, too."""
_READY_SECONDS = 900.0


@dataclass(frozen=True)
class Site:
    """A federation under load."""

    federation: Federation
    agents: list[AgentProcess]
    """Replicas; the first one is started."""
    pods: int
    progress: Progress

    @property
    def tenant(self) -> Cluster:
        """Whose users submit work."""
        return self.federation.tenant

    @property
    def compute(self) -> Cluster:
        """Where it runs."""
        return self.federation.computes[COMPUTE]

    @property
    def user(self) -> User:
        """Who owns the pods."""
        return User(self.tenant)

    @property
    def below(self) -> User:
        """An onlooker at the copies."""
        return User(self.compute, BELOW)

    def load(self) -> list[Any]:
        """The pods of the Deployment."""
        return self.user.items("pods", f"app={LOAD}")

    def submit(self, pods: int | None = None) -> None:
        """Let the pods run, or so many of them; returns when all are Ready."""
        started, count = time.monotonic(), self.pods if pods is None else pods
        spec = pod_spec(cluster=COMPUTE)
        self.user.apply(deployment(LOAD, replicas=count, spec=spec))

        def ready() -> bool:
            status = self.user.get("deployment", LOAD)["status"]
            return bool(status.get("readyReplicas", 0) == count)

        wait(ready, f"{count} pods are Ready", timeout=_READY_SECONDS, every=1.0)
        self.progress(f"{count} pods Ready after {time.monotonic() - started:.1f} s")

    def node(self) -> Any:
        """The virtual node; None while there is none."""
        return self.user.get("node", NODE)

    def condition(self, kind: str) -> str:
        """Status of one of its conditions; empty: there is none."""
        node = self.node()
        found = node["status"].get("conditions", []) if node else []
        return next((c["status"] for c in found if c["type"] == kind), "")

    def taints(self) -> set[str]:
        """Keys of its taints."""
        node = self.node()
        return {t["key"] for t in node["spec"].get("taints", [])} if node else set()

    def touch(self, name: str, restarts: int) -> None:
        """Change a copy's status, as its kubelet would when a container was restarted."""
        pod = self.below.get("pod", name)
        states = pod["status"]["containerStatuses"]
        changed = [{**state, "restartCount": restarts} for state in states]
        self.patch_status(name, {"containerStatuses": changed})

    def patch_status(self, name: str, status: dict[str, Any]) -> None:
        """Write to a copy's status, as its kubelet would."""
        patch = json.dumps({"status": status})
        how = ("--subresource=status", "--type=merge", f"--patch={patch}")
        self.below.kubectl("patch", "pod", name, *how)

    def restarts(self, name: str) -> int:
        """How often the tenant's pod says that its container was restarted; -1: it is gone."""
        pod = self.user.get("pod", name)
        states = pod["status"].get("containerStatuses", []) if pod else []
        return int(states[0]["restartCount"]) if states else -1

    def wait_mirrored(self, name: str, restarts: int, *, timeout: float) -> float:
        """Touch a copy and wait until the tenant shows it; returns the seconds that it took."""
        began = time.monotonic()
        self.touch(name, restarts)
        wait(
            lambda: self.restarts(name) == restarts,
            f"the change of {name} is mirrored",
            timeout=timeout,
            every=0.1,
        )
        return time.monotonic() - began


@contextmanager
def built(
    harness: Harness,
    directory: Path,
    *,
    pods: int,
    progress: Progress,
    replicas: int = 1,
    program: Sequence[str] = (),
) -> Iterator[Site]:
    """Start clusters and agents; returns when the first one's virtual node is Ready.

    `program` is the first agent's, if it is not `vnode`.
    """
    own = NodePool(_OWN_NODES, gpus=0, labels={})
    # So that `tests.chaos.history` can read what etcd has below.
    compute = ClusterSpec(COMPUTE, kwok=NodePool(4), apiserver_args=(JSON,))
    specs = [ClusterSpec("tenant", kwok=own), compute]
    clusters = harness.up(specs)
    tenant = clusters.pop("tenant")
    joined = join(harness, tenant, clusters, directory=directory)
    identities = [f"agent-{number}" for number in range(1, replicas)]
    others = {each: replica(joined, each, SECOND_ADDRESS) for each in identities}
    # Last, since whoever joins a cluster does not overrule what was set by hand.
    hard = {"pods": str(2 * pods + 100)}
    clusters[COMPUTE].kubectl(
        f"--namespace={BELOW}",
        "patch",
        "resourcequota",
        "vnode",
        f"--patch={json.dumps({'spec': {'hard': hard}})}",
    )
    _wait_for_policy(User(tenant))
    with ExitStack() as stack:
        agents = [stack.enter_context(AgentProcess(joined, program=program))]
        agents[0].wait_ready()
        for identity, other in others.items():
            agents.append(stack.enter_context(AgentProcess(other, identity=identity)))
        yield Site(joined, agents, pods, progress)


def _wait_for_policy(user: User) -> None:
    """A new admission policy takes a few seconds to act."""
    probe = ("run", "probe", "--image=none", "--dry-run=server", "-o", "jsonpath={.spec}")
    wait(
        lambda: "vnode.dev/provider" in user.kubectl(*probe, check=False),
        "the tolerations policy acts",
        timeout=60.0,
    )
