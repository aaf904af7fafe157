"""The frame of a command that measures: how far it is, reports as they come, and its exit code.

In: a generator of reports that starts and ends clusters itself. Out: text on stderr, JSON on stdout
if asked for, and 1 if a target was missed or nothing could be measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING

from tests.clusters import progress
from tests.clusters.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.clusters.programs import Progress
    from tests.measuring.report import Report


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """What every such command understands; `description` is the docstring of its module."""
    made = argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("-o", "--output", choices=["text", "json"], default="text")
    return made


def run(measure: Callable[[Progress], Generator[Report, None, None]], *, output: str) -> int:
    """Carry measurements out; returns the exit code."""
    reports: list[Report] = []
    try:
        with contextlib.closing(measure(progress.begin())) as coming:
            for report in coming:
                reports.append(report)
                print(f"\n{report.text()}\n", file=sys.stderr, flush=True)
    except (HarnessError, AssertionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if output == "json":
        print(json.dumps([report.json() for report in reports], indent=1))
    return 0 if all(report.passed for report in reports) else 1
