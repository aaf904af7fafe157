"""Where it happens: a tenant's control plane, an account on the emulator, one agent between them.

In: a harness. Out: a `Site`. The cluster is the harness's; the emulator and the agent end with the
`with` block of `built`.
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
from tests.measuring.broken import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster, Harness


@dataclass(frozen=True)
class Site:
    """All that runs."""

    tenant: Cluster
    account: EciService
    agent: AgentProcess


@contextmanager
def built(
    harness: Harness, directory: Path, *, limits: float = 1.0, broken: str | None = None
) -> Iterator[Site]:
    """Start all of it.

    Args:
        harness: of the tenant cluster.
        directory: for files.
        limits: the part of the documented limits of calls that the account has.
        broken: a rule of `tests.eci.scale.broken` that the agent does without.
    """
    tenant = harness.up([ClusterSpec("tenant")])["tenant"]
    joined = join(harness, tenant, {}, directory=directory)
    with EciService("--limits", str(limits)) as account:
        config = yaml.safe_load(joined.config.read_text())
        burst = account_cluster(account.url, directory / "key", port=harness.free_port())
        config["clusters"] = [{**burst, "accountShare": limits}]
        joined.config.write_text(yaml.safe_dump(config, sort_keys=False))
        federation = Federation(tenant, {}, directory, joined.config, (f"vnode-{BURST}",))
        with AgentProcess(federation, program=program("tests.eci.scale.broken", broken)) as agent:
            agent.wait_ready()
            yield Site(tenant, account, agent)
