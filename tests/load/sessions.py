"""Many exec sessions at once, directly and through a virtual node.

Two rounds, `direct` and `through`. In each, a number of sessions is opened one way, at most
`openers` at a time, and kept open; each is a `cat` that has to echo. Beside every `_PROBE_EVERY`th,
in turns before and after it, a session is opened the other way and closed again: so starts are
compared at the same moment, with as many sessions open. When all are open, all have to echo again;
memory is read; then all are closed, and the descriptors of the agent have to be what they were.

The two rounds use the same pods: the compute side is what a direct session costs, the rest is what
the virtual node adds.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.load.client import SessionError, connected
from tests.load.session_report import Round, Starts, report
from tests.measuring import footprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from tests.load.client import Client, Exec
    from tests.load.site import Site
    from tests.measuring.report import Report

    Progress = Callable[[str], None]

_COMMAND = ("cat",)
_PROBE_EVERY = 4
_REPORT_SECONDS = 2.0
_SETTLE_SECONDS = 120.0
_WARM_UP = 8


async def measure(
    site: Site, *, count: int, openers: int, progress: Progress, others: int = 0
) -> Report:
    """Both rounds; `others`: connections that the agent may open meanwhile for other work."""
    async with connected(site.direct) as direct, connected(site.through) as through:
        clients = {client.way.name: client for client in (direct, through)}
        await _warm_up(site, clients.values())
        rounds = [
            await _round(
                site,
                clients,
                kept,
                count=count,
                openers=openers,
                questions=openers + others,
                progress=progress,
            )
            for kept in clients
        ]
    return report(rounds[0], rounds[1])


async def _warm_up(site: Site, clients: Iterable[Client]) -> None:
    """What is made once (connections that are kept, caches) is not a session's."""
    for client in clients:
        for _ in range(_WARM_UP):
            session = await client.open(site.pods[0], _COMMAND)
            await session.echo(b"warm\n")
            await session.finish()


async def _round(
    site: Site,
    clients: dict[str, Client],
    kept: str,
    *,
    count: int,
    openers: int,
    questions: int,
    progress: Progress,
) -> Round:
    result = Round(kept, count, {name: Starts() for name in clients}, questions=questions)
    groups = site.processes()
    result.before = footprint.resident(groups)
    result.agent_before = footprint.of(site.agent.pid)
    sessions: list[Exec] = []
    began = time.monotonic()
    (other,) = set(clients) - {kept}

    async def keep(number: int, *, counts: bool) -> None:
        session = await clients[kept].open(_pod(site, number), _COMMAND)
        sessions.append(session)
        await session.echo(b"hello %d\n" % number)
        if counts:
            _note(result.starts[kept], session)

    async def probe(number: int) -> None:
        session = await clients[other].open(_pod(site, number), _COMMAND)
        await session.echo(b"probe %d\n" % number)
        _note(result.starts[other], session)
        await session.finish()

    async def step(number: int) -> None:
        probes = number % _PROBE_EVERY == 0
        if probes and number % (2 * _PROBE_EVERY) == 0:
            await probe(number)
        await keep(number, counts=probes)
        if probes and number % (2 * _PROBE_EVERY):
            await probe(number)

    title = f"{kept}: sessions open"
    each = _Each(openers, result, progress)
    await each.do(step, count, title)
    result.seconds = time.monotonic() - began
    result.during = footprint.resident(groups)
    result.agent_during = footprint.of(site.agent.pid)

    async def answer(number: int) -> None:
        await sessions[number].echo(b"again %d\n" % number)
        result.answered += 1

    await each.do(answer, len(sessions), f"{kept}: answered")
    await each.do(lambda number: sessions[number].finish(), len(sessions), f"{kept}: closed")
    result.agent_after = await footprint.settled(
        site.agent.pid,
        most=result.agent_before.descriptors + questions,
        timeout=_SETTLE_SECONDS,
    )
    result.after = footprint.resident(groups)
    return result


def _pod(site: Site, number: int) -> str:
    return site.pods[number % len(site.pods)]


def _note(starts: Starts, session: Exec) -> None:
    starts.upgraded.append(session.upgraded)
    starts.answered.append(session.answered)


class _Each:
    """Does something for all numbers, so many at a time, and says how far it is."""

    def __init__(self, workers: int, result: Round, progress: Progress) -> None:
        self._workers, self._result, self._progress = workers, result, progress

    async def do(self, act: Callable[[int], Awaitable[None]], count: int, what: str) -> None:
        """For 0 to `count` - 1; failures are noted, not raised."""
        left = iter(range(count))
        done = 0
        report_at = time.monotonic() + _REPORT_SECONDS

        async def work() -> None:
            nonlocal done, report_at
            for number in left:
                try:
                    await act(number)
                except SessionError as error:
                    self._result.failures.append(str(error))
                done += 1
                if time.monotonic() >= report_at or done == count:
                    report_at = time.monotonic() + _REPORT_SECONDS
                    self._progress(f"{what}: {done} of {count}")

        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(work())
