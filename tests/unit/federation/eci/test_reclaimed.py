"""The spot market takes instances back: pods fail for it, and whoever counts failures is told."""

import asyncio
from dataclasses import replace

import pytest

from federation.backends.eci.translate.policy import Spot
from tests.builders import make_pod, make_uid
from tests.eci.groups import Group
from tests.unit.federation.eci.account import POLICY, Account

pytestmark = pytest.mark.looptime


async def running(account: Account) -> Group:
    """A pod on a spot instance."""
    account.create(make_pod())
    account.start()
    await asyncio.sleep(20)
    [group] = account.groups()
    return group


def on_spot() -> Account:
    return Account(policy=replace(POLICY, spot=Spot()))


def fail(group: Group, now: float) -> None:
    """Its processes are told to end, and the group is Failed before it is called anything else."""
    group.life.advance(now)
    for container in group.life.containers:
        group.life.exited(container, 143, now=now)
    group.life._finish("Failed")


def disrupted(account: Account) -> list[str]:
    """Reasons of the conditions by which a Job does not count a failure."""
    conditions = account.pod()["status"]["conditions"]
    marks = [c for c in conditions if c["type"] == "DisruptionTarget"]
    return [c["reason"] for c in marks if c["status"] == "True"]


async def test_a_pod_says_from_the_announcement_on_that_it_is_disrupted() -> None:
    account = on_spot()
    group = await running(account)
    assert disrupted(account) == []
    account.emulator.reclaim(group.id)
    await asyncio.sleep(40)
    assert (account.phase(), disrupted(account)) == ("Running", ["SpotToBeReleased"])
    await asyncio.sleep(150)
    assert (account.phase(), disrupted(account)) == ("Failed", ["SpotReclaimed"])
    await account.stop()


@pytest.mark.parametrize("seconds", [1, 100])
async def test_an_end_that_is_seen_as_a_failure_first_is_a_disruption_too(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """`seconds` after the announcement: before it was read, and after that."""
    monkeypatch.setattr("tests.eci.lifecycle.WARNING", seconds + 5)
    account = on_spot()
    group = await running(account)
    account.emulator.reclaim(group.id)
    await asyncio.sleep(seconds)
    fail(group, account.clock.time())
    await asyncio.sleep(30)
    assert account.phase() == "Failed"
    assert disrupted(account) == ["SpotToBeReleased"]
    [container] = account.pod()["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 143
    await account.stop()


async def test_also_when_no_agent_looked() -> None:
    account = on_spot()
    group = await running(account)
    await account.stop()
    account.emulator.reclaim(group.id)
    await asyncio.sleep(1)
    fail(group, account.clock.time())
    account.start()
    await asyncio.sleep(30)
    assert (account.phase(), disrupted(account)) == ("Failed", ["SpotToBeReleased"])
    await account.stop()


async def test_a_failure_that_nothing_announced_is_the_pod_s_own() -> None:
    account = on_spot()
    group = await running(account)
    fail(group, account.clock.time())
    await asyncio.sleep(30)
    assert (account.phase(), disrupted(account)) == ("Failed", [])
    await account.stop()


async def test_a_failure_is_shown_although_nobody_knows_what_was_announced() -> None:
    account = on_spot()
    group = await running(account)
    account.emulator.faults.fail("DescribeContainerGroupEvents", code="Forbidden.RAM", status=403)
    fail(group, account.clock.time())
    await asyncio.sleep(30)
    assert account.phase() == "Failed"
    await account.stop()


async def test_many_failures_are_asked_about_together() -> None:
    account = on_spot()
    account.start()
    for number in range(40):
        account.create(make_pod(f"job-{number}", uid=make_uid(number)))
    await asyncio.sleep(30)
    groups = account.groups()
    assert len(groups) == 40
    await asyncio.sleep(3)
    account.emulator.calls.clear()
    for group in groups:
        fail(group, account.clock.time())
    await asyncio.sleep(4)
    assert account.emulator.calls.count("DescribeContainerGroupEvents") <= 6
    await account.stop()
