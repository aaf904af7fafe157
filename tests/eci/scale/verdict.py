"""What became of pods and groups, put side by side: latencies, and what must never be. Pure.

In: rounds, what the onlooker saw in the tenant, and the emulator's journal, both with Unix seconds
of one machine. Out: a `Report`.

Latency is from a change of state in the service until the tenant's pod shows it. Time until a group
is made is none of it: the service itself makes no more than 100 at once and 20 a second, so the
last of 1,000 pods waits for 45 s there, whatever asks for them.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.measuring.report import Report, Table, Target, mebibytes, percentile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.eci.scale.rounds import Round
    from tests.eci.scale.seen import SeenPod

UID = "vnode.dev/uid"
MOST = 5.0
"""Seconds for the p99 of latencies."""
_BURST, _RATE = 100, 20
"""Creates that the service takes at once, and a second: docs/eci.md."""
_MIDDLE = (0.1, 0.9)
"""A kill between these shares of what is to be done is one in the middle."""
_CHANGES = {"Running": "Running", "Succeeded": "Succeeded"}
"""Status of a group, and phase of its pod."""


@dataclass(frozen=True)
class Evidence:
    """All that was written down."""

    journal: Sequence[Mapping[str, Any]]
    """Of the emulator, see `tests.eci.report.journal`."""
    calls: Mapping[str, Mapping[str, int]]
    """By action: made, throttled."""
    pods: Mapping[str, SeenPod]
    """By UID."""
    throttled: Mapping[str, str]
    """Pods on which a throttling error can be read."""
    warnings: Mapping[str, int]
    """Reasons of warnings about pods."""
    failure: str = ""
    """Why the last round ended early."""


def report(
    rounds: Sequence[Round], evidence: Evidence, *, pods: int, limits: float = 1.0
) -> Report:
    """The verdict on all rounds; the first one is without kills."""
    measured = {change: latencies(rounds[0], evidence, change) for change in (*_CHANGES, "Gone")}
    targets = [_finished(evidence)]
    for each in rounds:
        targets += _of_round(each, evidence, pods=pods)
    targets += [_nothing_left(evidence), _not_throttled(evidence)]
    least = {"Running": pods, "Succeeded": pods // 2, "Gone": pods // 2}
    targets += [_fast(change, values, least=least[change]) for change, values in measured.items()]
    return Report(
        title=f"{pods} container groups at once, at {limits:g} of the documented limits of ECI",
        tables=[
            _latencies(measured),
            _durations(rounds, limits=limits),
            _calls(evidence),
            *([_warnings(evidence)] if evidence.warnings else []),
        ],
        targets=targets,
        numbers={
            "pods": pods,
            "latency_seconds": {
                change: {f"p{p}": percentile(values, p / 100) for p in (50, 90, 99, 100)}
                for change, values in measured.items()
                if values
            },
            "rounds": [_numbers(each) for each in rounds],
            "calls": {action: dict(counts) for action, counts in evidence.calls.items()},
            "warnings": dict(evidence.warnings),
        },
    )


def latencies(found: Round, evidence: Evidence, change: str) -> list[float]:
    """Seconds from a change of each group of a round until its pod showed it.

    Of pods that had ended, nothing more is to be shown: their groups may go after them.
    """
    seconds = []
    for group in evidence.journal:
        uid = group["tags"].get(UID)
        pod = evidence.pods.get(uid or "")
        if uid not in found.uids or pod is None:
            continue
        if change == "Gone" and "Succeeded" in pod.phases:
            continue
        changed = next((at for at, status in group["steps"] if status == change), None)
        shown = pod.gone if change == "Gone" else pod.phases.get(_CHANGES[change])
        if changed is not None and shown is not None:
            seconds.append(shown - changed)
    return seconds


def _finished(evidence: Evidence) -> Target:
    said = evidence.failure or "in time"
    return Target("everything happened that was waited for", said, not evidence.failure)


def _of_round(found: Round, evidence: Evidence, *, pods: int) -> list[Target]:
    groups = [g for g in evidence.journal if g["tags"].get(UID) in found.uids]
    made = Counter(group["tags"][UID] for group in groups)
    twice = sum(count > 1 for count in made.values())
    repeats = sum(group["repeats"] for group in groups)
    tokens = sum(group["token"] == group["tags"][UID] for group in groups)
    targets = [
        Target(
            f"{found.name}: one group for each pod",
            f"{len(made)} of {pods} pods have one, {twice} more than one; "
            f"{repeats} creates were repeated",
            len(made) == pods and not twice,
        ),
        Target(
            f"{found.name}: the ClientToken is the pod's UID",
            f"{tokens} of {len(groups)}",
            tokens == len(groups),
        ),
    ]
    for kill in found.kills:
        share = kill.done / pods
        targets.append(
            Target(
                f"{found.name}: kill -9 in the middle",
                f"{kill.done} of {pods} {kill.when}",
                _MIDDLE[0] <= share <= _MIDDLE[1],
            )
        )
    return targets


def _nothing_left(evidence: Evidence) -> Target:
    left = [g["id"] for g in evidence.journal if g["steps"][-1][1] != "Gone"]
    said = f"{len(evidence.journal)} groups were made, {len(left)} are left"
    return Target("no group is left when all pods are gone", said, not left)


def _not_throttled(evidence: Evidence) -> Target:
    first = next((f"; {name}: {said}" for name, said in evidence.throttled.items()), "")
    thrown = sum(counts["throttled"] for counts in evidence.calls.values())
    said = f"on {len(evidence.throttled)} pods; the service threw back {thrown} calls{first}"
    return Target("no throttling error is seen on a pod", said, not evidence.throttled)


def _fast(change: str, values: Sequence[float], *, least: int) -> Target:
    found = percentile(values, 0.99)
    said = f"{found:.2f} s, of {len(values)}"
    what = f"p99 from {change} in the service to {change} in the tenant below {MOST:g} s"
    return Target(what, said, len(values) >= least and found < MOST)


def _latencies(measured: Mapping[str, Sequence[float]]) -> Table:
    rows = [
        [change, str(len(values)), *(f"{percentile(values, p):.2f} s" for p in (0.5, 0.9, 0.99, 1))]
        for change, values in measured.items()
    ]
    return Table(["status, service to tenant", "pods", "p50", "p90", "p99", "slowest"], rows)


def _durations(rounds: Sequence[Round], *, limits: float) -> Table:
    head = [
        "round",
        "all running",
        "the limits alone",
        "all gone",
        "agent away",
        "agent's processor",
        "agent's memory",
    ]
    rows = []
    for each in rounds:
        count = len(each.uids)
        away = ", ".join(f"{kill.ready - kill.at:.1f} s" for kill in each.kills)
        alone = max(0, count - _BURST * limits) / (_RATE * limits)
        rows.append(
            [
                each.name,
                _seconds(each.running - each.began if each.running else math.nan),
                _seconds(alone),
                _seconds(each.gone - each.deleted if each.gone else math.nan),
                away or "-",
                _seconds(each.processor) if each.processor else "-",
                mebibytes(each.peak) if each.peak else "-",
            ]
        )
    return Table(head, rows)


def _calls(evidence: Evidence) -> Table:
    rows = [
        [action, str(counts["made"]), str(counts["throttled"])]
        for action, counts in sorted(evidence.calls.items())
    ]
    return Table(["action", "calls", "thrown back"], rows)


def _warnings(evidence: Evidence) -> Table:
    rows = [[reason, str(count)] for reason, count in sorted(evidence.warnings.items())]
    return Table(["warnings about pods", "events"], rows)


def _numbers(found: Round) -> dict[str, Any]:
    return {
        "name": found.name,
        "running_seconds": found.running - found.began if found.running else None,
        "gone_seconds": found.gone - found.deleted if found.gone else None,
        "kills": [
            {"when": k.when, "done": k.done, "away_seconds": k.ready - k.at} for k in found.kills
        ],
        "processor_seconds": found.processor,
        "peak_bytes": found.peak,
    }


def _seconds(value: float) -> str:
    return f"{value:.1f} s"
