"""Whose turn it is to call an action that many want to call at once, so that nobody blocks others.

In: a key, each time that somebody wants to call. Out: nothing, when it may; else `InLine`, with the
time after which to come again. Waiting for the budget itself would hold a worker for each pod that
waits, and states of pods that run could not be shown meanwhile. Those in line come by the rate of
now; where it sinks they get later turns. Nothing is taken from the budget here.
"""

from collections.abc import Callable

from federation.backends.eci.budget import Budget
from vnode.backend import InLine
from vnode.runtime.clock import Clock

__all__ = ["Turns"]

_SHORT, _LATE = 0.5, 2.0
"""Seconds that a call may wait for the budget: of somebody new, and of one whose turn has come."""
_LOST = 30.0
"""Seconds after which one that did not come when it was its turn has given up."""
_ON_THE_WAY = 5.0
"""Seconds in which one that was let go has called."""


class Turns:
    """The line before one action. Times are monotonic seconds."""

    def __init__(self, budget: Budget, action: str, *, what: str, clock: Clock) -> None:
        """`what` is said of many that are made or taken away at once, such as "pods are made"."""
        self._budget = budget
        self._action = action
        self._what = what
        self._clock = clock
        self._due: dict[str, float] = {}
        """When those in line have their turn, in this order."""
        self._going: dict[str, float] = {}
        """Those that were let go and have not called yet, and since when."""

    def __len__(self) -> int:
        return len(self._due)

    def require(self, key: str) -> None:
        """Return when it may call now; say `went` when it did.

        Raises:
            InLine: it has to come again.
        """
        now = self._clock.monotonic()
        _drop(self._due, lambda due: due < now - _LOST)
        _drop(self._going, lambda since: since < now - _ON_THE_WAY)
        pace = 1 / self._budget.rate(self._action)
        wait = self._budget.wait(self._action) + len(self._going) * pace
        due = self._due.get(key)
        if due is not None and due > now:
            raise self._in_line(due - now)
        if wait <= (_SHORT if due is None else _LATE) and (due is not None or not self._due):
            self._due.pop(key, None)
            self._going.pop(key, None)  # Its place is by the newest time.
            self._going[key] = now
            return
        last = next(reversed(self._due.values())) if self._due else now
        self._due.pop(key, None)
        self._due[key] = max(now + wait, last + pace)
        raise self._in_line(self._due[key] - now)

    def wait(self, key: str) -> None:
        """Return unless it stands in line and its turn has not come; nothing is taken.

        Who asks long before it calls, or may never call, takes nobody's turn so.

        Raises:
            InLine: it has to come again.
        """
        if (left := self._due.get(key, 0.0) - self._clock.monotonic()) > 0:
            raise self._in_line(left)

    def went(self, key: str) -> None:
        """It has called, or does not want to any more."""
        self._going.pop(key, None)

    def _in_line(self, seconds: float) -> InLine:
        return InLine(f"{self._what} one after the other here, and many are", seconds=seconds)


def _drop(times: dict[str, float], old: Callable[[float], bool]) -> None:
    """Forget the first ones that are."""
    while times and old(times[first := next(iter(times))]):
        del times[first]
