"""Checks of clusters of kind eci: the key, the region, and what pools want to buy.

In: the cluster's configuration. Out: findings. Everything is asked as the agent asks it; nothing is
bought, and no other tool's calls are in the way of the account's limits.
"""

from collections.abc import Sequence

from federation.check.findings import Finding, ok, one_line, warn, wrong
from federation.config import EciClusterConfig
from federation.sides.eci.account import open_account
from vnode.kube.errors import KubeError
from vnode.runtime.clock import SystemClock

__all__ = ["link", "weaker_forms"]


async def link(cluster: EciClusterConfig) -> Sequence[Finding]:
    """Does the API answer, and does it know our key?"""

    try:
        async with open_account(cluster, name=cluster.name, clock=SystemClock()) as account:
            await account.probe()
            unknown = [name for name in cluster.instance_types if not await account.sells(name)]
    except KubeError as error:
        return [wrong(one_line(error))]
    return [
        ok(f"{cluster.url} answers"),
        *(
            warn(f"instance type {name} is not to be had in {cluster.region} now")
            for name in unknown
        ),
    ]


async def weaker_forms(cluster: EciClusterConfig) -> Sequence[Finding]:
    """What was allowed though it is weaker than on a node."""
    findings = []
    if cluster.allow_inline_secrets:
        text = "allowInlineSecrets: who may describe the account's groups may read Secrets there"
        findings.append(warn(text, "grant eci:DescribeContainerGroups to few"))
    if cluster.ram_role is not None:
        findings.append(warn(f"ramRole {cluster.ram_role} is open to every container"))
    return findings or [ok("nothing weaker than on a node is allowed")]
