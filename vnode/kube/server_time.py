"""What time it is on an API server, from the Date of its answers.

In: Date headers (RFC 9110, whole seconds). Out: how far the server's clock is ahead of ours.
Between answers its time goes on by our monotonic clock, so that somebody who sets our clock changes
nothing of what we know of the server's.
"""

import contextlib
import email.utils
import time
from collections.abc import Callable


class ServerTime:
    """The clock of one API server."""

    def __init__(
        self,
        *,
        unix: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unix = unix
        self._monotonic = monotonic
        self._date = ""
        self._started: float | None = None
        """The server's time when our monotonic clock was 0."""

    @property
    def offset(self) -> float:
        """Seconds that it is ahead of our clock of now (+-0.5 s); 0 before the first answer."""
        if self._started is None:
            return 0.0
        return self._started + self._monotonic() - self._unix()

    def note(self, date: str) -> None:
        """An answer with this Date arrived; what cannot be read, or is missing, says nothing."""
        if date and date != self._date:
            self._date = date
            with contextlib.suppress(ValueError):
                # Date is cut to seconds: the middle of that second is the best guess.
                now = email.utils.parsedate_to_datetime(date).timestamp() + 0.5
                self._started = now - self._monotonic()
