"""Whether a link holds, by how its calls end: slow to give it up, and not quick to trust it again.

In: good and bad answers with the time of each. Out: since when the link counts as lost. Pure, no
clock of its own. A link opens after `PATIENCE` seconds without any good answer, so loss and latency
alone do not open it. They do not keep it open either: it closes after some seconds in which no good
answer is more than `GAP` after the one before. That takes longer each time it was lost again soon,
so a link that comes and goes is one outage and not many.
"""

__all__ = ["GAP", "PATIENCE", "STEADIEST", "STEADY", "Circuit"]

PATIENCE = 40.0
"""Seconds without a good answer after which a link is lost, as for nodes."""
STEADY, STEADIEST = 10.0, 40.0
"""Seconds of good answers after which it is back; doubled when it was lost again within `_SOON`."""
GAP = 20.0
"""Seconds between two good answers, most; room for one question that got lost."""
_SOON = 600.0


class Circuit:
    """One link. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        # Before the first answer nothing is known: patience begins to run now.
        self._good_at = now
        self._steady_since: float | None = None
        """First of the good answers that follow each other closely, while the link is lost."""
        self._lost_since: float | None = None
        self._back_at = float("-inf")
        self._steady = STEADY
        self.answered = False
        """Whether there ever was a good answer."""

    def good(self, now: float) -> None:
        """There was a good answer."""
        if self.lost_since(now) is not None:
            if self._steady_since is None or now - self._good_at > GAP:
                self._steady_since = now
            if now - self._steady_since >= self._steady:
                self._lost_since, self._back_at = None, now
        self._good_at, self.answered = now, True

    def bad(self, now: float) -> None:
        """There was none, or not a good one."""
        self.lost_since(now)

    def lost_since(self, now: float) -> float | None:
        """When the link was lost; None: it holds, as far as anybody knows."""
        if self._lost_since is None and now - self._good_at >= PATIENCE:
            self._lost_since, self._steady_since = self._good_at + PATIENCE, None
            again = self._lost_since - self._back_at < _SOON
            self._steady = min(STEADIEST, 2 * self._steady) if again else STEADY
        return self._lost_since

    def silent_for(self, now: float) -> float | None:
        """Seconds without a good answer beyond `PATIENCE`; None: not yet so long, or it holds.

        For the first silence of an outage that is the time since the link was lost. One bad answer
        among good ones is no silence, however long ago the link was lost.
        """
        silent = now - self._good_at - PATIENCE
        return None if self.lost_since(now) is None or silent < 0 else silent
