"""What two rounds of sessions say: latencies, memory per session, verdicts. Pure.

In: the rounds `direct` and `through`, as `tests.load.sessions` has filled them. Out: a `Report`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.measuring import footprint
from tests.measuring.report import (
    Report,
    Table,
    Target,
    kibibytes,
    mebibytes,
    milliseconds,
    percentile,
)

if TYPE_CHECKING:
    from tests.measuring.footprint import Footprint

_OURS = ("agent", "tenant API server")
"""What a direct session does not need."""


@dataclass
class Starts:
    """Seconds until the upgrade, and until the first answer, of sessions of one way."""

    upgraded: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)


@dataclass
class Round:
    """One way's sessions, open at once."""

    name: str
    asked: int
    starts: dict[str, Starts]
    """Those that were opened in turns, by way."""
    questions: int
    """Connections that an agent may keep for what it asks of API servers meanwhile, for sessions
    that start or for others. One that has other work uses them again and again, and so they never
    get old enough to be closed."""
    seconds: float = 0.0
    """Until all were open."""
    answered: int = 0
    """How many echoed while all were open."""
    failures: list[str] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)
    during: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    """Bytes of resident memory, by group of processes."""
    agent_before: Footprint = footprint.NONE
    agent_during: Footprint = footprint.NONE
    agent_after: Footprint = footprint.NONE

    def per_session(self, name: str) -> float:
        """Bytes that a group of processes grew by, per session."""
        return (self.during[name] - self.before[name]) / self.asked


def report(direct: Round, through: Round) -> Report:
    rounds = (direct, through)
    starts = {
        name: Starts(
            [value for each in rounds for value in each.starts[name].upgraded],
            [value for each in rounds for value in each.starts[name].answered],
        )
        for name in ("direct", "through")
    }
    return Report(
        title=f"{direct.asked} exec sessions at once, each way",
        tables=[_latency_table(starts), _memory_table(direct, through)],
        targets=[target for each in rounds for target in _targets(each)],
        numbers={
            "sessions": direct.asked,
            "start_seconds": {
                name: {
                    "samples": len(each.answered),
                    **{f"p{p}": percentile(each.answered, p / 100) for p in (50, 95)},
                }
                for name, each in starts.items()
            },
            "bytes_per_session": {
                each.name: {name: each.per_session(name) for name in each.before} for each in rounds
            },
            "agent": [
                {"resident": print_.resident, "descriptors": print_.descriptors}
                for print_ in (through.agent_before, through.agent_during, through.agent_after)
            ],
        },
    )


def _targets(each: Round) -> list[Target]:
    before, after = each.agent_before.descriptors, each.agent_after.descriptors
    first = f"; first failure: {each.failures[0]}" if each.failures else ""
    return [
        Target(
            f"{each.name}: all sessions open and answer",
            f"{each.answered} of {each.asked} in {each.seconds:.0f} s, "
            f"{len(each.failures)} failures{first}",
            each.answered == each.asked and not each.failures,
        ),
        Target(
            f"{each.name}: the agent has closed all descriptors",
            f"{before} before, {each.agent_during.descriptors} during, {after} after",
            after <= before + each.questions,
        ),
    ]


def _latency_table(starts: dict[str, Starts]) -> Table:
    def row(what: str, direct: list[float], through: list[float], share: float) -> list[str]:
        one, other = percentile(direct, share), percentile(through, share)
        return [what, milliseconds(one), milliseconds(other), f"{other / one:.2f}"]

    direct, through = starts["direct"], starts["through"]
    return Table(
        ["start of a session", "direct", "through", "ratio"],
        [
            row("upgraded, p50", direct.upgraded, through.upgraded, 0.5),
            row("upgraded, p95", direct.upgraded, through.upgraded, 0.95),
            row("first answer, p50", direct.answered, through.answered, 0.5),
            row("first answer, p95", direct.answered, through.answered, 0.95),
        ],
    )


def _memory_table(direct: Round, through: Round) -> Table:
    rows = []
    for name in through.before:
        ours = name in _OURS
        per_session = (through if ours else direct).per_session(name)
        rows.append(
            [
                name,
                *(mebibytes(each[name]) for each in (direct.before, direct.during)),
                *(mebibytes(each[name]) for each in (through.before, through.during)),
                mebibytes(through.after[name]),
                "-" if ours else kibibytes(per_session),
                kibibytes(per_session),
            ]
        )
    shared = sum(direct.per_session(name) for name in direct.before if name not in _OURS)
    added = sum(through.per_session(name) for name in through.before if name in _OURS)
    rows.append(["together", *[""] * 5, kibibytes(shared), kibibytes(shared + added)])
    return Table(
        [
            "resident memory",
            "before",
            "direct open",
            "before",
            "through open",
            "closed",
            "a direct session",
            "one through",
        ],
        rows,
    )
