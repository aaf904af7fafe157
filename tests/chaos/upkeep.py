"""Does for the simulated side of clusters what kubelets and their restarts do on real ones.

In: scenes while a round settles. Out: copies that kwok forgot are changed, so that it looks again;
a scheduler or kwok that lets pods wait is started anew. Both wait up to half a minute, longer than
a round, before they ask an API server again that was killed. What was done is counted: a run says
so, and nothing of it helps an agent that does not do its part.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.chaos.api import Refused
from tests.chaos.settle import overdue, unattended
from tests.e2e.user import BELOW

if TYPE_CHECKING:
    from tests.chaos.settle import Scene
    from tests.chaos.site import Site

_REMIND_EVERY = 10.0
_ROUSED_AFTER = 5.0
"""A scheduler binds, and kwok starts, in much less than a second."""


class Upkeep:
    """Of all clusters of a site. Owned by the run."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.reminded: dict[str, float] = {}
        """UIDs of copies, and when kwok was reminded of them."""
        self.roused: Counter[str] = Counter()
        """Components that were started anew."""
        self._since: dict[tuple[str, str], float] = {}
        """Since when pods wait for a component of a cluster."""

    async def look(self, scene: Scene) -> None:
        """Once for each poll of a round that settles."""
        await self._remind(scene)
        await self._rouse(scene)

    async def _remind(self, scene: Scene) -> None:
        for cluster, name, uid in overdue(scene, now=datetime.now(UTC)):
            if time.monotonic() - self.reminded.get(uid, -math.inf) < _REMIND_EVERY:
                continue
            self.reminded[uid] = time.monotonic()
            notes = {"tests/look": str(self.reminded[uid])}
            with contextlib.suppress(Refused):
                change = {"metadata": {"uid": uid, "annotations": notes}}
                await self._site.apis[cluster].patch("pods", BELOW, name, change)

    async def _rouse(self, scene: Scene) -> None:
        now = time.monotonic()
        self._since = {each: self._since.get(each, now) for each in unattended(scene)}
        for (cluster, component), since in self._since.items():
            if now - since < _ROUSED_AFTER:
                continue
            self.roused[f"{cluster}: {component}"] += 1
            self._since[cluster, component] = time.monotonic()
            await asyncio.to_thread(self._site.clusters[cluster].stop, component, hard=True)
            await asyncio.to_thread(self._site.clusters[cluster].start, component)
