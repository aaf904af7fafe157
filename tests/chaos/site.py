"""Where chaos happens: a tenant, compute clusters, agents, and links of ours between them.

In: a harness. Out: a `Site`. Clusters belong to the harness; links and agents end with `Site.open`.
An agent that ended without our doing is started again, as its Deployment would, and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from tests.agents import AgentProcess, join
from tests.agents.join import COMPUTE_ACCOUNT, SYSTEM_NAMESPACE, TENANT_ACCOUNT
from tests.chaos.api import Api
from tests.chaos.ledger import Parties
from tests.chaos.link import Link
from tests.chaos.plan import TENANT
from tests.clusters import ClusterSpec, NodePool, kwok
from tests.clusters.control_plane import COMPONENTS
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE
from tests.measuring.broken import program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness

COMPUTES = ("kwok-a", "kwok-b")
_POLICY = Path(__file__).with_name("audit-policy.yaml")
_ARGUMENTS = (
    f"--audit-policy-file={_POLICY}",
    "--storage-media-type=application/json",
)
_WATCHED_EVERY = 0.5
_RESTART_AFTER = 1.0


class Site:
    """Clusters, links, agents."""

    def __init__(
        self,
        federation: Federation,
        *,
        links: Mapping[str, Link],
        agents: Sequence[AgentProcess],
    ) -> None:
        self.tenant = federation.tenant
        self.clusters: dict[str, Cluster] = {TENANT: federation.tenant, **federation.computes}
        self.computes = tuple(federation.computes)
        self.links = links
        self.agents = agents
        self.apis = {name: Api(cluster) for name, cluster in self.clusters.items()}
        self.ended: Counter[str] = Counter()
        """How often a process ended by itself."""
        self.started: Callable[[int], None] = lambda _number: None
        """Told of each start of an agent, by its number."""
        self._dead: Counter[int] = Counter()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Site]:
        """Start links, and end them and the agents."""
        async with contextlib.AsyncExitStack() as stack:
            for api in self.apis.values():
                await stack.enter_async_context(api)
            for link in self.links.values():
                await link.start()
                stack.push_async_callback(link.stop)
            for agent in self.agents:
                stack.callback(agent.kill)
            yield self

    async def parties(self) -> Parties:
        """Who is who."""
        system = await self.apis[TENANT].get("namespaces", "kube-system")
        accounts = (TENANT_ACCOUNT, COMPUTE_ACCOUNT)
        above = {NAMESPACE, SYSTEM_NAMESPACE, "kube-node-lease", "default"}
        below = {BELOW, "demo--default"}
        return Parties(
            tenant=TENANT,
            cluster_uid=system["metadata"]["uid"],
            agents=frozenset(f"system:serviceaccount:{SYSTEM_NAMESPACE}:{n}" for n in accounts),
            namespaces={
                TENANT: frozenset(above),
                **dict.fromkeys(self.computes, frozenset(below)),
            },
        )

    @contextlib.asynccontextmanager
    async def dead(self, *numbers: int) -> AsyncIterator[None]:
        """Kill agents, and start them again at the end, unless others keep them dead."""
        self._dead.update(numbers)
        try:
            for number in numbers:
                await asyncio.to_thread(self.agents[number].kill)
            yield
        finally:
            self._dead.subtract(numbers)
            for number in numbers:
                if not self._dead[number]:
                    self.start(number)

    async def heal(self) -> None:
        """Start what runs no more."""
        for name, cluster in self.clusters.items():
            for component in (*COMPONENTS, *(() if name == TENANT else (kwok.NAME,))):
                if await asyncio.to_thread(cluster.start_ended, component):
                    self.ended[f"{name}: {component}"] += 1

    def start(self, number: int) -> None:
        """Start an agent if it does not run."""
        if not self.agents[number].alive:
            self.started(number)
            self.agents[number].start()

    async def watch_agents(self) -> None:
        """Start agents again that ended by themselves, until cancelled."""
        while True:
            await asyncio.sleep(_WATCHED_EVERY)
            for number, agent in enumerate(self.agents):
                if not self._dead[number] and not agent.alive:
                    self.ended[f"agent {number}"] += 1
                    await asyncio.sleep(_RESTART_AFTER)
                    if not self._dead[number]:
                        self.start(number)


def build(
    harness: Harness,
    directory: Path,
    *,
    replicas: int,
    seed: int,
    broken: str | None,
    settings: Mapping[str, object],
) -> Site:
    """Start the clusters and write credentials and configurations.

    Args:
        harness: owner of the clusters.
        directory: where files of agents go.
        replicas: how many agents.
        seed: of the links' choices.
        broken: a rule of `tests.chaos.broken` that the agents do without.
        settings: more for each compute cluster's configuration.
    """
    specs = [ClusterSpec(TENANT, apiserver_args=_ARGUMENTS)]
    nodes = NodePool(2)
    specs += [ClusterSpec(name, kwok=nodes, apiserver_args=_ARGUMENTS) for name in COMPUTES]
    clusters = harness.up(specs)
    tenant = clusters.pop(TENANT)
    overrides = dict.fromkeys(clusters, settings)
    joined = join(harness, tenant, clusters, directory=directory, overrides=overrides)
    links = {}
    for name, cluster in {TENANT: tenant, **clusters}.items():
        link = links[name] = link_to(cluster, harness.free_port(), seed=seed)
        redirect(directory / f"{name}.kubeconfig", link.port)
    started = program("tests.chaos.broken", broken)
    agents = [
        AgentProcess(_replica(harness, joined, number), identity=f"agent-{number}", program=started)
        for number in range(replicas)
    ]
    return Site(joined, links=links, agents=agents)


def link_to(cluster: Cluster, port: int, *, seed: int) -> Link:
    """Its certificate is of the cluster's own CA: agents see no difference."""
    assert cluster.control_plane is not None
    authority = cluster.control_plane.certificates.authority
    pair = authority.issue("link", "link", sans=["127.0.0.1"])
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(pair.cert, pair.key)
    client = ssl.create_default_context(cafile=str(cluster.ca_file))
    url = urlsplit(cluster.server)
    upstream = (url.hostname or "", url.port or 443)
    return Link(port=port, upstream=upstream, serving=serving, client=client, seed=seed)


def redirect(kubeconfig: Path, port: int) -> None:
    """Let a kubeconfig go by a link."""
    config = yaml.safe_load(kubeconfig.read_text())
    for each in config["clusters"]:
        each["cluster"]["server"] = f"https://127.0.0.1:{port}"
    kubeconfig.write_text(yaml.safe_dump(config))


def _replica(harness: Harness, joined: Federation, number: int) -> Federation:
    """The configuration of one replica: on one machine each needs ports of its own."""
    if not number:
        return joined
    config = yaml.safe_load(joined.config.read_text())
    config["kubelet"]["basePort"] = harness.free_port()
    for cluster in config["clusters"]:
        for pool in cluster["pools"]:
            pool["port"] = harness.free_port()
    path = joined.directory / f"config-{number}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return dataclasses.replace(joined, config=path)
