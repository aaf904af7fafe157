import asyncio
import time
from contextlib import suppress

import pytest

from tests.fakes.clock import LoopClock
from vnode.runtime.clock import SystemClock
from vnode.runtime.loop_lag import observe_lag


class LateClock(LoopClock):
    """Its sleeps take longer than they should by what it is told."""

    def __init__(self, late: list[float]) -> None:
        super().__init__()
        self._late = iter(late)

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + next(self._late))


@pytest.mark.looptime
async def test_each_wake_up_says_how_late_it_was() -> None:
    seen: list[float] = []
    clock = LateClock([0.0, 0.25, 3.0, 0.0, *[0.0] * 100])
    with suppress(TimeoutError):
        await asyncio.wait_for(observe_lag(seen.append, clock=clock, every=1.0), 7.5)
    assert seen == pytest.approx([0.0, 0.25, 3.0, 0.0])


async def test_a_loop_that_is_held_is_late() -> None:
    late: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def observe(seconds: float) -> None:
        if not late.done():
            late.set_result(seconds)

    task = asyncio.ensure_future(observe_lag(observe, clock=SystemClock(), every=0.01))
    await asyncio.sleep(0)
    time.sleep(0.05)  # noqa: ASYNC251 - what is looked for
    assert await late >= 0.03
    task.cancel()
