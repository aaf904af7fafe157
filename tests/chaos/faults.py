"""Breaks things, and puts them right again: every fault undoes itself before its task ends.

In: `Fault`s. Out: signals to processes, weather on links, deletions below. Faults overlap; those of
one process wait for each other. Owned by the run, which starts one task a fault.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tests.chaos.api import Refused
from tests.chaos.ledger import UID
from tests.chaos.link import Weather
from tests.chaos.plan import Fault, FaultKind, refusal
from tests.e2e.user import BELOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.history import History
    from tests.chaos.site import Site
    from tests.chaos.work import Work

API_SERVER = "kube-apiserver"
_LATENCY = 0.15
_BURST = 4
_AT_MOST_COPIES = 3


class Faults:
    """Everything that can be done to a site."""

    def __init__(self, site: Site, work: Work, histories: Mapping[str, History]) -> None:
        self._site = site
        self._work = work
        self._histories = histories
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.done: Counter[str] = Counter()

    async def happen(self, fault: Fault, number: int) -> None:
        """Break it, wait, put it right."""
        todo = {
            FaultKind.KILL_AGENT: self._kill_agent,
            FaultKind.FREEZE_AGENT: self._freeze_agent,
            FaultKind.KILL_API: self._kill_api,
            FaultKind.FREEZE_API: self._freeze_api,
            FaultKind.DELETE_COPIES: self._delete_copies,
            FaultKind.FORCE_COPIES: self._delete_copies,
            FaultKind.COMPACT: self._compact,
        }
        if fault.kind is FaultKind.WHILE_DEAD:
            await self._delete_while_dead(fault, number)
        elif fault.kind in todo:
            await todo[fault.kind](fault)
        else:
            async with self._site.links[fault.target].suffering(_weather(fault)):
                await asyncio.sleep(fault.lasts)
        self.done[fault.kind] += 1

    async def _kill_agent(self, fault: Fault) -> None:
        async with self._site.dead(fault.pick % len(self._site.agents)):
            await asyncio.sleep(fault.lasts / 2)

    async def _freeze_agent(self, fault: Fault) -> None:
        agent = self._site.agents[fault.pick % len(self._site.agents)]
        if not agent.alive:
            return
        pid = agent.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(fault.lasts)
        finally:
            with contextlib.suppress(ProcessLookupError):  # Killed meanwhile.
                os.kill(pid, signal.SIGCONT)

    async def _kill_api(self, fault: Fault) -> None:
        cluster = self._site.clusters[fault.target]
        async with self._locks[fault.target]:
            await asyncio.to_thread(cluster.stop, API_SERVER, hard=True)
            try:
                await asyncio.sleep(fault.lasts / 2)
            finally:
                await asyncio.to_thread(cluster.start, API_SERVER)

    async def _freeze_api(self, fault: Fault) -> None:
        cluster = self._site.clusters[fault.target]
        assert cluster.table is not None
        async with self._locks[fault.target]:
            process = cluster.table.get(cluster.name, API_SERVER).identity
            process.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(fault.lasts)
            finally:
                process.signal(signal.SIGCONT)

    async def _delete_copies(self, fault: Fault) -> None:
        """Somebody below deletes some, the youngest first."""
        grace = 0 if fault.kind is FaultKind.FORCE_COPIES else fault.pick % 3 + 1
        await self._delete(fault.target, self._youngest(fault.target, fault.pick), grace=grace)

    async def _delete_while_dead(self, fault: Fault, number: int) -> None:
        """Of pods that were just made, and whose first status may not have been written yet."""
        names = [f"fresh-{number}-{each}" for each in range(_BURST)]
        with contextlib.suppress(Refused):
            await self._work.burst(fault.target, names)
        await asyncio.sleep(fault.lasts / 4)
        async with self._site.dead(*range(len(self._site.agents))):
            await asyncio.sleep(0.1)
            names += self._youngest(fault.target, fault.pick)
            await self._delete(fault.target, names, grace=fault.pick % 2)
            await self._work.abandon(fault.pick, names)
            await asyncio.sleep(fault.lasts / 4)

    async def _delete(self, cluster: str, names: list[str], *, grace: int) -> None:
        for name in dict.fromkeys(names):
            with contextlib.suppress(Refused):
                await self._site.apis[cluster].delete("pods", BELOW, name, grace=grace)

    def _youngest(self, cluster: str, pick: int) -> list[str]:
        copies = self._histories[cluster].of("pods", BELOW)
        ours = [n for n, c in copies.items() if UID in c["metadata"].get("annotations", {})]
        ours.sort(key=lambda name: copies[name]["metadata"]["creationTimestamp"], reverse=True)
        return ours[: 1 + pick % _AT_MOST_COPIES]

    async def _compact(self, fault: Fault) -> None:
        await self._histories[fault.target].compact()


def _weather(fault: Fault) -> Weather:
    match fault.kind:
        case FaultKind.CUT:
            return Weather(cut=True)
        case FaultKind.BLACKHOLE:
            return Weather(silent=True)
        case FaultKind.ONE_WAY:
            return Weather(deaf=True)
        case FaultKind.SLOW:
            return Weather(latency=_LATENCY)
        case FaultKind.REFUSE:
            return Weather(refuse=refusal(fault))
        case FaultKind.LOSE:
            return Weather(lose=True)
    raise ValueError(f"{fault.kind} is no weather")
