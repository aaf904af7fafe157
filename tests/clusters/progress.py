"""What a command that starts clusters is in a shell: it says how far it is, and can be ended.

In: texts. Out: lines on stderr, with the seconds since the beginning. SIGTERM ends like the end of
a `with` block, so that clusters are taken down.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.clusters.programs import Progress


def begin() -> Progress:
    """Once a process; returns where it says how far it is."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()

    def report(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    return report
