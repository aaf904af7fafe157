"""Which keys have to be reconciled: a queue that never holds a key twice.

Flow: listeners `add` keys, workers `get` one, reconcile it from the stores and call `done`. The
semantics are client-go's workqueue with controller-runtime's priorities:

* a key that is added while it waits is there once;
* a key that is added while it is being processed is queued again at its `done`, so no two workers
  ever have the same key and no change is lost;
* keys of different groups (tenant namespaces) take turns, and a group is given a worker only while
  it has less than twice as many as are free: two thirds at most, so that none can starve the
  others, not even one whose calls hang;
* what was begun (`Priority.HIGH`) goes before what is new, and live changes before those that were
  found by looking (`Priority.LOW`: listings, resyncs), but every tenth turn is theirs, so that none
  can starve; groups take turns within a priority. What is not HIGH has a third of the workers of a
  group alone at most: where beginning is slow, the rest still moves;
* `retry` waits longer each time (per key, 5 ms to 60 s, with jitter) until `forget`.

Everything is in memory and owned by one event loop. A reconcile that fails is logged and retried.
"""

import asyncio
import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, Never, TypeVar

import structlog

from vnode.kube.errors import ApiError, KubeError
from vnode.runtime.backoff import Backoff
from vnode.runtime.fair import FairLine

__all__ = [
    "Expected",
    "Priority",
    "QueueStatistics",
    "Result",
    "WorkQueue",
    "run_workers",
    "soonest",
]

K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger(__name__)

_PER_FREE_WORKER, _NEW_PER_FREE_WORKER = 2, 0.5
"""A group's workers, and those of its keys that are not HIGH, for each that is free."""
FIRST_RETRY = 0.005
LAST_RETRY = 60.0
_LEAST_DELAY = 0.001
"""Below the clock's resolution a key that waits for a time would come again and again before it."""


class Expected(Exception):
    """An error that is no bug: a reconcile that raises it is logged without a traceback."""


class Priority(IntEnum):
    """Which keys go first; the less, the sooner."""

    HIGH = 0
    """News of what was begun: where more is begun than done, it still ends."""
    NORMAL = 1
    LOW = 2
    """Found by a listing or a resync, not by a live change."""

    @classmethod
    def of(cls, *, initial: bool) -> "Priority":
        """Of a store's change (`vnode.runtime.store.Change`)."""
        return cls.LOW if initial else cls.NORMAL


_ORDER = tuple(Priority)
_ORDERS = (
    (Priority.LOW, Priority.NORMAL, Priority.HIGH),
    *[_ORDER] * 4,
    (Priority.NORMAL, Priority.LOW, Priority.HIGH),
    *[_ORDER] * 4,
)
"""Who goes before whom, turn by turn."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a successful reconcile wants: nothing, or to be called again after so many seconds."""

    requeue_after: float | None = None


def soonest(*seconds: float | None) -> Result:
    """To be called again after the shortest of these times; None: not because of this one."""
    waits = [s for s in seconds if s is not None]
    return Result(requeue_after=min(waits)) if waits else Result()


@dataclass(frozen=True, slots=True)
class QueueStatistics:
    """A moment of a queue."""

    depth: int
    """Keys that wait for a worker, low ones included."""
    depth_low: int
    oldest_age: float
    """Seconds that the longest waiting key has waited."""
    processing: int
    delayed: int
    """Keys that will be added later."""
    retrying: int
    """Keys that failed and have not succeeded since."""
    adds: int
    """Keys queued since the start."""
    retries: int
    """Calls of `retry` since the start."""


class WorkQueue(Generic[K]):
    """Keys to reconcile. Not thread-safe: one event loop owns it."""

    # Invariants: a key is in at most one of _lines, which _waiting tells, and _again; a key in
    # _again is in _processing, and a key in one of _lines is not. _busy and _new count _processing
    # by group, _new those that are not HIGH. _due has the one time that counts for a delayed key;
    # heap entries that differ from it are leftovers.

    def __init__(
        self,
        name: str,
        *,
        rng: random.Random,
        group: Callable[[K], Hashable] | None = None,
    ) -> None:
        """`group` says whose a key is: groups take turns. None: all keys are one group."""
        self.name = name
        self._rng = rng
        self._shared = group is not None
        self._group = group = group or _nobody
        self._workers: int | None = None
        self._lines: dict[Priority, FairLine[K, float]] = {  # with the time of adding
            priority: FairLine(group) for priority in Priority
        }
        self._waiting: dict[K, Priority] = {}
        self._processing: dict[K, Priority] = {}
        self._busy: Counter[Hashable] = Counter()
        self._new: Counter[Hashable] = Counter()
        self._again: dict[K, Priority] = {}
        self._due: dict[K, tuple[float, Priority]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._backoffs: dict[K, Backoff] = {}
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._turn = 0
        self._adds = 0
        self._retries = 0

    def share(self, workers: int) -> None:
        """Say how many workers there are to be shared among groups; before that nobody counts."""
        self._workers = workers

    def add(self, key: K, priority: Priority = Priority.NORMAL) -> None:
        """Queue a key; one that waits already is there once, with the better priority."""
        if key in self._processing:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        since = None
        if (before := self._waiting.get(key)) is not None:
            if before <= priority:
                return
            since = self._lines[before].remove(key)
        if since is None:
            self._adds += 1
            since = self._now()
        self._waiting[key] = priority
        self._lines[priority].put(key, since)
        self._wake_one()

    def add_after(self, key: K, seconds: float) -> None:
        """Add a key later. Of several such calls for one key the earliest counts.

        One that is being processed comes back with the priority that it was taken with.
        """
        priority = min(Priority.NORMAL, self._processing.get(key, Priority.NORMAL))
        if seconds <= 0:
            self.add(key, priority)
            return
        due = self._now() + max(seconds, _LEAST_DELAY)
        if key in self._due:
            earlier, other = self._due[key]
            priority = min(priority, other)
            if earlier <= due:
                self._due[key] = (earlier, priority)
                return
        self._due[key] = (due, priority)
        heapq.heappush(self._heap, (due, next(self._sequence), key))
        self._arm()

    async def get(self) -> K:
        """Take the next key, waiting for one; call `done` with it."""
        while (key := self._take()) is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            except asyncio.CancelledError:
                # The wake-up may have been for us already: pass it on.
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()
                raise
            finally:
                self._waiters.pop(waiter, None)
        if self._waiting:
            self._wake_one()
        return key

    def _take(self) -> K | None:
        for priority in _ORDERS[(self._turn + 1) % len(_ORDERS)]:
            if not (line := self._lines[priority]):
                continue
            may = self._may_have_a_worker if priority is Priority.HIGH else self._may_begin
            try:
                key, _ = line.take(may)
            except KeyError:
                continue
            self._turn += 1
            del self._waiting[key]
            self._processing[key] = priority
            group = self._group(key)
            self._busy[group] += 1
            self._new[group] += priority is not Priority.HIGH
            return key
        return None

    def _may_have_a_worker(self, group: Hashable) -> bool:
        # A group that may not has two workers at least, so few are passed over.
        return self._busy[group] < _PER_FREE_WORKER * self._free()

    def _may_begin(self, group: Hashable) -> bool:
        may = self._new[group] < _NEW_PER_FREE_WORKER * self._free()
        return may and self._may_have_a_worker(group)

    def _free(self) -> float:
        if self._workers is None or not self._shared:
            return math.inf
        return max(1, self._workers - len(self._processing))

    def done(self, key: K) -> None:
        """The worker is through with a key; it is queued again if it was added meanwhile."""
        if (priority := self._processing.pop(key, None)) is not None:
            self._leave(self._group(key), priority)
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, again)
        elif self._waiting:
            self._wake_one()  # Its group may have a worker again.

    def _leave(self, group: Hashable, priority: Priority) -> None:
        self._busy[group] -= 1
        self._new[group] -= priority is not Priority.HIGH
        if not self._busy[group]:
            del self._busy[group], self._new[group]

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Add a failed key after a time that grows with each failure; returns the seconds."""
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(FIRST_RETRY, LAST_RETRY, rng=self._rng)
        delay = max(backoff.next(), at_least)
        self._retries += 1
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key succeeded (or is given up): its next failure counts as the first."""
        self._backoffs.pop(key, None)

    def statistics(self) -> QueueStatistics:
        """Figures as of now."""
        lines = self._lines.values()
        oldest = min((since for line in lines for since in line.values()), default=None)
        return QueueStatistics(
            depth=len(self._waiting),
            depth_low=len(self._lines[Priority.LOW]),
            oldest_age=0.0 if oldest is None else self._now() - oldest,
            processing=len(self._processing),
            delayed=len(self._due),
            retrying=len(self._backoffs),
            adds=self._adds,
            retries=self._retries,
        )

    @staticmethod
    def _now() -> float:
        # The loop's own clock, since the loop's timers fire by it.
        return asyncio.get_running_loop().time()

    def _wake_one(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                return

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._heap[0][0], self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._now()
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            at, priority = self._due.get(key, (None, Priority.NORMAL))
            if at == due:
                del self._due[key]
                self.add(key, priority)
        self._arm()


def _nobody(_: object) -> None:
    """The group of all keys where there are no groups."""


async def run_workers(
    queue: WorkQueue[K],
    reconcile: Callable[[K], Awaitable[Result]],
    *,
    workers: int,
    name: str,
) -> Never:
    """Reconcile keys with so many workers until cancelled.

    An exception is logged and the key retried (after `retry_after`, where the API server named
    one).
    """
    queue.share(workers)
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(_work(queue, reconcile, name), name=f"{name} {number}")
    raise AssertionError("workers ended by themselves")


async def _work(
    queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[Result]], name: str
) -> Never:
    while True:
        key = await queue.get()
        try:
            result = await reconcile(key)
        except ApiError as error:
            delay = queue.retry(key, at_least=error.retry_after or 0.0)
            _log.warning(
                "reconcile failed", worker=name, key=str(key), error=str(error), retry_in=delay
            )
        except Exception as error:
            delay = queue.retry(key)
            _log.warning(
                "reconcile failed",
                worker=name,
                key=str(key),
                error=str(error),
                kind=type(error).__name__,
                retry_in=delay,
                exc_info=not isinstance(error, KubeError | Expected),
            )
        else:
            queue.forget(key)
            if result.requeue_after is not None:
                queue.add_after(key, result.requeue_after)
        finally:
            queue.done(key)
