"""`python -m tests.bench PART...`: as fast as the API servers, on clusters that it starts and ends.

    speed       a Deployment: directly, in both clusters at once (the floor), through the bridge
    no-token    the same for pods without the default ServiceAccount's token
    shared      one ConfigMap and one Secret for each 100 pods
    jobs        Jobs that finish, likewise
    namespaces  50 namespaces at once, likewise
    churn       50 pods a second, for 20 seconds
    latency     a status at idle
    foreign     pods of others in the compute cluster
    restart     rest and restart under running pods
    wide        50 virtual nodes of 10 compute clusters in one agent
    tenants     100 tenants on one compute cluster
    all         these in turn
    distance    20 and 100 ms between the clusters; not in all
    profile     where the agent's processor time and memory go; not in all

With --bridge any other virtual kubelet is measured instead of ours. The exit code is 1 if a target
is missed.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.agents import AgentError
from tests.bench import (
    distance,
    foreign,
    latency,
    page,
    profile,
    restart,
    speed,
    tenants,
    wide,
)
from tests.bench.bridge import Other
from tests.bench.site import built
from tests.clusters import Harness
from tests.clusters.errors import HarnessError
from tests.measuring import command
from tests.measuring.report import Report, Target

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator, Sequence

    from tests.bench.site import Site
    from tests.clusters.programs import Progress

_SMALL = ("no-token", "shared", "jobs", "churn", "latency", "foreign")
_LARGE = ("wide", "tenants")
"""With clusters of their own."""
_OF_OUR_AGENT = ("distance", "profile", *_LARGE)
_ALL = ("speed", *_SMALL, "restart", "namespaces", *_LARGE)
_PARTS = (*_ALL, "distance", "profile")
_NAMESPACES = 50
_NODES = 5
"""Virtual nodes of each cluster of wide."""
_PODS_OF_A_TENANT = 10
_DELAYS = (0.02, 0.1)
_FOREIGN_ROUNDS, _LATENCY_ROUNDS, _SAMPLES = 5, 3, 200


def main(arguments: list[str]) -> int:
    """Measure; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.bridge and not options.user_agent:
        parser.error("--bridge needs --user-agent: it tells its calls from those of others")
    if options.bridge and {"all", *_OF_OUR_AGENT} & set(options.part):
        parser.error(f"{', '.join(_OF_OUR_AGENT)} are for our agent alone: name the other parts")
    return command.run(lambda progress: _reports(options, progress), output=options.output)


def _reports(options: argparse.Namespace, progress: Progress) -> Generator[Report, None, None]:
    chosen = [*(_ALL if "all" in options.part else ()), *options.part]
    about = _about(options)
    reports: list[Report] = []
    for parts in _by_clusters([part for part in _PARTS if part in chosen]):
        for report in _measured(parts, options, progress):
            reports.append(report)
            if options.write:  # each time: an hour is long, and something may happen
                page.write(reports, options.write, about=about)
            yield report


def _measured(
    parts: Sequence[str], options: argparse.Namespace, progress: Progress
) -> Generator[Report, None, None]:
    """A part that fails is a report too, and those after it get new clusters."""
    waiting = list(parts)
    while waiting:
        with (
            Harness(progress=progress) as harness,
            tempfile.TemporaryDirectory(prefix="vnode-bench-") as directory,
        ):
            try:
                for report in _with_clusters(waiting, harness, Path(directory), options, progress):
                    yield report
                    waiting = waiting[1:]
            except (HarnessError, AgentError) as error:
                yield Report(waiting[0], [], [Target("could be measured", str(error), met=False)])
                waiting = waiting[1:]


def _by_clusters(parts: Sequence[str]) -> list[list[str]]:
    """Parts that can have the same clusters, together."""
    alone = [part for part in parts if part in ("namespaces", *_LARGE)]
    together = [part for part in parts if part not in alone]
    return [*([together] if together else []), *([part] for part in alone)]


def _with_clusters(
    parts: Sequence[str],
    harness: Harness,
    directory: Path,
    options: argparse.Namespace,
    progress: Progress,
) -> Generator[Report, None, None]:
    few = min(options.few, options.pods)
    if parts == ["wide"]:
        progress("wide")
        yield wide.measure(
            harness, directory, clusters=options.clusters, nodes=_NODES, pods=few, progress=progress
        )
        return
    if parts == ["tenants"]:
        progress("tenants")
        yield tenants.measure(
            harness, directory, tenants=options.tenants, pods=_PODS_OF_A_TENANT, progress=progress
        )
        return
    site = built(
        harness,
        directory,
        pods=max(options.pods, options.few),
        progress=progress,
        namespaces=_NAMESPACES if parts == ["namespaces"] else 1,
        other=_other(options),
    )
    for part in parts:
        progress(part)
        yield _measure(part, site, harness, options)


def _measure(part: str, site: Site, harness: Harness, options: argparse.Namespace) -> Report:
    few, pods = min(options.few, options.pods), options.pods
    match part:
        case "speed":
            return speed.measure(site, "deployment", pods=pods, rounds=options.rounds)
        case "no-token":
            return speed.measure(site, "deployment", pods=few, rounds=1, automount=False)
        case "shared":
            return speed.measure(site, "shared", pods=few, rounds=1)
        case "jobs":
            return speed.measure(site, "job", pods=few, rounds=1)
        case "namespaces":
            return speed.measure(site, "namespaces", pods=few, rounds=1)
        case "churn":
            return speed.measure(site, "churn", pods=few, rounds=1)
        case "latency":
            return latency.measure(site, rounds=_LATENCY_ROUNDS, samples=_SAMPLES)
        case "foreign":
            return foreign.measure(site, pods=few, rounds=_FOREIGN_ROUNDS)
        case "restart":
            return restart.measure(site, pods=pods)
        case "profile":
            return profile.measure(site, pods=few)
        case _:
            return distance.measure(site, harness, pods=few, delays=_DELAYS)


def _other(options: argparse.Namespace) -> Other | None:
    if not options.bridge:
        return None
    return Other(
        command=options.bridge,
        node=options.node,
        user_agent=options.user_agent,
        namespace=options.below,
    )


def _about(options: argparse.Namespace) -> str:
    what = options.bridge or "this agent"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} of {what}: {os.cpu_count()} cores and"
        f" {memory:.0f} GiB, shared with both control planes; {platform.system()}, Python"
        f" {platform.python_version()}. Deployments of {options.pods} pods,"
        f" {options.rounds} rounds; other workloads of {min(options.few, options.pods)}."
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tests.bench", __doc__)
    parser.add_argument("part", nargs="+", choices=[*_PARTS, "all"])
    parser.add_argument("--pods", type=int, default=2000, help="of Deployments and the restart")
    parser.add_argument("--few", type=int, default=1000, help="of the other workloads, at most")
    parser.add_argument("--rounds", type=int, default=3, help="of speed")
    parser.add_argument("--tenants", type=int, default=100, help="of the part of that name")
    parser.add_argument("--clusters", type=int, default=10, help="compute clusters of wide")
    parser.add_argument("--write", type=Path, help="page, pictures and raw data to this folder")
    other = parser.add_argument_group("another virtual kubelet")
    other.add_argument("--bridge", help="command; {tenant} and {compute} become kubeconfigs")
    other.add_argument("--node", default="virtual-kubelet", help="name of its virtual node")
    other.add_argument("--user-agent", default="", help="how its user agent begins")
    other.add_argument("--below", default="team-a", help="compute namespace of its pods")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
