"""What was measured, as tables and verdicts. Pure.

In: numbers. Out: `Report`s, as text for people and as JSON. A target that is missed makes the
report a failure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Table:
    """Rows below a head; the first column says what the others are about."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Columns side by side, numbers to the right."""
        lines = [self.head, *self.rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(self.head))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if number == 0 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


@dataclass(frozen=True)
class Target:
    """Something that has to be so."""

    what: str
    found: str
    met: bool


@dataclass(frozen=True)
class Report:
    """The outcome of one measurement."""

    title: str
    tables: Sequence[Table]
    targets: Sequence[Target]
    numbers: dict[str, Any] = field(default_factory=dict)
    """The same for machines, unrounded."""

    @property
    def passed(self) -> bool:
        """Whether all targets are met."""
        return all(target.met for target in self.targets)

    @property
    def missed(self) -> list[str]:
        """What is not as it has to be."""
        return [f"{target.what}: {target.found}" for target in self.targets if not target.met]

    def text(self) -> str:
        """For people."""
        verdicts = [
            f"{'ok    ' if target.met else 'MISSED'} {target.what}: {target.found}"
            for target in self.targets
        ]
        parts = [self.title, *(table.text() for table in self.tables), "\n".join(verdicts)]
        return "\n\n".join(parts)

    def json(self) -> dict[str, Any]:
        """For machines."""
        targets = [{"what": t.what, "found": t.found, "met": t.met} for t in self.targets]
        return {
            "title": self.title,
            "passed": self.passed,
            "targets": targets,
            "numbers": self.numbers,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so great a share of all does not exceed; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def milliseconds(seconds: float) -> str:
    """A short time."""
    return f"{seconds * 1000:.0f} ms"


def mebibytes(size: float) -> str:
    """Memory of a process."""
    return f"{size / (1 << 20):.1f} MiB"


def kibibytes(size: float) -> str:
    """Memory of one of many."""
    return f"{size / 1024:.0f} KiB"
