"""Tables of what users see when something goes wrong: pages held against what tests saw.

In: a page with a table under a title; tests that act a story out and say when to look at a pod.
Out: a row for each look, made of the pod's status and the events about it that are new since the
last look. A test waits until the pod looks as the page says, and fails if it never does.

`python -m tests.e2e.what_users_see` runs those tests and writes the rows anew.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.seen import Table, event_text, line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.user import User

ROOT = Path(__file__).resolve().parents[2]
_RENEWING = "VNODE_RENEW_TABLES"
_SETTLED = 6.0
"""Seconds after which nothing more is expected of a pod, when rows are written."""
_PATIENCE = 40.0
_OF_OTHERS = frozenset({"Scheduled"})
"""Reasons of events that other controllers of the tenant report."""
_FILES = ("test_eci_nodes.py",)


ECI_NODES = Table(ROOT / "docs" / "eci.md", "### What users see on ECI nodes")


@dataclass
class Looks:
    """A user who looks at pods now and then, for one story of a table."""

    user: User
    table: Table
    story: str
    seen: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def look(self, then: str, pod: str) -> None:
        """See what the page says next, or AssertionError after 40 s."""
        if _RENEWING in os.environ:
            time.sleep(_SETTLED)
            row, told = self._row(then, pod)
        else:
            row, told = self._wait(then, pod)
        self.seen.append(row)
        self._told |= told

    def end(self) -> None:
        """The story is over: the page has nothing more of it."""
        if _RENEWING in os.environ:
            self.table.write({**self.table.stories(), self.story: self.seen})
        assert self.table.stories()[self.story] == self.seen

    def _wait(self, then: str, pod: str) -> tuple[str, set[str]]:
        rows = self.table.stories().get(self.story, [])
        wanted = rows[len(self.seen)] if len(self.seen) < len(rows) else "nothing more"
        deadline = time.monotonic() + _PATIENCE
        while (found := self._row(then, pod))[0] != wanted:
            assert time.monotonic() < deadline, (
                f"{self.table.page.name} says\n{wanted}\nbut it is\n{found[0]}\n"
                "if that is meant: python -m tests.e2e.what_users_see, and read what has changed"
            )
            time.sleep(0.3)
        return found

    def _row(self, then: str, pod: str) -> tuple[str, set[str]]:
        told = sorted(set(self._events(pod)) - self._told)
        status = self.user.get("pod", pod)["status"]
        return line("" if self.seen else self.story, then, status, told), set(told)

    def _events(self, pod: str) -> Iterator[str]:
        about = f"involvedObject.kind=Pod,involvedObject.name={pod}"
        text = self.user.kubectl("get", "events", "-o", "json", f"--field-selector={about}")
        for event in json.loads(text)["items"]:
            if event["reason"] not in _OF_OTHERS:
                yield event_text(event)


def main() -> int:
    """Run the tests of all tables, and write what they see."""
    os.environ[_RENEWING] = "1"
    files = [str(Path(__file__).parent / name) for name in _FILES]
    return int(pytest.main([*files, "-k", "page", f"--rootdir={ROOT}"]))


if __name__ == "__main__":
    sys.exit(main())
