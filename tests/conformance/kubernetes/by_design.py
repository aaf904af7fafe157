"""The differences that are meant: tests that cannot pass through a virtual node, and why.

In: `by_design.yaml`. Out: `ByDesign` entries. Each names one test or a few by a regular expression,
the row of the design that makes it impossible, and the reason in words. Raises `ListError`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

FILE = Path(__file__).with_name("by_design.yaml")
MOST_SHARE = 0.05
"""Largest part of the tests that may differ by design."""
_KEYS = {"test", "design", "reason"}


class ListError(Exception):
    """The file does not say what it must; the message names the entry."""


@dataclass(frozen=True)
class ByDesign:
    """A difference that is meant."""

    test: str
    """Regular expression; it must match the whole name."""
    design: str
    """The section and row of the design."""
    reason: str

    def covers(self, name: str) -> bool:
        """Whether it speaks of that test."""
        return re.fullmatch(self.test, name) is not None


def read(text: str) -> tuple[ByDesign, ...]:
    """The entries of the file."""
    entries = yaml.safe_load(text) or []
    found = []
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or entry.keys() != _KEYS or not all(entry.values()):
            raise ListError(f"entry {number} needs exactly {', '.join(sorted(_KEYS))}")
        try:
            re.compile(entry["test"])
        except re.error as error:
            raise ListError(f"entry {number}: test is no regular expression: {error}") from error
        found.append(ByDesign(**{key: " ".join(entry[key].split()) for key in _KEYS}))
    return tuple(found)
