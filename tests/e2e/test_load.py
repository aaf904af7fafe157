"""Streams under a little load: the short form of `make load`, so that it keeps working."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.load import fuzz, sessions, throughput
from tests.load.site import populated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import AgentProcess, Federation
    from tests.e2e.user import User
    from tests.load.report import Report
    from tests.load.site import Site

_SESSIONS = 50
_FUZZ_SECONDS = 20.0
_IDLE = 200


@pytest.fixture
def site(federation: Federation, agent: AgentProcess, user: User, gpu: str) -> Iterator[Site]:
    """Two pods with real containers."""
    with populated(federation, agent, pods=2, compute=gpu) as made:
        yield made


def _progress(text: str) -> None:
    print(text, file=sys.__stderr__, flush=True)


def _check(report: Report) -> None:
    print(report.text())
    assert not report.missed


async def test_fifty_sessions_open_answer_and_leave_no_descriptor(site: Site) -> None:
    _check(await sessions.measure(site, count=_SESSIONS, openers=4, progress=_progress))


async def test_bytes_arrive_whole_in_both_directions(site: Site) -> None:
    report = await throughput.measure(site, size=16 << 20, rounds=1, progress=_progress)
    print(report.text())
    # How fast they are says nothing while other tests run.
    assert all(target.met for target in report.targets if "every byte" in target.what)


async def test_nonsense_leaves_the_agent_serving(site: Site) -> None:
    _check(await fuzz.measure(site, seconds=_FUZZ_SECONDS, idle=_IDLE, seed=1, progress=_progress))
