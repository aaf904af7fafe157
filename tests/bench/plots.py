"""Pictures of what was measured.

In: the numbers of reports. Out: SVG files. Parts that were not measured have no picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from tests.bench.one import VARIANTS
from tests.measuring.report import milliseconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.measuring.report import Report

_SHARES = [n / 100 for n in range(1, 101)]


def draw(reports: Sequence[Report], folder: Path) -> list[Path]:
    """One file for each report that can be drawn; names tell what of."""
    found = []
    for report in reports:
        numbers = report.numbers
        if "kind" in numbers and len({run["variant"] for run in numbers["runs"]}) > 1:
            token = "" if numbers["automount"] else "-no-token"
            name = f"{numbers['kind']}-{numbers['pods']}{token}.svg"
            _chart(report.title, "seconds", "pods there", curves(numbers), folder / name)
        elif "added" in numbers:
            name = "latency.svg"
            _chart(report.title, "ms", "share of samples", shares(numbers), folder / name)
        elif "beside" in numbers:
            name = "foreign.svg"
            lines = {name: by_round(numbers[name]) for name in ("without", "beside")}
            _chart(report.title, "round", "seconds to Ready", lines, folder / name)
        elif "delays" in numbers:
            name = "distance.svg"
            _chart(report.title, "seconds", "pods there", by_delay(numbers), folder / name)
        elif "moments" in numbers:
            name = "tenants.svg"
            _chart(report.title, "tenants", "MiB", memory(numbers), folder / name)
        else:
            continue
        found.append(folder / name)
    return found


def curves(numbers: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """How many pods were there after so many seconds: the first run of each variant."""
    found = {}
    for variant in VARIANTS:
        run = next((run for run in numbers["runs"] if run["variant"] == variant), None)
        if run:
            found[variant] = [(0.0, 0.0), *((at, count) for at, count in run["curve"])]
    return found


def shares(numbers: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Which share of all samples took at most so many milliseconds."""
    found = {}
    for name, key in (("added by the bridge", "added"), ("tenant: PATCH to watch", "own")):
        ordered = sorted(numbers[key])
        last = len(ordered) - 1
        found[name] = [(ordered[round(share * last)] * 1000, share) for share in _SHARES]
    return found


def by_round(seconds: Sequence[float]) -> list[tuple[float, float]]:
    """Rounds begin at 1."""
    return [(float(number), value) for number, value in enumerate(seconds, start=1)]


def by_delay(numbers: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """How many pods were there after so many seconds, by what a round trip takes longer."""
    return {
        milliseconds(run["delay"]): [(0.0, 0.0), *((at, count) for at, count in run["curve"])]
        for run in numbers["delays"]
    }


def memory(numbers: Mapping[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """What the compute cluster's programs have resident with so many tenants."""
    return {
        name: [(each["tenants"], each[key] / (1 << 20)) for each in numbers["moments"]]
        for name, key in (("API server", "api"), ("etcd", "etcd"))
    }


def _chart(
    title: str,
    x: str,
    y: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    file: Path,
) -> None:
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(title=title, xlabel=x, ylabel=y)
    for name, points in lines.items():
        axes.plot([at for at, _ in points], [value for _, value in points], label=name)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(file)
