"""Workloads, variant by variant in turn: so all variants meet the same noise of the machine.

In: a site. Out: a report with the speed of each, their ratios, and what the bridge did and used.
"""

from __future__ import annotations

from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from tests.bench import targets
from tests.bench.calls import Call, sort, writes
from tests.bench.lag import not_exceeded
from tests.bench.one import DIRECT, FLOOR, THROUGH, VARIANTS, run
from tests.measuring.report import Report, Table, mebibytes, milliseconds, percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.calls import Sort
    from tests.bench.one import Outcome
    from tests.bench.site import Site
    from tests.bench.workloads import Kind
    from tests.measuring.report import Target

_BROUGHT_BY: dict[Sort, str] = {
    "read": "",
    "pod": "write",
    "shared": "write, shared by pods",
    "time": "write, as time passes",
    "start": "write, of a start",
}
_LEAST_SHOWN = 0.01


def measure(site: Site, kind: Kind, *, pods: int, rounds: int, automount: bool = True) -> Report:
    """One workload, so many times each variant; sharing only through the bridge.

    Churn has no direct variant: its rate is given, and the floor tells whether control planes of
    this machine keep up with it.
    """
    variants = {"churn": (FLOOR, THROUGH), "shared": (THROUGH,)}.get(kind, VARIANTS)
    done = [
        run(site, kind, variant, pods=pods, automount=automount)
        for _ in range(rounds)
        for variant in variants
    ]
    return report(done, automount=automount)


def report(done: Sequence[Outcome], *, automount: bool) -> Report:
    """Of one workload: medians over rounds, percentiles over all pods of all rounds."""
    kind, pods = done[0].kind, done[0].pods
    token = "with" if automount else "without"
    through = [each for each in done if each.variant == THROUGH]
    tables = [_speeds(done), _bridge(through), _calls(through), _writers(through)]
    return Report(
        f"{kind}: {pods} pods, {token} the default token, {len(through)} times each",
        tables,
        _targets(done, through, automount=automount),
        {"kind": kind, "pods": pods, "automount": automount, "runs": [o.json() for o in done]},
    )


def _seconds(done: Sequence[Outcome], variant: str) -> list[float]:
    return [each.ready for each in done if each.variant == variant]


def _speeds(done: Sequence[Outcome]) -> Table:
    rows = []
    for variant in VARIANTS:
        of_variant = [each for each in done if each.variant == variant]
        if not of_variant:
            continue
        ready = median(each.ready for each in of_variant)
        ratios = [
            f"{ready / median(_seconds(done, other)):.2f}" if _seconds(done, other) else "-"
            for other in (FLOOR, DIRECT)
        ]
        rates = median(each.rate for each in of_variant)
        gone = median(each.gone for each in of_variant)
        rows.append([variant, f"{ready:.1f} s", f"{rates:.0f}", f"{gone:.1f} s", *ratios])
    return Table(["variant", "all there", "pods/s", "all gone", "/ floor", "/ direct"], rows)


def _bridge(through: Sequence[Outcome]) -> Table:
    rows = [
        [name, *(milliseconds(percentile(values, p)) for p in (0.5, 0.9, 0.99))]
        for name, values in (
            ("bound -> copy there", [s for each in through for s in each.create]),
            ("Ready below -> Ready above", [s for each in through for s in each.status]),
        )
    ]
    late = sum((each.late for each in through), start=Counter[float]())
    if late:
        bounds = [not_exceeded(late, share) for share in (0.5, 0.9, 0.99)]
        rows.append(["event loop late, at most", *map(milliseconds, bounds)])
    processor = median(each.processor / each.pods for each in through)
    rows.append(["processor per pod", f"{processor * 1000:.1f} ms", "", ""])
    rows.append(["resident at most", mebibytes(max(each.peak for each in through)), "", ""])
    return Table(["the bridge", "p50", "p90", "p99"], rows)


def _calls(through: Sequence[Outcome]) -> Table:
    """Per pod; the mean over runs."""
    pods = sum(each.pods for each in through)
    total = sum((each.calls for each in through), start=Counter[Call]())
    rows = [
        [
            f"{call.cluster}: {call.verb} {call.resource or '(no object)'}"
            + (" (failed)" if call.failed else ""),
            f"{number / pods:.3f}",
            _BROUGHT_BY[sort(call)],
        ]
        for call, number in sorted(total.items(), key=lambda item: -item[1])
    ]
    return Table(["calls of the bridge", "per pod", ""], rows)


def _writers(through: Sequence[Outcome]) -> Table:
    """Everybody's writes for pods, by cluster and user agent; the mean over runs."""
    pods = sum(each.pods for each in through)
    rows: Counter[tuple[str, str]] = Counter()
    for each in through:
        for call, number in (each.calls + each.others).items():
            name = call.agent.partition("/")[0]
            rows[call.cluster, name] += writes(Counter({call: number}), shared=True)
    shown = [
        [f"{cluster}: {agent}", f"{number / pods:.2f}"]
        for (cluster, agent), number in rows.most_common()
        if number >= pods * _LEAST_SHOWN
    ]
    return Table(["writes by", "per pod"], shown)


def _targets(
    done: Sequence[Outcome], through: Sequence[Outcome], *, automount: bool
) -> list[Target]:
    kind = through[0].kind
    floor = _seconds(done, FLOOR)
    found = targets.of_cost(
        writes=max(each.writes_per_pod for each in through),
        processor=median(each.processor / each.pods for each in through),
        peak=max(each.peak for each in through),
        automount=automount,
        what=kind,
        shared=kind == "shared",
    )
    if kind == "deployment":
        found.insert(0, targets.of_speed(floor, _seconds(done, THROUGH)))
    if kind == "churn":
        found.insert(0, targets.of_churn([s for each in through for s in each.status]))
    return found
