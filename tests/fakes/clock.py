"""The event loop's clock as a `Clock`, so that tests under looptime take no time."""

import asyncio


class LoopClock:
    """The loop's own time. Unix time starts at `epoch`."""

    def __init__(self, *, epoch: float = 1_800_000_000.0) -> None:
        self._epoch = epoch

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return self._epoch + self.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
