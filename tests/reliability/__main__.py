"""`python -m tests.reliability WHAT`: long faults, on clusters that it starts and ends.

    outage       no compute API under running pods
    absent       no agent under running pods
    delete-node  kubectl delete node under running pods
    grace        a deletion that an outage holds up for longer than the pod's grace period
    takeover     kill -9 of the replica that works, under running pods
    all          these in turn, each on clusters of its own
    upgrade      from and back to an older commit (--from), under running pods

The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import Harness
from tests.measuring import command
from tests.reliability import absent, delete_node, grace, outage, site, takeover, upgrade

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from tests.clusters.programs import Progress
    from tests.measuring.report import Report

_WHAT = ("outage", "absent", "delete-node", "grace", "takeover")


def main(arguments: list[str]) -> int:
    """Measure; returns the exit code."""
    options = _parser().parse_args(arguments)
    return command.run(lambda progress: _reports(options, progress), output=options.output)


def _reports(options: argparse.Namespace, progress: Progress) -> Generator[Report, None, None]:
    for what in _WHAT if "all" in options.what else options.what:
        progress(what)
        with (
            Harness(progress=progress) as harness,
            tempfile.TemporaryDirectory(prefix="vnode-reliability-") as directory,
        ):
            report = _measure(what, harness, Path(directory), options, progress)
        yield report


def _measure(
    what: str,
    harness: Harness,
    directory: Path,
    options: argparse.Namespace,
    progress: Progress,
) -> Report:
    if what == "grace":
        with grace.built(harness, directory, progress=progress) as small:
            return grace.measure(
                small, grace=options.grace, outage=3.0 * options.grace, directory=directory
            )
    pods = options.pods or (2000 if what == "takeover" else 500)
    replicas = 2 if what == "takeover" else 1
    with site.built(harness, directory, pods=pods, progress=progress, replicas=replicas) as place:
        try:
            match what:
                case "outage":
                    return outage.measure(
                        place,
                        minutes=options.minutes,
                        hasty=options.hasty,
                        hang=options.hang,
                        directory=directory,
                    )
                case "absent":
                    return absent.measure(place, minutes=options.minutes, directory=directory)
                case "delete-node":
                    return delete_node.measure(place, watch=options.watch, directory=directory)
                case "upgrade":
                    return upgrade.measure(place, commit=options.commit, directory=directory)
                case _:
                    return takeover.measure(place, most=options.most, directory=directory)
        finally:
            if options.keep_logs:
                options.keep_logs.mkdir(parents=True, exist_ok=True)
                for agent in place.agents:
                    kept = options.keep_logs / f"{what}-{agent.log.name}"
                    kept.write_bytes(agent.log.read_bytes())
                for cluster in (place.tenant, place.compute):
                    assert cluster.audit_log is not None
                    kept = options.keep_logs / f"{what}-{cluster.name}-audit.log"
                    kept.write_bytes(cluster.audit_log.read_bytes())
                for watched in directory.glob("*.json"):
                    (options.keep_logs / f"{what}-{watched.name}").write_bytes(watched.read_bytes())


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tests.reliability", __doc__)
    parser.add_argument("what", nargs="+", choices=[*_WHAT, "all", "upgrade"])
    parser.add_argument("--minutes", type=float, default=15.0, help="of outage or absence")
    parser.add_argument("--pods", type=int, default=0, help="instead of 500, or 2000 for takeover")
    parser.add_argument("--hasty", type=int, default=50, help="pods of an outage that do not wait")
    parser.add_argument(
        "--hang", type=float, default=0.0, help="seconds of etcd below, after an outage"
    )
    parser.add_argument("--grace", type=int, default=20, help="seconds; the outage is thrice that")
    parser.add_argument("--watch", type=float, default=120.0, help="seconds after delete-node")
    parser.add_argument("--most", type=float, default=45.0, help="seconds for a takeover")
    parser.add_argument("--from", dest="commit", default="HEAD~20", help="commit, for upgrade")
    parser.add_argument(
        "--keep-logs",
        type=Path,
        help="copy the agents' logs, the audit logs and what watches told to this folder",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
