"""What ginkgo prints while it runs, as one line per test that ends.

In: lines of its output (`-v`; with several processes a test's lines come at once, at its end). Out:
lines for people, with a count. Nothing is decided by them: the report counts.
"""

from __future__ import annotations

import re

_END = re.compile(r"^[•S] (?:\[(\w+)\] )?\[([\d.]+) seconds\]$")
_LABELS = re.compile(r" \[[^]]*, [^]]*\]$")


class ProgressLines:
    """Counts ends of tests and words them."""

    def __init__(self, *, total: int) -> None:
        self._total = total
        self._done = 0
        self._failed = 0
        self._ended: re.Match[str] | None = None

    def feed(self, line: str) -> str | None:
        """One line of output; gives a line for people when it names a test that has ended."""
        ended, self._ended = self._ended, _END.match(line)
        if ended is None:
            return None
        verdict = (ended[1] or "passed").lower()
        self._done += 1
        self._failed += verdict not in ("passed", "skipped")
        name = _LABELS.sub("", line).replace(" [It] ", " ")
        return f"{self._done}/{self._total}, {self._failed} failed: {name}: {verdict}, {ended[2]} s"
