"""`python -m tests.load WHAT...`: streams under load, on clusters that it starts and ends.

    sessions     many exec sessions at once, directly and through a virtual node
    throughput   bytes through kubectl exec, both directions, directly and through
    fuzz         nonsense at the kubelet API, while a watchdog asks whether it still serves
    all          the three in turn

The exit code is 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import Harness
from tests.clusters.errors import HarnessError
from tests.load import fuzz, sessions, throughput
from tests.load.site import built

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.load.report import Report
    from tests.load.site import Site

    Progress = Callable[[str], None]

_PODS = 5
_SPARE_SESSIONS = 100
_WHAT = ("sessions", "throughput", "fuzz")


def main(arguments: list[str]) -> int:
    """Measure; returns the exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress = _progress()
    chosen = _WHAT if "all" in options.what else options.what
    reports: list[Report] = []
    try:
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
            for what in chosen:
                progress(what)
                reports.append(asyncio.run(_measure(what, site, options, progress)))
                print(f"\n{reports[-1].text()}\n", file=sys.stderr, flush=True)
            if options.keep_log:
                options.keep_log.write_bytes(site.log.read_bytes())
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.output == "json":
        print(json.dumps([report.json() for report in reports], indent=1))
    return 0 if all(report.passed for report in reports) else 1


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


def _progress() -> Progress:
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="+", choices=[*_WHAT, "all"])
    parser.add_argument("--count", type=int, default=1000, help="sessions at once")
    parser.add_argument("--openers", type=int, default=4, help="sessions that open at a time")
    parser.add_argument("--mebibytes", type=int, default=1024, help="of one transfer")
    parser.add_argument("--rounds", type=int, default=2, help="transfers of each kind")
    parser.add_argument("--seconds", type=float, default=300.0, help="of fuzzing")
    parser.add_argument("--idle", type=int, default=1000, help="half-open connections")
    parser.add_argument("--seed", type=int, default=1, help="of the fuzzer's choices")
    parser.add_argument("--keep-log", type=Path, help="copy the agent's log to this file")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
