"""kill -9 at one single write, enumerated: the write is done or not, its answer is never heard.

In: every call that a `RecordingClient` is about to make, or has made. Out: nothing, until the write
whose turn it is; from then on no call of the dead ever reaches a cluster or comes back. The write
itself may be on its way still, and land while another agent is at work. One `Crash` is shared by
the clients of both clusters, so that their writes are counted in one row.
"""

import asyncio
import contextlib
import enum
from collections.abc import Callable

from vnode.kube.errors import KubeError

_READS = frozenset({"get", "list", "watch"})


class Moment(enum.StrEnum):
    """When the agent dies."""

    BEFORE = "before"
    """The write is never done."""
    AFTER = "after"
    """It is done, and not answered."""
    ON_THE_WAY = "on the way of"
    """It is done `late` seconds after the death, whatever is there then."""


class Crash:
    """Counts the writes of one agent, and kills it at one of them."""

    def __init__(self) -> None:
        self.writes: list[str] = []
        """All writes since `arm`, as `compute create pods`."""
        self.died = asyncio.Event()
        self._armed = False
        self._at: int | None = None
        self._moment = Moment.BEFORE
        self._late = 0.0

    def arm(
        self, at: int | None = None, moment: Moment = Moment.BEFORE, *, late: float = 0.0
    ) -> None:
        """Count from now on; die at write number `at` (from 0)."""
        self._armed, self._at, self._moment, self._late = True, at, moment, late

    def revive(self) -> None:
        """Another agent: it lives."""
        self._armed = False
        self.died.clear()

    async def before(self, side: str, call: str, act: Callable[[], object]) -> int | None:
        """A call (`create pods`) is about to be carried out by `act`; its number if it counts."""
        await self._stay_dead()
        if not self._armed or call.split()[0] in _READS:
            return None
        number = len(self.writes)
        self.writes.append(f"{side} {call}")
        if number == self._at and self._moment is not Moment.AFTER:
            if self._moment is Moment.ON_THE_WAY:
                asyncio.get_running_loop().call_later(self._late, _land, act)
            await self._die()
        return number

    async def after(self, number: int | None) -> None:
        """It was carried out, or refused."""
        await self._stay_dead()
        if number is not None and number == self._at and self._moment is Moment.AFTER:
            await self._die()

    async def _die(self) -> None:
        self.died.set()
        await self._stay_dead()

    async def _stay_dead(self) -> None:
        if self.died.is_set():
            await asyncio.get_running_loop().create_future()


def _land(act: Callable[[], object]) -> None:
    with contextlib.suppress(KubeError):
        act()
