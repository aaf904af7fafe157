"""The output of `go test -v`, read into one verdict per test. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_END = re.compile(r"^ +--- (PASS|FAIL|SKIP): TestVirtualKubelet/(\w+) \((\d+\.\d+)s\)$")
_START = re.compile(r"^=== (?:RUN|CONT|NAME) +TestVirtualKubelet/(\w+)$")


@dataclass(frozen=True)
class Verdict:
    """How one test of the suite ended."""

    name: str
    passed: bool
    seconds: float
    output: str = ""
    """What the test printed."""


def read_output(text: str) -> list[Verdict]:
    """Verdicts in the order of the suite; a skipped test has not passed."""
    found: list[Verdict] = []
    printed: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if start := _START.match(line):
            current = printed.setdefault(start[1], [])
        elif end := _END.match(line):
            said = "\n".join(printed.get(end[2], []))
            found.append(Verdict(end[2], end[1] == "PASS", float(end[3]), said))
        elif line.startswith("--- "):
            current = []
        else:
            current.append(line.strip())
    return found
