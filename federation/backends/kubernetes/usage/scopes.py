"""Asks many places of a compute cluster at once: its nodes, or its namespaces.

In: names of places and a call for one of them. Out: the answers, and which places gave none. The
number of calls at a time, the time of one and the time of all are bounded. A place that fails is
left alone for half a minute: a node that is down must not make every scrape wait. One that refuses
is asked again after five seconds, then after twice as long each time, up to ten minutes: the right
may just have been granted. Places are named in our logs only.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from vnode.kube.errors import ApiError, Forbidden, KubeError, NotFound
from vnode.runtime.clock import Clock

__all__ = ["CALL_SECONDS", "Answers", "Scopes"]

_LOG = structlog.get_logger(__name__)

CALL_SECONDS = 3.5
_ALL_SECONDS = 4.0
_AT_ONCE = 16
_REFUSED_SECONDS = (5.0, 600.0)
_FAILED_SECONDS = 30.0
_JITTER = 0.1
_NOT_THERE = frozenset({404, 405, 501})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """What the places said."""

    given: dict[str, T]
    refused: set[str]
    """No right, or no such API there."""
    failed: set[str]


@dataclass(frozen=True, slots=True)
class _Pause:
    until: float
    refused: bool
    seconds: float


class Scopes:
    """One kind of places of one compute cluster, and which of them are left alone for now."""

    def __init__(
        self, *, source: str, cluster: str, advice: str, clock: Clock, rng: random.Random
    ) -> None:
        """Nothing is asked yet; `advice` says in the log which right is missing."""
        self._source = source
        self._cluster = cluster
        self._advice = advice
        self._clock = clock
        self._rng = rng
        self._pauses: dict[str, _Pause] = {}

    async def ask(self, scopes: Iterable[str], call: Callable[[str], Awaitable[T]]) -> Answers[T]:
        """Call each place that is not left alone."""
        wanted = set(scopes)
        now = self._clock.monotonic()
        before, self._pauses = self._pauses, {}
        for scope in wanted & before.keys():
            if before[scope].until > now:
                self._pauses[scope] = before[scope]
        given: dict[str, T] = {}
        errors: dict[str, KubeError] = {}
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(scope: str) -> None:
            async with limit:
                try:
                    given[scope] = await call(scope)
                except KubeError as error:
                    errors[scope] = error

        order = sorted(wanted - self._pauses.keys())
        self._rng.shuffle(order)  # Where time does not suffice, it is not always the same ones.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ALL_SECONDS), asyncio.TaskGroup() as tasks:
                for scope in order:
                    tasks.create_task(one(scope))
        for scope, error in errors.items():
            self._pauses[scope] = self._pause(error, before.get(scope))
        self._tell(errors, given, before)
        refused = {scope for scope, pause in self._pauses.items() if pause.refused}
        return Answers(given, refused, wanted - given.keys() - refused)

    def _pause(self, error: KubeError, before: _Pause | None) -> _Pause:
        refused = _is_refusal(error)
        seconds = _FAILED_SECONDS
        if refused:
            first, longest = _REFUSED_SECONDS
            seconds = min(longest, 2 * before.seconds) if before and before.refused else first
        jitter = 1 + self._rng.uniform(-_JITTER, _JITTER)
        return _Pause(self._clock.monotonic() + seconds * jitter, refused, seconds)

    def _tell(
        self, errors: dict[str, KubeError], given: dict[str, T], before: dict[str, _Pause]
    ) -> None:
        """One line for all places that began to refuse, to fail, or to answer again."""
        if again := given.keys() & before.keys():
            _LOG.info(
                "usage is answered again",
                cluster=self._cluster,
                source=self._source,
                places=len(again),
            )
        for refused in (True, False):
            new = sorted(
                scope
                for scope in errors
                if self._pauses[scope].refused is refused
                and (scope not in before or before[scope].refused is not refused)
            )
            if new:
                _LOG.warning(
                    "usage is not readable" if refused else "usage was not answered",
                    cluster=self._cluster,
                    source=self._source,
                    places=len(new),
                    first=new[0],
                    why=str(errors[new[0]]),
                    **({"advice": self._advice} if refused else {}),
                )


def _is_refusal(error: KubeError) -> bool:
    """Asking again soon will not help: no right, or nobody there who knows the path."""
    if isinstance(error, NotFound):
        return False  # The object is gone, not the API.
    return isinstance(error, Forbidden) or (
        isinstance(error, ApiError) and error.code in _NOT_THERE
    )
