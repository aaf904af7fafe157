"""When to list anew although no answer demands it: the server may not be what it was.

In: when a server was lost and found again, and objects that it said it does not have. Out: when a
listing is due. A server that was away may have been restored from a backup and have passed our
version before it answers us: its watch then goes on as if nothing had happened. A listing of ten
thousand objects is dear, and whoever was away is busy, so it is neither at once nor often: at a
random time after the return, later where many list at the same server (`crowding`), and never soon
after another one, however often a link comes and goes. Pure, no clock of its own.
"""

import random
from dataclasses import dataclass

__all__ = ["Doubt", "Suspicion", "crowding"]

_FEW = 250
"""Reflectors of one server that need not think of each other: ten listings in a second."""


def crowding(reflectors: int) -> float:
    """By how much longer many wait, so that their server gets no more calls in a second."""
    return max(1.0, reflectors / _FEW)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Times in seconds; tests take shorter ones."""

    away: float = 2.0
    """Nobody restores a cluster in less."""
    earliest: float = 5.0
    latest: float = 30.0
    """The listing comes between these after the server is back, while the watch goes on; for one
    that has many reflectors it may be later."""
    settle: float = 10.0
    """A watch mostly brings within this what the answer to another call told already."""
    gap: float = 60.0
    """Between a listing and the next one that nothing but doubt asks for."""


class Doubt:
    """Of one reflector. All times are of one monotonic clock, in seconds."""

    def __init__(self, times: Suspicion, *, rng: random.Random) -> None:
        self._times = times
        self._rng = rng
        self._lost_at: float | None = None
        self._listed_at = float("-inf")
        self._returned_due: float | None = None
        self._missing_due: float | None = None

    def lost(self, at: float) -> None:
        """No good answer came since then."""
        if self._lost_at is None:
            self._lost_at = at

    def found(self, now: float, *, reflectors: int = 1) -> None:
        """The server, which has so many reflectors, answers, if it was lost."""
        times = self._times
        if self._lost_at is not None and now - self._lost_at >= times.away:
            most = (times.latest - times.earliest) * crowding(reflectors)
            wait = times.earliest + self._rng.uniform(0.0, most)
            self._returned_due = self._returned_due or self._after_gap(now + wait)
        self._lost_at = None

    def missing(self, now: float) -> None:
        """The server said that it does not have what the watch told of."""
        self._missing_due = self._missing_due or self._after_gap(now + self._times.settle)

    def explained(self) -> None:
        """What was missing went from the store too."""
        self._missing_due = None

    def listed(self, now: float) -> None:
        """All is known again."""
        self._lost_at = self._returned_due = self._missing_due = None
        self._listed_at = now

    def due(self) -> float | None:
        """When to list, or to look whether what was missing still seems to be there."""
        times = [at for at in (self._returned_due, self._missing_due) if at is not None]
        return min(times, default=None)

    def returned(self, now: float) -> bool:
        """Whether a listing is due since the server was away."""
        return self._returned_due is not None and now >= self._returned_due

    def _after_gap(self, at: float) -> float:
        return max(at, self._listed_at + self._times.gap)
