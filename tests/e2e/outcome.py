"""What runs of pytest came to, in few lines, for whoever sees only the end of their output.

As a plugin of a run (`-p tests.e2e.outcome --outcomes FILE`) it writes what became of each test
to a file, line by line, so that a run that is killed has told what it knew. `summary` reads such
files. Of an error it keeps lines of its message, nothing of what was printed or of variables.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest
    from _pytest._code.code import ReprFileLocation

OPTION = "--outcomes"
_WIDTH = 200
_WORDS = 3
_PLACE = 40
_HINTS = ("Enable tracemalloc", "See https://docs.pytest", "Use -v")
_MOST_FAULTS = 5
"""With the lines of the runs and what make says, 25 lines."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of the plugin."""
    parser.addoption(OPTION, type=Path, help="write what became of each test to this file")


def pytest_configure(config: pytest.Config) -> None:
    """Only the process that all reports come to writes."""
    path: Path | None = config.getoption(OPTION)
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Writer(path))


class _Writer:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write("error", report.nodeid, "collection", _last_words(report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            kind = "failed" if report.when == "call" else "error"
            self._write(kind, report.nodeid, report.when, _last_words(report))
        elif report.skipped or report.when == "call":
            self._write(report.outcome, report.nodeid, report.when, [])

    def _write(self, kind: str, test: str, phase: str | None, words: list[str]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps([kind, test, phase, words]) + "\n")


def _last_words(report: pytest.TestReport | pytest.CollectReport) -> list[str]:
    """The error, those within it if it is a group, what caused it, and how its message ends."""
    shown = [line for line in report.longreprtext.splitlines() if line.strip()]
    chain = [crash for _, crash, _ in getattr(report.longrepr, "chain", ()) if crash is not None]
    if not chain:
        return [_short(line.removeprefix("E").strip(), _WIDTH) for line in shown[-_WORDS:]]
    head, *causes = (_head(crash) for crash in reversed(chain))
    ends = [line.strip() for line in chain[-1].message.splitlines()[1:]]
    ends = [line for line in ends if line and not line.startswith(_HINTS)]
    words = [head, *_within(shown), *causes, *ends[-1:]]
    return [_short(line, _WIDTH) for line in words[:_WORDS]]


def _head(crash: ReprFileLocation) -> str:
    """First line of an error, and where it was raised."""
    first = _short(crash.message.partition("\n")[0], _WIDTH - _PLACE)
    return f"{first} ({Path(crash.path).name}:{crash.lineno})"


def _within(shown: Sequence[str]) -> list[str]:
    """The errors of a group, as tracebacks of groups have them."""
    found = (re.match(r"\s+\| (?!\s|.*Traceback )(.*)", line) for line in shown)
    return [match[1] for match in found if match and "Group: " not in match[1]]


def _short(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"


@dataclass(frozen=True)
class Run:
    """A run that has ended."""

    name: str
    code: int
    """Exit code of pytest."""
    outcomes: Path
    """Written by the plugin; missing if no test was begun."""


@dataclass
class _Told:
    numbers: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def summary(runs: Sequence[Run]) -> str:
    """A line for each run with its numbers, before them the first faults."""
    told = [_read(run) for run in runs]
    faults = [fault for each in told for fault in each.faults]
    lines = faults[:_MOST_FAULTS]
    if more := len(faults) - len(lines):
        lines.append(f"and {more} more: see above")
    lines.extend(_line(run, each.numbers) for run, each in zip(runs, told, strict=True))
    if not any(run.code for run in runs):
        lines.append("all passed")
    return "\n".join(lines)


def _line(run: Run, numbers: Counter[str]) -> str:
    kinds = ("passed", "failed", "error", "skipped")
    counts = ", ".join(f"{numbers[kind]} {kind}" for kind in kinds if numbers[kind])
    code = f" (exit code {run.code})" if run.code else ""
    if run.code and not (numbers["failed"] or numbers["error"]):
        code += ", without a test that is to blame: see the end of its output"
    return f"{run.name}: {counts or 'no test'}{code}"


def _read(run: Run) -> _Told:
    told = _Told()
    for kind, test, phase, words in _entries(run.outcomes):
        told.numbers[kind] += 1
        if kind in ("failed", "error"):
            told.faults.append("\n    ".join([f"{run.name}: {kind} in {phase} of {test}", *words]))
    return told


def _entries(path: Path) -> Iterator[list[str]]:
    if path.exists():
        with path.open() as file:
            for line in file:
                yield json.loads(line)
