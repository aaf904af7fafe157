"""Whether a link holds, by how its calls end: slow to give it up, and not quick to trust it again.

In: good and bad answers with the time of each. Out: since when the link counts as lost. Pure, no
clock of its own. A link opens after `PATIENCE` seconds without any good answer, so loss and latency
alone do not open it; it closes after good answers alone for some seconds, and for longer each time
it was lost again soon, so a link that comes and goes is one outage and not many.
"""

__all__ = ["PATIENCE", "Circuit"]

PATIENCE = 40.0
"""Seconds without a good answer after which a link is lost, as for nodes."""
STEADY, STEADIEST = 10.0, 160.0
"""Seconds of nothing but good answers after which it is back; doubled when it was lost again
within `_SOON`."""
_SOON = 600.0


class Circuit:
    """One link. All times are of one monotonic clock, in seconds."""

    def __init__(self, now: float) -> None:
        # Before the first answer nothing is known: patience begins to run now.
        self._good_at = now
        self._steady_since: float | None = None
        """First of the good answers in a row, while the link is lost."""
        self._lost_since: float | None = None
        self._back_at = float("-inf")
        self._steady = STEADY
        self.answered = False
        """Whether there ever was a good answer."""

    def good(self, now: float) -> None:
        """There was a good answer."""
        if self.lost_since(now) is not None:
            self._steady_since = now if self._steady_since is None else self._steady_since
            if now - self._steady_since >= self._steady:
                self._lost_since, self._back_at = None, now
        self._good_at, self.answered = now, True

    def bad(self, now: float) -> None:
        """There was none, or not a good one."""
        self.lost_since(now)
        self._steady_since = None

    def lost_since(self, now: float) -> float | None:
        """When the link was lost; None: it holds, as far as anybody knows."""
        if self._lost_since is None and now - self._good_at >= PATIENCE:
            self._lost_since, self._steady_since = self._good_at + PATIENCE, None
            again = self._lost_since - self._back_at < _SOON
            self._steady = min(STEADIEST, 2 * self._steady) if again else STEADY
        return self._lost_since

    def silent_for(self, now: float) -> float | None:
        """Seconds for which it has been lost; None: it holds, or its newest answer was good."""
        since = self.lost_since(now)
        return None if since is None or self._steady_since is not None else now - since
