"""Time as a dependency: what reads a clock takes a `Clock`, so that tests can give another one."""

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "LoopClock", "SystemClock"]


class Clock(Protocol):
    """A source of time."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def time(self) -> float:
        """Unix seconds; may jump."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        """Seconds since boot or so."""
        return time.monotonic()

    def time(self) -> float:
        """Unix seconds."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)


class LoopClock:
    """The event loop's clock, which tests can fast-forward. Unix time starts at `epoch`."""

    def __init__(self, *, epoch: float = 1_800_000_000.0) -> None:
        self._epoch = epoch

    def monotonic(self) -> float:
        """The loop's own time."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """`epoch` plus the loop's own time."""
        return self._epoch + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the running event loop."""
        await asyncio.sleep(seconds)
