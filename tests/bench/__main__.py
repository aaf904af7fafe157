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
    distance    20 and 100 ms between the clusters
    all         these in turn

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

from tests.bench import distance, foreign, latency, page, restart, speed
from tests.bench.bridge import Other
from tests.bench.site import built
from tests.clusters import Harness
from tests.measuring import command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from tests.bench.site import Site
    from tests.clusters.programs import Progress
    from tests.measuring.report import Report

_SMALL = ("no-token", "shared", "jobs", "churn", "latency", "foreign")
_PARTS = ("speed", *_SMALL, "restart", "distance", "namespaces")
_NAMESPACES = 50
_DELAYS = (0.02, 0.1)
_FOREIGN_ROUNDS, _LATENCY_ROUNDS, _SAMPLES = 5, 3, 200


def main(arguments: list[str]) -> int:
    """Measure; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.bridge and not options.user_agent:
        parser.error("--bridge needs --user-agent: it tells its calls from those of others")
    if options.bridge and {"distance", "all"} & set(options.part):
        parser.error("distance is for our agent alone: name the other parts")
    return command.run(lambda progress: _reports(options, progress), output=options.output)


def _reports(options: argparse.Namespace, progress: Progress) -> Generator[Report, None, None]:
    chosen = _PARTS if "all" in options.part else options.part
    reports: list[Report] = []
    for namespaces in (1, _NAMESPACES):
        parts = [part for part in chosen if (part == "namespaces") == (namespaces > 1)]
        if not parts:
            continue
        with (
            Harness(progress=progress) as harness,
            tempfile.TemporaryDirectory(prefix="vnode-bench-") as directory,
        ):
            site = built(
                harness,
                Path(directory),
                pods=max(options.pods, options.few),
                progress=progress,
                namespaces=namespaces,
                other=_other(options),
            )
            for part in parts:
                progress(part)
                reports.append(_measure(part, site, harness, options))
                yield reports[-1]
    if options.write:
        page.write(reports, options.write, about=_about(options))


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
    parser.add_argument("--write", type=Path, help="page, pictures and raw data to this folder")
    other = parser.add_argument_group("another virtual kubelet")
    other.add_argument("--bridge", help="command; {tenant} and {compute} become kubeconfigs")
    other.add_argument("--node", default="virtual-kubelet", help="name of its virtual node")
    other.add_argument("--user-agent", default="", help="how its user agent begins")
    other.add_argument("--below", default="team-a", help="compute namespace of its pods")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
