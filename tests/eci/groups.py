"""Container groups and their states, as a function of time.

In: creates, deletes, restarts, reclaims, each with a time. Out: each group's state at any later
time. Nothing runs by itself: a group holds its plan, a list of times and states, and whoever looks
at it gives the time. Final states are forgotten as documented: all within an hour, then the newest
hundred.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

FINAL = frozenset({"Succeeded", "Failed", "Expired", "ScheduleFailed"})
RETENTION = 3600.0
KEPT = 100
WARNING = 180.0
"""Seconds between the news that a spot instance is taken back and its end."""


@dataclass(frozen=True)
class Fate:
    """What happens to a group, in seconds after each other."""

    scheduling: float = 1.0
    pulling: float = 2.0
    runs: float | None = None
    """None: until somebody ends it."""
    exit_code: int = 0
    schedule_fails: str = ""
    """Reason, such as NoStock; then it never gets a place."""
    terminating: float = 1.0


@dataclass(frozen=True)
class Step:
    """From `at` (Unix seconds) the group is in `status`."""

    at: float
    status: str
    reason: str = ""


@dataclass(frozen=True)
class LogLine:
    at: float
    container: str
    text: str


@dataclass
class Group:
    """One container group."""

    id: str
    asked: dict[str, Any]
    fate: Fate
    created: float
    plan: list[Step]
    token: str = ""
    maker: str = ""
    """Id of the key that made it."""
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))
    restarts: int = 0
    log: list[LogLine] = field(default_factory=list)
    events: list[Step] = field(default_factory=list)

    def step(self, now: float) -> Step:
        """The newest step that was reached."""
        return [step for step in self.plan if step.at <= now][-1]

    def status(self, now: float) -> str:
        return self.step(now).status

    def cut(self, now: float, *steps: Step) -> None:
        """What was planned for later does not happen, this does."""
        self.plan = [step for step in self.plan if step.at <= now] + list(steps)

    @property
    def tags(self) -> dict[str, str]:
        return {tag["Key"]: tag.get("Value", "") for tag in self.asked.get("Tag", ())}

    @property
    def cpu(self) -> float:
        return vcpus(self.asked)

    def started(self, now: float) -> float | None:
        """When its containers began to run last, if they did."""
        times = [step.at for step in self.plan if step.status == "Running" and step.at <= now]
        return times[-1] if times else None


class Groups:
    """All groups of the account in one region, in the order of creation."""

    def __init__(self, fate: Callable[[dict[str, Any]], Fate] = lambda _: Fate()) -> None:
        self._fate = fate
        self._all: dict[str, Group] = {}
        self._tokens: dict[str, tuple[str, dict[str, Any]]] = {}
        self._number = 0
        self.made = 0
        """Groups that were ever created."""

    def at(self, now: float) -> list[Group]:
        """All that are still known."""
        self._forget(now)
        return list(self._all.values())

    def get(self, group: str, now: float) -> Group | None:
        self._forget(now)
        return self._all.get(group)

    def by_token(self, token: str) -> tuple[str, dict[str, Any]] | None:
        """Id and parameters of the create that used this token first."""
        return self._tokens.get(token)

    def create(
        self, asked: dict[str, Any], now: float, *, token: str = "", maker: str = ""
    ) -> Group:
        fate = self._fate(asked)
        self._number += 1
        group = Group(
            id=f"eci-{self._number:016x}",
            asked=asked,
            fate=fate,
            created=now,
            plan=_plan(fate, now),
            token=token,
            maker=maker,
        )
        if fate.schedule_fails:
            group.events.append(replace(group.plan[-1], reason=fate.schedule_fails))
        self._all[group.id] = group
        self.made += 1
        if token:
            self._tokens[token] = (group.id, asked)
        return group

    def delete(self, group: Group, now: float) -> None:
        if group.status(now) != "Terminating":
            end = now + group.fate.terminating
            group.cut(now, Step(now, "Terminating"), Step(end, "Gone"))

    def restart(self, group: Group, now: float) -> None:
        group.restarts += 1
        running = [Step(now, "Restarting"), *_run(group.fate, now + 1)]
        group.cut(now, *running)

    def reclaim(self, group: Group, now: float) -> None:
        """The spot market takes the instance back: a warning now, the end three minutes later."""
        group.events.append(Step(now, "Warning", "SpotToBeReleased"))
        group.cut(now, Step(now + WARNING, "Expired", "SpotReleased"))

    def _forget(self, now: float) -> None:
        for group in list(self._all.values()):
            if group.status(now) == "Gone":
                del self._all[group.id]
        ended = [g for g in self._all.values() if g.status(now) in FINAL]
        ended.sort(key=lambda g: g.step(now).at, reverse=True)
        for group in ended[KEPT:]:
            if now - group.step(now).at > RETENTION:
                del self._all[group.id]


def vcpus(asked: dict[str, Any]) -> float:
    """What a create costs of the quota."""
    inside = sum(float(container.get("Cpu", 1)) for container in asked["Container"])
    return float(asked.get("Cpu") or inside)


def _plan(fate: Fate, now: float) -> list[Step]:
    placed = now + fate.scheduling
    if fate.schedule_fails:
        return [Step(now, "Scheduling"), Step(placed, "ScheduleFailed", fate.schedule_fails)]
    waiting = [Step(now, "Scheduling"), Step(placed, "Pending")]
    return waiting + _run(fate, placed + fate.pulling)


def _run(fate: Fate, start: float) -> list[Step]:
    running = [Step(start, "Running")]
    if fate.runs is not None:
        end = "Failed" if fate.exit_code else "Succeeded"
        running.append(Step(start + fate.runs, end))
    return running


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
