"""The page of a run, as Markdown. Pure but for `write`.

In: reports. Out: docs/benchmarks: the page, its pictures, and the raw data.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.bench import plots

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.measuring.report import Report, Table


def text(
    reports: Sequence[Report], *, about: str, pictures: Sequence[str], more: Sequence[str] = ()
) -> str:
    """`about`: on what and when it was measured; `more`: folders below with pages of their own."""
    targets = [target for report in reports for target in report.targets]
    parts = [
        "# Benchmarks",
        "Written by `make bench`, not by hand; the raw data is [results.json](results.json).",
        about,
        *(f"More: [{name}]({name}/README.md)." for name in more),
        "## Targets",
        _rows(
            ["target", "measured", ""],
            [[t.what, t.found, "ok" if t.met else "**missed**"] for t in targets],
        ),
        *(f"![{name}]({name})" for name in pictures),
    ]
    for report in reports:
        parts += [f"## {report.title}", *(_table(table) for table in report.tables)]
    return "\n\n".join(parts) + "\n"


def write(reports: Sequence[Report], folder: Path, *, about: str) -> None:
    """Whatever the folder had of an earlier run is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    pictures = [file.name for file in plots.draw(reports, folder)]
    raw = {"about": about, "reports": [report.json() for report in reports]}
    (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    more = sorted(file.parent.name for file in folder.glob("*/README.md"))
    (folder / "README.md").write_text(text(reports, about=about, pictures=pictures, more=more))


def _table(table: Table) -> str:
    return _rows(table.head, table.rows)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(cell: str) -> str:
    return cell.replace("|", "\\|")
