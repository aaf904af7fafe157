"""Where the judges meet the virtual node: a tenant, a compute cluster with one real node, an agent.

In: a harness. Out: a `Site`, and agents set up for one judge. Clusters belong to the harness, an
agent to its `with` block.

The two set-ups differ from an ordinary one as little as each judge allows:

- virtual-kubelet's suite sends no credentials, and only to port 10250, and asks what pods use;
- Kubernetes' tests know nothing of taints and make namespaces of their own, reach pods by address,
  and try what only trusted tenants may ask for.
"""

from __future__ import annotations

from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from federation.backends.kubernetes.translate.policy import HostAccess
from tests.agents import AgentProcess, Federation, join
from tests.agents.join import join_compute, uid_of
from tests.clusters import ClusterSpec
from tests.conformance.virtual_kubelet import suite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clusters import Cluster, Harness
    from tests.conformance.virtual_kubelet.verdicts import Verdict

COMPUTE = "compute"
_NAMESPACE = "team-a"
TENANT = "tenant"


@dataclass(frozen=True)
class Site:
    """Running clusters."""

    harness: Harness
    tenant: Cluster
    """Where the judges sit; its only node is the agent's."""
    compute: Cluster
    """Whose node does the work."""
    directory: Path
    """Takes credentials, configurations and logs of agents."""

    @property
    def computes(self) -> dict[str, Cluster]:
        """The compute cluster as `join` wants it."""
        return {COMPUTE: self.compute}


def build(harness: Harness, directory: Path, *, conformance: bool) -> Site:
    """Start the clusters; with `conformance` the node is one on which Kubernetes' tests pass."""
    compute = ClusterSpec(COMPUTE, real_nodes=1, conformance=conformance, pulls=True)
    clusters = harness.up([ClusterSpec(TENANT), compute])
    return Site(harness, clusters[TENANT], clusters[COMPUTE], directory)


@contextmanager
def agent_for_virtual_kubelet(site: Site) -> Iterator[str]:
    """An agent for virtual-kubelet's suite, ready; gives the name of the virtual node."""
    joined = join(
        site.harness, site.tenant, site.computes, directory=site.directory / "virtual-kubelet"
    )
    change(joined, for_virtual_kubelet)
    _grant(joined, "--usage-kubelet")
    with _running(joined) as node:
        yield node


@contextmanager
def agent_for_kubernetes(site: Site) -> Iterator[str]:
    """An agent for Kubernetes' tests, ready; gives the name of the virtual node."""
    joined = join(
        site.harness,
        site.tenant,
        site.computes,
        directory=site.directory / "kubernetes",
        namespaces=(),
        on_demand=(COMPUTE,),
        privileged=True,
    )
    change(joined, for_kubernetes)
    _grant(joined, "--capacity-nodes", "--pod-security=privileged")
    with _running(joined) as node:
        yield node


@contextmanager
def _running(joined: Federation) -> Iterator[str]:
    """Run the agent; afterwards its Node goes, since taints are written only to new ones."""
    node = joined.nodes[0]
    try:
        with AgentProcess(joined) as agent:
            agent.wait_ready()
            yield node
    finally:
        joined.tenant.kubectl("delete", "node", node, "--ignore-not-found")


def _grant(joined: Federation, *options: str) -> None:
    """Join again, with a right that is optional."""
    join_compute(
        joined.computes[COMPUTE],
        COMPUTE,
        uid=uid_of(joined.tenant),
        config=joined.config,
        directory=joined.directory,
        options=options,
    )


def change(joined: Federation, how: Callable[[Any], Any]) -> None:
    """Rewrite the agent's configuration."""
    config = yaml.safe_load(joined.config.read_text())
    joined.config.write_text(yaml.safe_dump(how(config), sort_keys=False))


def for_virtual_kubelet(config: Any) -> Any:
    """The agent's configuration for virtual-kubelet's suite."""
    changed = deepcopy(config)
    changed["kubelet"]["insecure"] = True
    changed["clusters"][0]["usage"] = "kubelet"
    changed["clusters"][0]["pools"][0]["port"] = suite.KUBELET_PORT
    return changed


def for_kubernetes(config: Any) -> Any:
    """The agent's configuration for Kubernetes' tests: a fully trusted tenant."""
    changed = deepcopy(config)
    cluster = changed["clusters"][0]
    cluster["network"] = "flat"
    cluster["policy"] = {
        "allow": [feature.value for feature in HostAccess],
        "exposeHostIP": True,
    }
    cluster["pools"][0]["taints"] = []
    cluster["pools"][0]["capacity"] = {"sources": ["nodes"]}
    return changed


def judge_by_virtual_kubelet(site: Site, program: Path) -> list[Verdict]:
    """Run virtual-kubelet's compiled suite."""
    with agent_for_virtual_kubelet(site) as node:
        address = site.harness.listen_address
        suite.pretend_agent_pod(site.tenant, namespace=_NAMESPACE, node=node, address=address)
        return suite.run(program, site.tenant, namespace=_NAMESPACE, node=node)
