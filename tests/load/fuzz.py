"""Nonsense at the kubelet API of a virtual node, for a while.

In: a running site. Attacks of all kinds run beside each other, and so many silent connections are
held, while the watchdog asks. Out: whether every question was answered in time, and whether the
agent is the same process afterwards, with the descriptors of before, bounded memory and no
traceback in its log.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.load.attacks import ATTACKS
from tests.load.victim import HalfOpen, Victim, half_open
from tests.load.watchdog import LONGEST, Watch, ask_healthz, ask_logs
from tests.measuring import footprint
from tests.measuring.report import Report, Table, Target, mebibytes, milliseconds, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.load.site import Site
    from tests.measuring.footprint import Footprint

    Progress = Callable[[str], None]

_WORKERS = 24
_ATTACK_SECONDS = 15.0
_REPORT_SECONDS = 10.0
_SETTLE_SECONDS = 150.0
_MOST_GROWTH = 64 << 20
"""Bytes of memory that attacks may leave behind, besides what silent connections take."""
_MOST_PER_SILENT = 128 << 10
"""Bytes; TLS takes them before anybody is known."""
_MOST_LATE_GROWTH = 32 << 20
"""Bytes by which memory may grow in the second half, when everything has happened before."""
_MOST_LOG = 256
"""Bytes of the agent's log per attack."""
_ACCOUNT = "load-watchdog"
_RIGHTS = ("--verb=*", "--resource=nodes/proxy,nodes/healthz,nodes/pods,nodes/metrics,nodes/stats")


@dataclass
class _Course:
    """What happened meanwhile."""

    watches: tuple[Watch, Watch]
    counts: Counter[str] = field(default_factory=Counter)
    most_idle: int = 0
    opened_idle: int = 0
    most_resident: int = 0
    middle_resident: int = 0
    most_descriptors: int = 0


async def measure(
    site: Site, *, seconds: float, idle: int, seed: int, progress: Progress
) -> Report:
    """Attack for so many seconds, with `idle` silent connections."""
    host, port = await asyncio.to_thread(site.kubelet)
    with _credentials(site) as token:
        victim = Victim(host, port, ("", token), tuple(site.pods))
        log_before = site.log.stat().st_size
        pid = site.agent.pid
        before = footprint.of(pid)
        course = _Course((Watch("/healthz"), Watch("kubectl logs")))
        await _run(
            site,
            victim,
            token=token,
            course=course,
            seconds=seconds,
            idle=idle,
            seed=seed,
            progress=progress,
        )
        progress("waiting until the agent has closed everything")
        after = await footprint.settled(pid, most=before.descriptors, timeout=_SETTLE_SECONDS)
    written = site.log.read_bytes()[log_before:]
    return _report(course, site, before=before, after=after, written=written)


@contextmanager
def _credentials(site: Site) -> Iterator[str]:
    """A token with all rights on the kubelet API."""
    user = site.user
    account = f"--serviceaccount={user.namespace}:{_ACCOUNT}"
    user.kubectl("create", "serviceaccount", _ACCOUNT)
    user.kubectl("create", "clusterrole", _ACCOUNT, *_RIGHTS)
    user.kubectl("create", "clusterrolebinding", _ACCOUNT, f"--clusterrole={_ACCOUNT}", account)
    try:
        yield user.kubectl("create", "token", _ACCOUNT).strip()
    finally:
        user.kubectl("delete", "clusterrolebinding,clusterrole", _ACCOUNT)
        user.kubectl("delete", "serviceaccount", _ACCOUNT)


async def _run(
    site: Site,
    victim: Victim,
    *,
    token: str,
    course: _Course,
    seconds: float,
    idle: int,
    seed: int,
    progress: Progress,
) -> None:
    healthz, logs = course.watches
    command = site.user.command("logs", site.pods[0])
    deadline = time.monotonic() + seconds
    async with half_open(victim, idle) as held, asyncio.TaskGroup() as group:
        watchdogs = [
            group.create_task(ask_healthz(victim, token, healthz)),
            group.create_task(ask_logs(command, "ready", logs)),
            group.create_task(_hold(held, course)),
            group.create_task(_look(site, course, seconds=seconds, progress=progress)),
        ]
        async with asyncio.TaskGroup() as attackers:
            for worker in range(_WORKERS):
                source = random.Random(f"{seed} {worker}")
                attackers.create_task(_attack(victim, source, deadline=deadline, course=course))
        for watchdog in watchdogs:
            watchdog.cancel()


async def _attack(
    victim: Victim, source: random.Random, *, deadline: float, course: _Course
) -> None:
    while time.monotonic() < deadline:
        attack = source.choice(ATTACKS)
        name = attack.__name__
        try:
            async with asyncio.timeout(_ATTACK_SECONDS):
                await attack(victim, source)
        except (OSError, EOFError, TimeoutError):
            pass  # whatever the server does with it is right
        course.counts[name] += 1


async def _hold(held: HalfOpen, course: _Course) -> None:
    while True:
        course.most_idle = max(course.most_idle, await held.renew())
        course.opened_idle = held.opened
        await asyncio.sleep(0.5)


async def _look(site: Site, course: _Course, *, seconds: float, progress: Progress) -> None:
    began = said = time.monotonic()
    while True:
        now = footprint.of(site.agent.pid)
        course.most_resident = max(course.most_resident, now.resident)
        if not course.middle_resident and time.monotonic() - began >= seconds / 2:
            course.middle_resident = now.resident
        course.most_descriptors = max(course.most_descriptors, now.descriptors)
        if time.monotonic() - said >= _REPORT_SECONDS:
            said = time.monotonic()
            wrong = sum(len(watch.wrong) for watch in course.watches)
            progress(
                f"{said - began:.0f} of {seconds:g} s: {course.counts.total()} attacks, "
                f"{now.descriptors} descriptors, {mebibytes(now.resident)}, {wrong} wrong answers"
            )
        await asyncio.sleep(0.5)


def _report(
    course: _Course, site: Site, *, before: Footprint, after: Footprint, written: bytes
) -> Report:
    attacks = course.counts.total() + course.opened_idle
    rows = [
        [
            watch.name,
            str(len(watch.seconds) + len(watch.wrong)),
            str(len(watch.wrong)),
            *(milliseconds(percentile(watch.seconds, share)) for share in (0.5, 0.95, 1.0)),
        ]
        for watch in course.watches
    ]
    allowed = _MOST_GROWTH + _MOST_PER_SILENT * course.most_idle
    late = course.most_resident - course.middle_resident
    targets = [
        *(_served(watch) for watch in course.watches),
        Target("the agent runs on", f"process {site.agent.pid}", after.descriptors > 0),
        Target(
            "the agent has closed all descriptors",
            f"{before.descriptors} before, at most {course.most_descriptors}, "
            f"{after.descriptors} after",
            0 < after.descriptors <= before.descriptors,
        ),
        Target(
            f"memory grew by less than {mebibytes(allowed)}",
            f"{mebibytes(before.resident)} before, at most {mebibytes(course.most_resident)}, "
            f"{mebibytes(after.resident)} after",
            after.resident - before.resident < allowed,
        ),
        Target(
            f"memory grew by less than {mebibytes(_MOST_LATE_GROWTH)} in the second half",
            mebibytes(late),
            late < _MOST_LATE_GROWTH,
        ),
        Target(
            "no traceback in the agent's log",
            f"{written.count(b'Traceback')}",
            b"Traceback" not in written,
        ),
        Target(
            f"less than {_MOST_LOG} bytes of log per attack",
            f"{len(written) / max(1, attacks):.0f}",
            len(written) < _MOST_LOG * attacks,
        ),
    ]
    kinds = [
        [name.replace("_", " "), str(number)] for name, number in sorted(course.counts.items())
    ]
    kinds.append([f"silent connections, {course.most_idle} at once", str(course.opened_idle)])
    return Report(
        title=f"{attacks} attacks on the kubelet API of {site.node}",
        tables=[
            Table(["attack", "times"], kinds),
            Table(["meanwhile", "asked", "wrong", "p50", "p95", "longest"], rows),
        ],
        targets=targets,
        numbers={
            "attacks": dict(course.counts),
            "silent": course.opened_idle,
            "wrong": {watch.name: watch.wrong for watch in course.watches},
            "resident": [before.resident, course.most_resident, after.resident],
            "descriptors": [before.descriptors, course.most_descriptors, after.descriptors],
            "log_bytes": len(written),
        },
    )


def _served(watch: Watch) -> Target:
    found = f"{len(watch.seconds)} right, {len(watch.wrong)} wrong"
    if watch.wrong:
        found += f"; the first: {watch.wrong[0]}"
    what = f"{watch.name} is answered within {LONGEST:g} s each time"
    return Target(what, found, bool(watch.seconds) and not watch.wrong)
