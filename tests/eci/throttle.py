"""The documented limits per action. An action without a row has none here."""

from collections import Counter

from tests.eci.refusal import Refusal

PER_MINUTE = {
    "DescribeContainerGroupEvents": 10_000,
    "DescribeContainerGroupPrice": 1000,
    "DescribeContainerGroupStatus": 10_000,
    "DescribeContainerGroups": 2000,
    "DescribeContainerLog": 500,
    "ExecContainerCommand": 500,
    "RestartContainerGroup": 500,
}
BUCKETS = {"CreateContainerGroup": (100.0, 20.0), "DeleteContainerGroup": (100.0, 20.0)}
"""Capacity and refill per second."""


class Throttle:
    """Counts calls. Minutes are the clock's whole minutes, the harshest reading."""

    def __init__(self, *, scale: float = 1.0) -> None:
        """`scale` multiplies every limit."""
        self._scale = scale
        self._minutes: dict[str, tuple[int, int]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self.by_action: Counter[str] = Counter()
        """Calls that were thrown back, by action."""

    @property
    def refused(self) -> int:
        """Calls that were thrown back."""
        return self.by_action.total()

    def admit(self, action: str, now: float) -> None:
        """Count a call, or raise the Refusal."""
        if action in BUCKETS:
            self._bucket(action, now)
        elif action in PER_MINUTE:
            minute = int(now // 60)
            at, calls = self._minutes.get(action, (minute, 0))
            calls = calls if at == minute else 0
            if calls >= PER_MINUTE[action] * self._scale:
                raise self._refusal(action)
            self._minutes[action] = (minute, calls + 1)

    def _bucket(self, action: str, now: float) -> None:
        capacity, refill = (value * self._scale for value in BUCKETS[action])
        tokens, at = self._buckets.get(action, (capacity, now))
        tokens = min(capacity, tokens + (now - at) * refill)
        if tokens < 1:
            raise self._refusal(action)
        self._buckets[action] = (tokens - 1, now)

    def _refusal(self, action: str) -> Refusal:
        self.by_action[action] += 1
        return Refusal("Throttling.User", "Request was denied due to user flow control.")
