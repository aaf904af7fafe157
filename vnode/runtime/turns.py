"""Long loops that let others have their turn on the event loop.

In: items. Out: the same items, with the event loop free again and again in between: leases have to
be renewed and watches read while ten thousand pods are looked at.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

__all__ = ["in_turns"]

_AT_A_TIME = 200

T = TypeVar("T")


async def in_turns(items: Iterable[T], *, at_a_time: int = _AT_A_TIME) -> AsyncIterator[T]:
    """Yield the items; after every `at_a_time` of them, whatever else is due runs first."""
    for number, item in enumerate(items, start=1):
        yield item
        if number % at_a_time == 0:
            await asyncio.sleep(0)
