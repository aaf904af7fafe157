"""Waiting for what a measurement needs, for a limited time.

In: a question. Out: its first true answer, or `MeasurementError`: nothing can be said then.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.clusters.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable


class MeasurementError(HarnessError):
    """Something did not happen in time, so that nothing can be said."""


def wait(done: Callable[[], Any], what: str, *, timeout: float, every: float = 0.2) -> Any:
    """Poll until `done` gives something true; returns that."""
    deadline = time.monotonic() + timeout
    while not (found := done()):
        if time.monotonic() > deadline:
            raise MeasurementError(f"waited {timeout:g} s in vain until {what}")
        time.sleep(every)
    return found
