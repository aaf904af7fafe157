"""`python -m tests.chaos`: rounds of chaos on clusters that it starts and ends.

The exit code is 1 if something happened that must never happen. The seed gives the same schedule
again. With --broken the agents do without one of their rules (`tests.chaos.broken`), to see that
this is found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.broken import RULES
from tests.chaos.run import Options, Run
from tests.chaos.site import build
from tests.clusters import Harness
from tests.clusters.errors import HarnessError
from tests.clusters.progress import begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.chaos.report import Report
    from tests.chaos.site import Site


def main(arguments: list[str]) -> int:
    """Run; returns the exit code."""
    asked = _parser().parse_args(arguments)
    progress = begin()
    seed = secrets.randbelow(1 << 20) if asked.seed is None else asked.seed
    options = Options(
        rounds=asked.rounds,
        seed=seed,
        minutes=asked.minutes,
        strict=asked.strict,
        broken=asked.broken,
        stop=asked.stop,
    )
    progress(f"seed {seed}")
    settings = {"startOnce": "strict"} if asked.strict else {}
    try:
        with (
            Harness(progress=progress) as harness,
            tempfile.TemporaryDirectory(prefix="vnode-chaos-") as directory,
        ):
            folder = Path(directory)
            site = build(
                harness,
                folder,
                replicas=asked.replicas,
                seed=seed,
                broken=asked.broken,
                settings=settings,
            )
            try:
                report = asyncio.run(_run(site, options, progress))
            finally:
                if asked.keep:
                    _keep(site, asked.keep)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report.json(), indent=1) if asked.output == "json" else report.text())
    return 0 if report.passed else 1


async def _run(site: Site, options: Options, progress: Callable[[str], None]) -> Report:
    async with site.open():
        return await Run(site, options, progress).go()


def _keep(site: Site, folder: Path) -> None:
    """Copy what the verdict rests on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, cluster in site.clusters.items():
        if cluster.audit_log is not None:
            shutil.copy(cluster.audit_log, folder / f"{name}.audit.log")
    for agent in site.agents:
        shutil.copy(agent.log, folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="begin no further round after so long"
    )
    parser.add_argument("--seed", type=int, help="of the schedule; default: a random one")
    parser.add_argument("--replicas", type=int, default=1, help="agents")
    parser.add_argument("--strict", action="store_true", help="agents with startOnce: strict")
    parser.add_argument("--broken", choices=sorted(RULES), help="a rule that the agents break")
    parser.add_argument("--stop", action="store_true", help="end at the first violation")
    parser.add_argument("--keep", type=Path, help="copy audit logs and agents' logs to this folder")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
