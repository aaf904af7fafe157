"""Runs checks: all at once, each for a bounded time, those that need others after these.

In: `Check`s. Out: `Result`s in the order of the checks. A check that raises, or takes too long, is
a finding; whoever waits for it says since what it was not tried. Owns its tasks.
"""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from federation.check.findings import Finding, Result, one_line, untried_since, wrong
from vnode.kube.errors import ConfigError, Forbidden, KubeError

__all__ = ["Check", "run_checks"]

SECONDS = 20.0
"""What a check may take that does not say otherwise."""
_AT_ONCE = 24

Progress = Callable[["Check", bool], None]
"""Told of a check that begins (True) or ended."""


@dataclass(frozen=True)
class Check:
    """One question about one cluster or node."""

    where: str
    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    after: tuple["Check", ...] = ()
    """Without these it makes no sense: if one of them is wrong, this one is not tried."""
    seconds: float = SECONDS

    def __str__(self) -> str:
        return f"{self.name} of {self.where}"


async def run_checks(
    checks: Sequence[Check], *, progress: Progress = lambda check, begins: None
) -> list[Result]:
    """Run them all. Every check that is waited for must be in the list, before those that wait."""
    turns = asyncio.Semaphore(_AT_ONCE)
    tasks: dict[int, asyncio.Task[Sequence[Finding]]] = {}

    async def one(check: Check) -> Sequence[Finding]:
        for earlier in check.after:
            found = await tasks[id(earlier)]
            if blocking := next((f for f in found if f.blocks), None):
                return [untried_since(blocking.since or str(earlier))]
        async with turns:
            progress(check, True)
            try:
                return await _tried(check)
            finally:
                progress(check, False)

    async with asyncio.TaskGroup() as group:
        for check in checks:
            tasks[id(check)] = group.create_task(one(check), name=str(check))
    return [
        Result(check.where, check.name, finding)
        for check in checks
        for finding in tasks[id(check)].result()
    ]


async def _tried(check: Check) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(check.seconds):
            return await check.run()
    except TimeoutError:
        return [
            wrong(
                f"no answer within {check.seconds:.0f} s", "see the API server's log, or try again"
            )
        ]
    except ConfigError as error:
        return [wrong(one_line(error))]
    except Forbidden as error:
        return [wrong(one_line(error), "grant the right; the check of rights names all")]
    except KubeError as error:
        return [wrong(one_line(error), "see the API server's log if it stays so")]
    except Exception as error:
        return [wrong(f"{_place(error)}: a bug in vnode, not in your set-up; report it")]


def _place(error: Exception) -> str:
    """What was raised and where, without values."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
