"""`python -m tests.load WHAT...`: streams under load, on clusters that it starts and ends.

    sessions     many exec sessions at once, directly and through a virtual node
    throughput   bytes through kubectl exec, both directions, directly and through
    fuzz         nonsense at the kubelet API, while a watchdog asks whether it still serves
    all          the three in turn

The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import Harness
from tests.load import fuzz, sessions, throughput
from tests.load.site import built
from tests.measuring import command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from tests.clusters.programs import Progress
    from tests.load.site import Site
    from tests.measuring.report import Report

_PODS = 5
_SPARE_SESSIONS = 100
_WHAT = ("sessions", "throughput", "fuzz")


def main(arguments: list[str]) -> int:
    """Measure; returns the exit code."""
    options = _parser().parse_args(arguments)
    return command.run(lambda progress: _reports(options, progress), output=options.output)


def _reports(options: argparse.Namespace, progress: Progress) -> Generator[Report, None, None]:
    with (
        Harness(progress=progress) as harness,
        tempfile.TemporaryDirectory(prefix="vnode-load-") as directory,
        built(
            harness,
            Path(directory),
            pods=_PODS,
            sessions=options.count + _SPARE_SESSIONS,
        ) as site,
    ):
        for what in _WHAT if "all" in options.what else options.what:
            progress(what)
            yield asyncio.run(_measure(what, site, options, progress))
        if options.keep_log:
            options.keep_log.write_bytes(site.log.read_bytes())


async def _measure(
    what: str, site: Site, options: argparse.Namespace, progress: Progress
) -> Report:
    if what == "sessions":
        return await sessions.measure(
            site, count=options.count, openers=options.openers, progress=progress
        )
    if what == "throughput":
        return await throughput.measure(
            site, size=options.mebibytes << 20, rounds=options.rounds, progress=progress
        )
    return await fuzz.measure(
        site, seconds=options.seconds, idle=options.idle, seed=options.seed, progress=progress
    )


def _parser() -> argparse.ArgumentParser:
    parser = command.parser("tests.load", __doc__)
    parser.add_argument("what", nargs="+", choices=[*_WHAT, "all"])
    parser.add_argument("--count", type=int, default=1000, help="sessions at once")
    parser.add_argument("--openers", type=int, default=4, help="sessions that open at a time")
    parser.add_argument("--mebibytes", type=int, default=1024, help="of one transfer")
    parser.add_argument("--rounds", type=int, default=2, help="transfers of each kind")
    parser.add_argument("--seconds", type=float, default=300.0, help="of fuzzing")
    parser.add_argument("--idle", type=int, default=1000, help="half-open connections")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's choices")
    parser.add_argument("--keep-log", type=Path, help="copy the agent's log to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
