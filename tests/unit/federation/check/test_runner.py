"""Checks run at once, each for its time; one that fails hides no other."""

import asyncio
from collections.abc import Sequence

import pytest

from federation.check.findings import Finding, Level, ok, untried, wrong
from federation.check.runner import Check, run_checks
from vnode.kube.errors import Unreachable


def check(name: str, *found: Finding, after: tuple[Check, ...] = ()) -> Check:
    async def run() -> Sequence[Finding]:
        return found

    return Check("gpu", name, run, after)


def raising(error: Exception) -> Check:
    async def run() -> Sequence[Finding]:
        raise error

    return Check("gpu", "link", run)


async def test_results_come_in_the_order_of_the_checks() -> None:
    first, second = check("link", ok("a"), ok("b")), check("rights", ok("c"))

    results = await run_checks([first, second])

    assert [(r.check, r.finding.text) for r in results] == [
        ("link", "a"),
        ("link", "b"),
        ("rights", "c"),
    ]


async def test_what_waits_for_something_wrong_is_not_tried_and_says_since_what() -> None:
    link = check("link", wrong("no answer"))
    credential = check("credential", ok("never"), after=(link,))
    rights = check("rights", ok("never"), after=(credential,))

    *_, second, third = await run_checks([link, credential, rights])

    assert second.finding.text == third.finding.text == "not tried since link of gpu failed"
    assert third.finding.level is Level.UNTRIED


async def test_what_was_not_tried_for_want_of_a_right_holds_nothing_up() -> None:
    credential = check("credential", untried("needs Kubernetes 1.28"))

    *_, last = await run_checks([credential, check("rights", ok("all"), after=(credential,))])

    assert last.finding == ok("all")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Unreachable("gpu: GET /version:\n cannot connect"), "gpu: GET /version: cannot connect"),
        (ZeroDivisionError("secret"), "ZeroDivisionError in test_runner.py:"),
    ],
)
async def test_a_check_that_raises_is_wrong_and_the_others_run(error: Exception, text: str) -> None:
    first, second = await run_checks([raising(error), check("rights", ok("all"))])

    assert first.finding.level is Level.WRONG
    assert first.finding.text.startswith(text)
    assert "secret" not in first.finding.text
    assert second.finding == ok("all")


@pytest.mark.looptime
async def test_a_check_ends_when_its_time_is_over() -> None:
    async def run() -> Sequence[Finding]:
        await asyncio.Event().wait()
        return []

    (result,) = await run_checks([Check("gpu", "link", run, seconds=7)])

    assert result.finding.text == "no answer within 7 s"


async def test_progress_is_told_of_begin_and_end() -> None:
    told: list[tuple[str, bool]] = []

    await run_checks(
        [check("link", ok(""))], progress=lambda c, begins: told.append((str(c), begins))
    )

    assert told == [("link of gpu", True), ("link of gpu", False)]
