"""All container groups of the account in one region.

In: creates, each with a time. Out: groups, whose state at any later time their `Lifecycle` tells.
Final states are forgotten as documented: all are kept for an hour, then the newest hundred; one
without a place for a day.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.eci.catalog import Bought, bought
from tests.eci.lifecycle import FINAL, Lifecycle, Step
from tests.eci.modes import GroupEngine, Mode
from tests.eci.script import Fate, Scripted

__all__ = ["FINAL", "KEPT", "RETENTION", "Fate", "Group", "Groups", "rfc3339"]

RETENTION = 3600.0
KEPT = 100
WITHOUT_PLACE = 86400.0
"""Seconds that a group is kept for which there was no place."""


@dataclass
class Group:
    """One container group."""

    id: str
    asked: dict[str, Any]
    created: float
    life: Lifecycle
    engine: GroupEngine
    bought: Bought
    zone: str
    maker: str = ""
    """Id of the key that made it."""
    token: str = ""
    """ClientToken of the create that made it."""
    repeats: int = 0
    """Creates that came later and had its token."""
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self._tags = {tag["Key"]: tag.get("Value", "") for tag in self.asked.get("Tag", ())}

    def step(self, now: float) -> Step:
        """The newest step that was reached."""
        self.life.advance(now)
        return self.life.step

    def status(self, now: float) -> str:
        return self.step(now).status

    @property
    def tags(self) -> dict[str, str]:
        return dict(self._tags)

    def retag(self, tags: dict[str, str]) -> None:
        """Replace all tags. What was asked for stays, since tokens are compared with it."""
        self._tags = dict(tags)

    @property
    def cpu(self) -> float:
        """vCPUs that are paid for."""
        return self.bought.cpu

    @property
    def address(self) -> str:
        number = int(self.id.removeprefix("eci-"), 16)
        return f"10.0.{number // 250 % 250}.{number % 250 + 1}"


class Groups:
    """In the order of creation."""

    def __init__(
        self, fate: Callable[[dict[str, Any]], Fate] = lambda _: Fate(), *, mode: Mode | None = None
    ) -> None:
        """`fate` is for the scripted mode, which is the one without a `mode`."""
        self.mode: Mode = mode or Scripted(fate)
        self._all: dict[str, Group] = {}
        self._tokens: dict[str, Group] = {}
        self._number = 0
        self.ever: list[Group] = []
        """All that were ever created, also those that nobody knows any more."""

    @property
    def made(self) -> int:
        """Groups that were ever created."""
        return len(self.ever)

    def at(self, now: float) -> list[Group]:
        """All that are still known."""
        self._forget(now)
        return list(self._all.values())

    def get(self, group: str, now: float) -> Group | None:
        self._forget(now)
        return self._all.get(group)

    def by_token(self, token: str) -> Group | None:
        """What the create made that used this token first, also if it is gone."""
        return self._tokens.get(token)

    def create(
        self,
        asked: dict[str, Any],
        now: float,
        *,
        token: str = "",
        maker: str = "",
        paid: Bought | None = None,
        zone: str = "",
    ) -> Group:
        self._number += 1
        name = f"eci-{self._number:016x}"
        engine, timing = self.mode.engine(asked, name)
        group = Group(
            id=name,
            asked=asked,
            created=now,
            life=Lifecycle(asked, group=name, engine=engine, timing=timing, now=now),
            engine=engine,
            bought=paid or bought(asked)[0],
            zone=zone or f"{asked.get('RegionId', 'cn-beijing')}-a",
            maker=maker,
            token=token,
        )
        self._all[group.id] = group
        self.ever.append(group)
        if token:
            self._tokens[token] = group
        return group

    def _forget(self, now: float) -> None:
        ended = []
        for group in list(self._all.values()):
            step = group.step(now)
            if step.status == "Gone":
                del self._all[group.id]
            elif step.status == "ScheduleFailed":
                if now - step.at > WITHOUT_PLACE:
                    del self._all[group.id]
            elif step.status in FINAL and now - step.at > RETENTION:
                ended.append(group)
        if ended:
            kept_as_such = FINAL - {"ScheduleFailed"}
            final = [g for g in self._all.values() if g.life.status in kept_as_such]
            final.sort(key=lambda g: g.life.step.at, reverse=True)
            kept = {group.id for group in final[:KEPT]}
            for group in ended:
                if group.id not in kept:
                    del self._all[group.id]


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
