"""What a check found: one line for people, and the command that mends it. Pure."""

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vnode.kube.errors import Forbidden, KubeError

__all__ = [
    "Finding",
    "Level",
    "Result",
    "not_allowed",
    "ok",
    "one_line",
    "refused",
    "shortened",
    "untried",
    "untried_since",
    "warn",
    "wrong",
]

_LONGEST = 400
"""Characters of an error's message."""


class Level(enum.StrEnum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    """Works, but somebody should know."""
    WRONG = "WRONG"
    UNTRIED = "untried"
    """Nothing is known: something else failed first, or a right is missing that is not needed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    text: str
    mend: str = ""
    """A command, or what to change; empty where there is nothing to do."""
    since: str = ""
    """The check that failed before, so that this was not tried."""

    @property
    def blocks(self) -> bool:
        """Whether it makes no sense to look at what depends on this."""
        return self.level is Level.WRONG or bool(self.since)


class Result(NamedTuple):
    """A finding and where it belongs."""

    where: str
    """`tenant`, a compute cluster's or a virtual node's name, `configuration`."""
    check: str
    finding: Finding


def ok(text: str) -> Finding:
    """It works."""
    return Finding(Level.OK, text)


def warn(text: str, mend: str = "") -> Finding:
    """It works, but."""
    return Finding(Level.WARN, text, mend)


def wrong(text: str, mend: str = "") -> Finding:
    """It does not work."""
    return Finding(Level.WRONG, text, mend)


def untried(text: str, mend: str = "") -> Finding:
    """Nobody knows."""
    return Finding(Level.UNTRIED, f"not tried: {text}", mend)


def untried_since(failed: str) -> Finding:
    """Something else failed first."""
    return Finding(Level.UNTRIED, f"not tried since {failed} failed", since=failed)


def not_allowed(right: str, option: str) -> Finding:
    """The credential has not the right to look, nor does the agent need it."""
    return untried(f"needs the right to {right}", f"vnode check {option} FILE, of an administrator")


def refused(error: KubeError, *, right: str, option: str) -> Finding:
    """What a look that may be forbidden says when it fails."""
    if isinstance(error, Forbidden):
        return not_allowed(right, option)
    return wrong(f"cannot {right}: {one_line(error)}")


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())[:_LONGEST]


def shortened(things: Iterable[object], *, most: int = 5) -> str:
    """Things in a row, and how many more there are."""
    listed = [str(thing) for thing in things]
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
