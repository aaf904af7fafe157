"""Streams under a little load: the short form of `make load`, so that it keeps working.

Each measurement has a thread and an event loop of its own: pytest's own loop stays as it is.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import twins
from tests.load import fuzz, sessions, throughput
from tests.load.site import populated

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from tests.agents import AgentProcess, Federation
    from tests.e2e.user import User
    from tests.load.site import Site
    from tests.measuring.report import Report

_SESSIONS = 50
_FOR_A_TWIN = 10
"""Connections of the agent at most, at a time, for what a twin brings."""
_FUZZ_SECONDS = 20.0
_IDLE = 200


@pytest.fixture
def site(federation: Federation, agent: AgentProcess, user: User, gpu: str) -> Iterator[Site]:
    """Two pods with real containers."""
    with populated(federation, agent, pods=2, compute=gpu) as made:
        yield made


def _progress(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)


def _run(measurement: Coroutine[Any, Any, Report]) -> Report:
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, measurement).result()


def _check(report: Report) -> None:
    print(report.text())
    assert not report.missed


def test_fifty_sessions_open_answer_and_leave_no_descriptor(site: Site) -> None:
    others = _FOR_A_TWIN if twins.wanted() else 0
    measured = sessions.measure(site, count=_SESSIONS, openers=4, progress=_progress, others=others)
    _check(_run(measured))


def test_bytes_arrive_whole_in_both_directions(site: Site) -> None:
    report = _run(throughput.measure(site, size=16 << 20, rounds=1, progress=_progress))
    print(report.text())
    # How fast they are says nothing while other tests run.
    assert all(target.met for target in report.targets if "every byte" in target.what)


def test_nonsense_leaves_the_agent_serving(site: Site) -> None:
    measured = fuzz.measure(site, seconds=_FUZZ_SECONDS, idle=_IDLE, seed=1, progress=_progress)
    _check(_run(measured))
