"""How late the event loop is: the time for which everything in the process waits.

In: a clock. Out: once in a while the seconds by which a wake-up came too late: because something
held the loop, because much was due before it, or because the machine gave the process no turn. Run
by the agent as a task of its own.
"""

from collections.abc import Callable

from vnode.runtime.clock import Clock

__all__ = ["observe_lag"]

_EVERY = 0.1
"""Seconds. Ten wake-ups a second are about 0.05 % of a core, and a stop of 50 ms is met by every
other one."""


async def observe_lag(
    observe: Callable[[float], None], *, clock: Clock, every: float = _EVERY
) -> None:
    """Tell `observe` of each wake-up how many seconds late it was; never returns."""
    while True:
        due = clock.monotonic() + every
        await clock.sleep(every)
        observe(max(0.0, clock.monotonic() - due))
