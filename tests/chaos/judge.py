"""Hears everything, and says once of each thing that must not be.

In: versions (`history`), requests (`audit`), texts (logs, events). Out: `Violation`s that are new.
Rules of single requests are judged as they come, at the end of a round; rules of pods when all has
settled, so that both clusters' stories are complete.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from tests.chaos import rules
from tests.chaos.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.chaos.audit import Request
    from tests.chaos.history import Version
    from tests.chaos.ledger import Parties
    from tests.chaos.rules import Violation


class Judge:
    """Of one run."""

    def __init__(self, parties: Parties, *, strict: bool) -> None:
        """`strict`: the agents have `startOnce: strict`."""
        self.ledger = Ledger(parties)
        self.windows: set[str] = set()
        """UIDs that were created again, as the contract allows, and those that it does not."""
        self._strict = strict
        self._secrets: list[str] = []
        self._texts: list[tuple[str, str]] = []
        self._told: set[tuple[str, str]] = set()
        self._late: list[Request] = []
        self.requests = 0

    def secret(self, value: str) -> None:
        """A value that must not be told."""
        self._secrets.append(value)

    def agent_started(self, number: int) -> None:
        """An agent is started now."""
        self.ledger.started[number].append(time.time())

    def version(self, version: Version) -> None:
        """One version of an object."""
        if version.kind == "events":
            text = orjson.dumps(version.object.get("message", "")).decode()
            self._texts.append((f"an event in {version.cluster}", text))
        self.ledger.version(version)

    def text(self, source: str, text: str) -> None:
        """Something that the agent said."""
        self._texts.append((source, text))

    def request(self, request: Request) -> None:
        """One line of an audit log; all of a cluster in order."""
        self.requests += 1
        self.ledger.request(request)
        self._late.append(request)

    def verdict(self) -> list[Violation]:
        """What is wrong with the news, once all is told."""
        found: list[Violation] = []
        requests, self._late = self._late, []
        for request in requests:
            found += self._of_request(request)
        for uid in sorted(self.ledger.settled()):
            found += self._of_pod(uid)
        texts, self._texts = self._texts, []
        for source, text in texts:
            found += rules.no_secrets(source, text, self._secrets)
            found += rules.no_surprises(source, text)
        return list(self._new(found))

    def _of_request(self, request: Request) -> Iterator[Violation]:
        parties = self.ledger.parties
        yield from rules.preconditions(parties, request)
        yield from rules.inside(parties, request)
        yield from rules.foreign_left_alone(self.ledger, request)
        yield from rules.orphan_confirmed(self.ledger, request)
        yield from rules.copy_goes_first(self.ledger, request)

    def _of_pod(self, uid: str) -> Iterator[Violation]:
        yield from rules.created_once(self.ledger, uid, strict=self._strict)
        yield from rules.not_revived(self.ledger, uid)
        yield from rules.own_status(self.ledger, uid)
        if len(self.ledger.copies_of[uid]) > 1:
            self.windows.add(uid)

    def _new(self, found: Iterable[Violation]) -> Iterator[Violation]:
        for violation in found:
            key = (violation.rule, violation.about)
            if key not in self._told:
                self._told.add(key)
                yield violation
