"""How late the agent's event loop was, from its own metrics. Pure but for `LagMark`.

In: text of the agent's `/metrics`. Out: how many wake-ups came
at most so late, and the lateness that a share of them does not exceed. Another virtual kubelet has
no such metric, and no lag is shown for it.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from tests.bench.site import Site

_METRIC = "vnode_event_loop_lag_seconds"


def late(text: str) -> Counter[float]:
    """Wake-ups by the bound of their bucket, in seconds."""
    found: Counter[float] = Counter()
    below = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{_METRIC}_bucket":
                found[float(sample.labels["le"])] = int(sample.value) - below
                below = int(sample.value)
    return found


def not_exceeded(found: Counter[float], share: float) -> float:
    """The bound in seconds that so great a share of wake-ups keeps; NaN of none."""
    passed = 0
    for bound in sorted(found):
        passed += found[bound]
        if passed and passed >= share * found.total():
            return bound
    return math.nan


class LagMark:
    """Every wake-up from now on."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._before = self._now()

    def late(self) -> Counter[float]:
        """Until now."""
        return self._now() - self._before

    def _now(self) -> Counter[float]:
        scraper = self._site.scraper
        return late(scraper.text()) if scraper else Counter()
