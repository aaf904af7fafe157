"""Whether the successors of pods that were given up came after the old copies were gone.

In: what etcd below wrote (`Copies`), and the audit log of its API server. Out: targets. etcd's
order is exact; the audit log is another's word, in which answers are written down late, and those
that failed say nothing of when something was done, nor if.
"""

from __future__ import annotations

import json
import math
import threading
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.e2e.user import BELOW
from tests.measuring.report import Target
from tests.reliability import evidence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from tests.chaos.history import Version

SAME, OTHERS = "hasty", "restless"
"""Labels `app` of those that do not wait: with successors of the same names, and of others."""
_WRITTEN_LATE = 0.5
"""Seconds between what a request did and its line in an audit log, on a busy machine."""


class Copies:
    """What etcd told of the copies, in order."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self.deleting = threading.Event()
        """One is being deleted."""

    def hear(self, version: Version) -> None:
        """Take the next one."""
        if (version.kind, version.namespace) == ("pods", BELOW):
            self.versions.append(version)
            if "deletionTimestamp" in version.object["metadata"]:
                self.deleting.set()

    def keep(self, file: Path) -> None:
        """Write it down, a version a line."""
        with file.open("w") as lines:
            for one in self.versions:
                lines.write(json.dumps({"at": one.at, "gone": one.gone, "object": one.object}))
                lines.write("\n")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_T = TypeVar("_T", bound=_Named)


def judged(
    share: Mapping[str, int],
    first: Mapping[str, Collection[str]],
    lives: tuple[evidence.Life, ...],
    tries: tuple[evidence.Write, ...],
) -> Iterator[Target]:
    """Whether the old copies were gone before their successors were made."""
    for app, what in ((SAME, "the same names"), (OTHERS, "other names")):
        mine = of(app, tries)
        sources = {
            "etcd": of(app, lives),
            "the audit log": evidence.lives_by_audit(mine, first[app]),
        }
        for source, known in sources.items():
            found = evidence.succession(known, by_name=app == SAME)
            # More than were: kwok deletes by name alone, and a late deletion hits a namesake.
            whole = found.old == share[app] <= found.successors
            # Answers are written down after the fact, and those in doubt say nothing of when.
            late = 0.0 if source == "etcd" else math.inf if doubts(mine) else _WRITTEN_LATE
            yield Target(
                f"by {source}, successors of {what} came after the old copies",
                f"{found}{', but answers are in doubt' if late == math.inf else ''}",
                whole and found.apart > -late,
            )


def doubts(tries: Iterable[evidence.Write]) -> int:
    """Deletions that may have been carried out although they were answered otherwise."""
    return sum(w.in_doubt and (w.verb, w.resource) == ("delete", "pods") for w in tries)


def of(app: str, found: Iterable[_T]) -> tuple[_T, ...]:
    """What is about the pods of a workload."""
    return tuple(one for one in found if one.name.startswith(f"{app}-"))
