"""What a run came to, for people and for machines. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.rules import Violation


LONG = 20.0
"""Seconds that no round should last longer than."""


@dataclass(slots=True)
class Report:
    """Filled round by round."""

    seed: int
    replicas: int
    strict: bool
    broken: str | None = None
    rounds: int = 0
    seconds: float = 0.0
    """From the first round to the end of the last one."""
    slowest: float = 0.0
    """Seconds of the longest round."""
    long: list[str] = field(default_factory=list)
    """Rounds that lasted longer than they should, with what was waited for."""
    faults: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Acts of users that an API server did not take."""
    pods: int = 0
    copies: int = 0
    requests: int = 0
    garbled: int = 0
    restarts: Counter[str] = field(default_factory=Counter)
    """Processes that ended by themselves, as when an API server was away at their start."""
    reminded: int = 0
    """Copies that were changed to remind kwok of their end."""
    roused: Counter[str] = field(default_factory=Counter)
    """Schedulers and kwoks that let pods wait and were started anew."""
    windows: int = 0
    violations: list[tuple[int, Violation]] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.violations

    def text(self) -> str:
        """For people."""
        speed = self.rounds / self.seconds if self.seconds else 0.0
        mode = "strict" if self.strict else "relaxed"
        lines = [
            f"seed {self.seed}, {self.rounds} rounds in {self.seconds:.0f} s "
            f"({speed:.3f} rounds/s, slowest {self.slowest:.1f} s), "
            f"{self.replicas} agent(s), startOnce {mode}"
            + (f", broken: {self.broken}" if self.broken else ""),
            f"faults {self.faults.total()}: {_counts(self.faults)}",
            f"users  {self.acts.total()}: {_counts(self.acts)}; refused {self.refused}",
            f"judged {self.pods} tenant pods, {self.copies} copies, {self.requests} requests of "
            f"audit logs ({self.garbled} lines cut off by kills)",
            f"ended by themselves and started again: {_counts(self.restarts) or 'none'}",
            f"copies of which kwok was reminded that they were to go: {self.reminded}",
            f"started anew since they let pods wait: {_counts(self.roused) or 'none'}",
        ]
        could = "never started" if self.strict else "may have started"
        lines.append(
            f"created again, since others removed the copy before the first status: {self.windows} "
            f"(the first one {could})"
        )
        lines.append(f"rounds of more than {LONG:.0f} s: {len(self.long)}")
        lines += [f"  {each}" for each in self.long]
        lines.append(f"violations {len(self.violations)}")
        for number, violation in self.violations:
            lines.append(f"  round {number}: {violation.rule}: {violation.text}")
            lines += [f"    {line}" for line in violation.evidence]
        return "\n".join(lines)

    def json(self) -> dict[str, Any]:
        """For machines."""
        told = asdict(self)
        told["violations"] = [
            {"round": number, **asdict(violation)} for number, violation in self.violations
        ]
        return {**told, "passed": self.passed}


def waited_for(looks: Counter[str]) -> str:
    """What differed at most of the looks: what differed at the last one may have been quick."""
    if not looks:
        return "nothing differed after the faults"
    difference, number = looks.most_common(1)[0]
    return f"at {number} looks: {difference}"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
