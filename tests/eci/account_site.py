"""A home cluster and an account of ECI as two places of one tenant.

In: a harness and a folder. Out: running clusters, the emulator as a process whose groups really
run here, and an agent that serves both. All but the clusters, which are the harness's, ends with
the `with` block of `account_site`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec
from tests.eci.joined import BURST, account_cluster
from tests.eci.service import EciService

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.clusters import Cluster, Harness

HOME = "home"
NODE = f"vnode-{BURST}"
TYPE = "ecs.c6.large"
_PAID = {"key": "example.com/paid", "value": BURST, "effect": "NoSchedule"}
"""So that nothing comes to the account that does not say that it may cost money."""


@dataclass(frozen=True)
class AccountSite:
    """What runs."""

    federation: Federation
    account: EciService

    @property
    def tenant(self) -> Cluster:
        return self.federation.tenant


@contextmanager
def account_site(
    harness: Harness, folder: Path, *, others: Sequence[ClusterSpec] = ()
) -> Iterator[AccountSite]:
    """Start all of it; `others` are clusters beside these that nobody joins."""
    specs = [ClusterSpec("tenant"), ClusterSpec(HOME, real_nodes=1)]
    clusters = harness.up([*specs, *others])
    tenant, computes = clusters["tenant"], {HOME: clusters[HOME]}
    joined = join(harness, tenant, computes, directory=folder / "agent")
    with EciService("--process", "--pulling", "1") as account:
        pool = {"types": [TYPE], "taints": [_PAID]}
        port = harness.free_port()
        cluster = {
            **account_cluster(account.url, folder / "key", port=port, pool=pool),
            "instanceTypes": {TYPE: {"cpu": "2", "memory": "4Gi"}},
        }
        config = yaml.safe_load(joined.config.read_text())
        config["clusters"].append(cluster)
        joined.config.write_text(yaml.safe_dump(config, sort_keys=False))
        nodes = (*joined.nodes, NODE)
        both = Federation(tenant, joined.computes, joined.directory, joined.config, nodes)
        with AgentProcess(both) as agent:
            agent.wait_ready()
            yield AccountSite(both, account)
