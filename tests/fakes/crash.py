"""kill -9 at one single write, enumerated: the write is done or not, its answer is never heard.

In: every call that a `RecordingClient` is about to make, or has made. Out: nothing, until the write
whose turn it is; from then on no call of the dead ever reaches a cluster or comes back. One `Crash`
is shared by the clients of both clusters, so that their writes are counted in one row.
"""

import asyncio

_READS = frozenset({"get", "list", "watch"})


class Crash:
    """Counts the writes of one agent, and kills it at one of them."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        """All writes since `arm`, as `compute create pods`."""
        self.died = asyncio.Event()
        self._armed = False
        self._at: int | None = None
        self._done = False

    def arm(self, at: int | None = None, *, done: bool = False) -> None:
        """Count from now on; die at write number `at` (from 0), when it is `done` or before."""
        self._armed, self._at, self._done = True, at, done

    def revive(self) -> None:
        """Another agent: it lives."""
        self._armed = False
        self.died.clear()

    async def before(self, side: str, call: str) -> int | None:
        """A call (`create pods`) is about to be made; returns its number if it counts."""
        await self._stay_dead()
        if not self._armed or call.split()[0] in _READS:
            return None
        number = len(self.writes)
        self.writes.append(f"{side} {call}")
        await self._pass(number, done=False)
        return number

    async def after(self, number: int | None) -> None:
        """It was carried out, or refused."""
        await self._stay_dead()
        if number is not None:
            await self._pass(number, done=True)

    async def _pass(self, number: int, *, done: bool) -> None:
        if (number, done) == (self._at, self._done):
            self.died.set()
            await self._stay_dead()

    async def _stay_dead(self) -> None:
        if self.died.is_set():
            await asyncio.get_running_loop().create_future()
