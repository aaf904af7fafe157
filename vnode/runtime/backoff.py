"""Exponential waiting times with jitter, capped. Owned by one loop of retries."""

import random

__all__ = ["Backoff"]


class Backoff:
    """Waiting times in seconds: `initial`, then `factor` times as long each, up to `maximum`.

    Each is spread evenly over +-`jitter` of itself, so that many clients do not return at once;
    the result never exceeds `maximum`.
    """

    def __init__(
        self,
        initial: float,
        maximum: float,
        *,
        factor: float = 2.0,
        jitter: float = 0.2,
        rng: random.Random,
    ) -> None:
        if not 0 < initial <= maximum or factor < 1 or not 0 <= jitter < 1:
            raise ValueError("need 0 < initial <= maximum, factor >= 1 and 0 <= jitter < 1")
        self._initial = initial
        self._maximum = maximum
        self._factor = factor
        self._jitter = jitter
        self._rng = rng
        self._current = initial

    def next(self) -> float:
        """Seconds to wait now; the following wait will be longer."""
        base = self._current
        self._current = min(self._maximum, base * self._factor)
        spread = self._rng.uniform(1 - self._jitter, 1 + self._jitter)
        return min(self._maximum, base * spread)

    def reset(self) -> None:
        """Start again at `initial`."""
        self._current = self._initial
