"""Remembers answers of TokenReview and SubjectAccessReview for a while.

In: a key and a way to ask. Out: the answer, from memory, from a question that another request has
in flight, or freshly asked. Owned by `vnode.kubelet.access.reviews`. Errors are handed to everyone
who waits for that question and are never remembered.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TLRUCache

from vnode.runtime.clock import Clock

__all__ = ["CacheStatistics", "ReviewCache"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class CacheStatistics:
    """A snapshot of one cache."""

    held: int
    in_flight: int
    asked: int
    """Questions put to the API server since the start."""


class ReviewCache(Generic[K, V]):
    """A bounded cache with a life per value and one question per key at a time."""

    def __init__(self, *, life: Callable[[V], float], size: int, clock: Clock) -> None:
        """Keep a value for `life(value)` seconds, and `size` values at most."""

        def expires(_key: K, value: V, now: float) -> float:
            return now + life(value)

        self._values: TLRUCache[K, V] = TLRUCache(size, ttu=expires, timer=clock.monotonic)
        self._in_flight: dict[K, asyncio.Future[V]] = {}
        self._asked = 0

    async def get(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        """The value of `key`; whatever `ask` raises is raised to all who wait for it."""
        while True:
            if key in self._values:
                return self._values[key]
            asked = self._in_flight.get(key)
            if asked is None:
                return await self._ask(key, ask)
            # wait() leaves the future alone when this waiter is cancelled.
            await asyncio.wait((asked,))
            if not asked.cancelled():
                return asked.result()
            # Whoever asked was cancelled (its client left): the next one asks.

    async def _ask(self, key: K, ask: Callable[[], Awaitable[V]]) -> V:
        answer: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = answer
        self._asked += 1
        try:
            value = await ask()
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:
            answer.set_exception(error)
            answer.exception()  # Retrieved: nobody else may be waiting.
            raise
        finally:
            del self._in_flight[key]
        self._values[key] = value
        answer.set_result(value)
        return value

    def statistics(self) -> CacheStatistics:
        """Sizes as of now."""
        return CacheStatistics(
            held=len(self._values), in_flight=len(self._in_flight), asked=self._asked
        )
