"""The calls that the account may make: one budget for everything that talks to the ECI API.

In: the name of an action, before each call; the news that one was throttled or not, after it. Out:
permission, after a wait in the order of asking. Owned by the client; one per account and region.
Limits are per action (docs/eci.md); other programs use up the same account's, so a rate is halved
when the service throttles and grows back slowly while it does not (AIMD).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.backends.eci.errors import Throttled
from vnode.runtime.clock import Clock

__all__ = ["DOCUMENTED", "UNKNOWN", "Budget", "BudgetStatistics", "Limit"]


@dataclass(frozen=True)
class Limit:
    """A token bucket: `burst` calls at once, then `rate` calls a second."""

    rate: float
    burst: int


def _a_minute(calls: int, *, burst: int | None = None) -> Limit:
    # How the service counts a minute is unknown. No minute, wherever it begins, may have more than
    # `calls`: what goes at once is taken off what follows evenly.
    at_once = calls // 60 if burst is None else burst
    return Limit(rate=(calls - at_once) / 60, burst=at_once)


DOCUMENTED: Mapping[str, Limit] = {
    "CreateContainerGroup": _a_minute(1000, burst=100),
    "DeleteContainerGroup": _a_minute(1000, burst=100),
    "DescribeContainerGroupEvents": _a_minute(10_000),
    "DescribeContainerGroupPrice": _a_minute(1000),
    "DescribeContainerGroupStatus": _a_minute(10_000),
    "DescribeContainerGroups": _a_minute(2000),
    "DescribeContainerLog": _a_minute(500),
    "ExecContainerCommand": _a_minute(500),
    "RestartContainerGroup": _a_minute(500),
}
"""Where the service's own pages differ (docs/eci.md), the lower one."""
UNKNOWN = _a_minute(500)
"""For actions whose limit is not documented: the lowest of those that are."""

_SLOWEST = 0.05
"""The smallest part of the limit that a rate sinks to."""
_GROWTH = 0.02
"""The part of the limit that a rate gains by each call that was not throttled."""
_ONE_BLOW = 1.0
"""Seconds in which many throttled calls count as one: they were on the way together."""


@dataclass(frozen=True)
class BudgetStatistics:
    """One action's part of the budget."""

    rate: float
    """Calls a second at present."""
    throttled: int
    """Calls that the service threw back so far."""


class _Bucket:
    """One action. Times are monotonic seconds."""

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.rate = limit.rate
        self.throttled = 0
        self._full_at = float("-inf")
        """When the bucket will be full again, if nobody takes more out of it."""
        self._slowed_at = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until a call that asks now may go."""
        empty_for = max(self._full_at, now) + 1 / self.rate - self.limit.burst / self.rate - now
        return max(0.0, empty_for)

    def take(self, now: float) -> None:
        self._full_at = max(self._full_at, now) + 1 / self.rate

    def slow(self, now: float) -> None:
        self.throttled += 1
        if now - self._slowed_at < _ONE_BLOW:
            return
        self._slowed_at = now
        self.rate = max(self.limit.rate * _SLOWEST, self.rate / 2)
        # What the service threw back says that its bucket is empty, whatever ours believes.
        self._full_at = max(self._full_at, now + self.limit.burst / self.rate)

    def grow(self) -> None:
        self.rate = min(self.limit.rate, self.rate + self.limit.rate * _GROWTH)


class Budget:
    """Who may call when. `share` is the part of the account's limits that is ours (0 to 1]."""

    def __init__(
        self, *, clock: Clock, limits: Mapping[str, Limit] = DOCUMENTED, share: float = 1.0
    ) -> None:
        if not 0 < share <= 1:
            raise ValueError("share must be more than 0 and at most 1")
        self._clock = clock
        self._limits = limits
        self._share = share
        self._buckets: dict[str, _Bucket] = {}

    async def take(self, action: str, *, patience: float) -> None:
        """Return when the action may be called.

        Raises:
            Throttled: that would take longer than `patience` seconds. Nothing was taken.
        """
        bucket, now = self._bucket(action), self._clock.monotonic()
        wait = bucket.wait(now)
        if wait > patience:
            raise Throttled(
                f"{action}: our own budget has no room for {wait:.0f} s; the call was not made"
            )
        bucket.take(now)
        if wait:
            await self._clock.sleep(wait)

    def wait(self, action: str) -> float:
        """Seconds until a call that is asked for now may go."""
        return self._bucket(action).wait(self._clock.monotonic())

    def rate(self, action: str) -> float:
        """Calls a second at present."""
        return self._bucket(action).rate

    def throttled(self, action: str) -> None:
        """The service threw a call back."""
        self._bucket(action).slow(self._clock.monotonic())

    def answered(self, action: str) -> None:
        """The service took a call, whatever it made of it."""
        self._bucket(action).grow()

    def statistics(self) -> dict[str, BudgetStatistics]:
        """By action, for those that were called."""
        return {
            action: BudgetStatistics(rate=bucket.rate, throttled=bucket.throttled)
            for action, bucket in self._buckets.items()
        }

    def _bucket(self, action: str) -> _Bucket:
        if action not in self._buckets:
            limit = self._limits.get(action, UNKNOWN)
            ours = Limit(
                rate=limit.rate * self._share, burst=max(1, int(limit.burst * self._share))
            )
            self._buckets[action] = _Bucket(ours)
        return self._buckets[action]
