"""Rounds, one after the other: work and faults, then quiet, then the verdict.

In: a site and options. Out: a `Report`, filled as rounds end. Everything here is tasks of one event
loop; whatever blocks (starting and killing processes) is in threads. A fault of the run itself (an
API server that does not start, a watch that etcd ends) is an exception, never a verdict.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.api import Refused
from tests.chaos.audit import AuditLog
from tests.chaos.faults import Faults
from tests.chaos.history import History
from tests.chaos.judge import Judge
from tests.chaos.plan import TENANT, Act, Fault, plan
from tests.chaos.report import LONG, Report, waited_for
from tests.chaos.rules import Violation
from tests.chaos.settle import Scene, differences
from tests.chaos.upkeep import Upkeep
from tests.chaos.work import Work
from tests.e2e.user import BELOW
from tests.e2e.workloads import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.chaos.history import Version
    from tests.chaos.plan import Round
    from tests.chaos.site import Site

_SETTLED_WITHIN = 90.0
_POLL = 0.25
_TWICE = 2
"""Polls in a row that have to find everything settled."""
_READY_WITHIN = 60.0
_MOST_UNSETTLED = 2
"""Rounds that do not settle; after these the run ends."""
_DATA = ("configmaps", "secrets")


@dataclass(frozen=True)
class Options:
    """What a run is asked for."""

    rounds: int
    seed: int
    minutes: float = math.inf
    """After which no further round begins."""
    strict: bool = False
    broken: str | None = None
    stop: bool = False
    """End with the first round that has a violation."""


class _Said:
    """What the agents' logs say, read on from where it was."""

    def __init__(self, files: list[Path]) -> None:
        self._at = dict.fromkeys(files, 0)

    def news(self) -> list[tuple[str, str]]:
        """New text of each."""
        found = []
        for file, at in self._at.items():
            if not file.exists():
                continue
            with file.open("rb") as log:
                log.seek(at)
                text = log.read()
            self._at[file] += len(text)
            found.append((file.stem, text.decode(errors="replace")))
        return found


class Run:
    """One run against an open site."""

    def __init__(self, site: Site, options: Options, progress: Callable[[str], None]) -> None:
        self._site = site
        self._options = options
        self._progress = progress
        self._unsettled_rounds = 0
        self._looks: Counter[str] = Counter()
        self._upkeep = Upkeep(site)
        self.report = Report(
            options.seed, len(site.agents), strict=options.strict, broken=options.broken
        )

    async def go(self) -> Report:
        """All rounds."""
        site = self._site
        parties = await site.parties()
        self._judge = Judge(parties, strict=self._options.strict)
        self._histories = {
            name: History(name, _etcd(cluster), self._heard)
            for name, cluster in site.clusters.items()
        }
        self._audits = [AuditLog(n, _audit_log(cluster)) for n, cluster in site.clusters.items()]
        site.started = self._judge.agent_started
        self._said = _Said([agent.log for agent in site.agents])
        self._work = Work(
            site.apis[TENANT],
            {name: site.apis[name] for name in site.computes},
            histories=self._histories,
            pods=self._pods,
            seed=self._options.seed,
            tell_secret=self._judge.secret,
        )
        self._faults = Faults(site, self._work, self._histories)
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(history.run()) for history in self._histories.values()]
            for number in range(len(site.agents)):
                site.start(number)
            await asyncio.to_thread(site.agents[0].wait_ready, timeout=_READY_WITHIN)
            beside.append(tasks.create_task(site.watch_agents()))
            await self._work.begin()
            await self._rounds()
            for task in beside:
                task.cancel()
        return self.report

    async def _rounds(self) -> None:
        began = time.monotonic()
        for number in range(self._options.rounds):
            if time.monotonic() - began > self._options.minutes * 60:
                return
            await self._round(plan(self._options.seed, number, self._site.computes))
            self._count(number + 1, time.monotonic() - began)
            if self._options.stop and not self.report.passed:
                return
            if self._unsettled_rounds >= _MOST_UNSETTLED:
                self._progress("given up: it does not settle any more")
                return

    async def _round(self, planned: Round) -> None:
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for act in planned.acts:
                tasks.create_task(self._act(act))
            for fault in planned.faults:
                tasks.create_task(self._fault(fault, planned.number))
        broken = time.monotonic() - began
        left = await self._settle(planned.number)
        found = self._verdict()
        if left:
            self._unsettled_rounds += 1
            found.append(self._unsettled(left))
        took = time.monotonic() - began
        self.report.slowest = max(self.report.slowest, took)
        self.report.violations += [(planned.number, violation) for violation in found]
        what = ", ".join(f"{f.kind} ({f.target})" for f in planned.faults)
        verdict = f"{len(found)} VIOLATIONS" if found else "ok"
        self._progress(
            f"round {planned.number}: {took:.1f} s ({broken:.1f} + {took - broken:.1f}), "
            f"{len(self._pods())} pods: {what}: {verdict}"
        )
        if took > LONG:
            waited = waited_for(self._looks)
            self.report.long.append(f"round {planned.number}: {took:.1f} s: {what}; {waited}")
            self._progress(f"  {waited}")
        for violation in found:
            self._progress(f"  {violation.rule}: {violation.text}")

    async def _act(self, act: Act) -> None:
        await asyncio.sleep(act.at)
        await self._work.act(act)

    async def _fault(self, fault: Fault, number: int) -> None:
        await asyncio.sleep(fault.at)
        await self._faults.happen(fault, number)

    async def _settle(self, number: int) -> list[str]:
        """Wait until nothing differs; what differs at the end of patience."""
        deadline, self._looks = time.monotonic() + _SETTLED_WITHIN, Counter()
        probed, quiet, left = False, 0, ["no probe could be made"]
        while time.monotonic() < deadline:
            if not probed:
                with contextlib.suppress(Refused):
                    await self._work.probe(number)
                    probed = True
            await self._site.heal()
            await self._work.remove_namesakes()
            await self._upkeep.look(self._scene())
            await asyncio.sleep(_POLL)
            left = differences(self._scene()) if probed else left
            self._looks.update(left)
            quiet = quiet + 1 if not left else 0
            if quiet >= _TWICE:
                break
        return left

    def _verdict(self) -> list[Violation]:
        for audit in self._audits:
            for request in audit.news():
                self._judge.request(request)
        for source, text in self._said.news():
            self._judge.text(f"the log of {source}", text)
        return self._judge.verdict()

    def _unsettled(self, left: list[str]) -> Violation:
        uids = {uid for uid in self._judge.ledger.pods if any(uid in line for line in left)}
        evidence = [line for uid in sorted(uids) for line in self._judge.ledger.evidence(uid)]
        text = f"not settled after {_SETTLED_WITHIN:.0f} s: " + "; ".join(left)
        return Violation("settles", "settles", text, tuple(evidence[-40:]))

    def _count(self, rounds: int, seconds: float) -> None:
        report, ledger = self.report, self._judge.ledger
        report.rounds, report.seconds = rounds, seconds
        report.faults, report.acts = self._faults.done, self._work.done
        report.refused = self._work.refused
        report.pods, report.copies = len(ledger.pods), len(ledger.copies)
        report.requests = self._judge.requests
        report.garbled = sum(audit.garbled for audit in self._audits)
        report.restarts = self._site.ended
        report.reminded = len(self._upkeep.reminded)
        report.roused = self._upkeep.roused
        report.windows = len(self._judge.windows)

    def _heard(self, version: Version) -> None:
        if version.namespace in (NAMESPACE, BELOW):
            self._judge.version(version)

    def _pods(self) -> Mapping[str, Mapping[str, Any]]:
        return self._histories[TENANT].of("pods", NAMESPACE)

    def _scene(self) -> Scene:
        below = {name: self._histories[name] for name in self._site.computes}
        return Scene(
            pods=self._pods(),
            copies={name: history.of("pods", BELOW) for name, history in below.items()},
            data={kind: self._histories[TENANT].of(kind, NAMESPACE) for kind in _DATA},
            data_below={
                name: {kind: history.of(kind, BELOW) for kind in _DATA}
                for name, history in below.items()
            },
            cluster_uid=self._judge.ledger.parties.cluster_uid,
        )


def _etcd(cluster: Any) -> str:
    assert cluster.control_plane is not None
    return str(cluster.control_plane.etcd_url)


def _audit_log(cluster: Any) -> Path:
    assert cluster.audit_log is not None
    path: Path = cluster.audit_log
    return path
