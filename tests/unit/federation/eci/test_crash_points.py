"""kill -9 at each single write, enumerated, with an account of ECI below.

Each story runs once undisturbed: that gives the writes, and the end to which every other run has to
come. Then the agent dies before or after each of them, or its write lands when the next agent is at
work; lists may show a new group only after a while. No pod has two groups ever, none is left over.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from federation.backends.eci import observe
from tests.builders import UID_1, UID_2, make_key, make_pod
from tests.eci.script import Fate
from tests.fakes.crash import Moment
from tests.unit.federation.eci.account import KEY_OF_POD, Account
from vnode.kube.resources import PODS
from vnode.kube.types import UID

pytestmark = pytest.mark.looptime

DOWN, REST = 30.0, 200.0
"""Seconds without an agent, and until everything has come to rest with one."""
LANDS = (0.05, 3.0)
"""Seconds after an agent's death: while the next one looks, makes, and after that."""
LATE = 20.0
"""Seconds for which lists do not show a new group, where they are late."""


async def _nothing(account: Account) -> None:
    await asyncio.sleep(0)


async def _create(account: Account) -> None:
    account.create(make_pod())


async def _running(account: Account) -> None:
    account.add_group("other")  # A list without anybody would prove nothing.
    await _create(account)
    await asyncio.sleep(40)
    assert account.phase() == "Running"


async def _delete(account: Account) -> None:
    account.delete()


async def _succeed(account: Account) -> None:
    """A StatefulSet's pod is deleted by force, and followed by another."""
    account.tenant.drop(PODS, KEY_OF_POD)
    account.create(make_pod(uid=UID_2))


async def _orphan(account: Account) -> None:
    account.tenant.drop(PODS, KEY_OF_POD)


async def _lose(account: Account) -> None:
    [group] = [group for group in account.groups() if group.tags["vnode.dev/uid"] == UID_1]
    group.life.delete(account.clock.time())


async def _reclaim(account: Account) -> None:
    [group] = [group for group in account.groups() if group.tags["vnode.dev/uid"] == UID_1]
    account.emulator.reclaim(group.id)


async def _finish(account: Account) -> None:
    account.fate = Fate(runs=5, exit_code=3)
    account.create(make_pod())


@pytest.fixture(autouse=True)
def rare_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most of the time goes into them."""
    monkeypatch.setattr(observe, "_EVERY", 8.0)


Act = Callable[[Account], Awaitable[None]]
STORIES: dict[str, tuple[Act, Act]] = {
    "create": (_nothing, _create),
    "delete": (_running, _delete),
    "successor": (_running, _succeed),
    "orphan": (_running, _orphan),
    "lost": (_running, _lose),
    "reclaimed": (_running, _reclaim),
    "finished": (_nothing, _finish),
}


async def _run(
    story: str,
    at: int | None = None,
    moment: Moment = Moment.BEFORE,
    *,
    down: float = DOWN,
    late: float = 0.0,
    unseen: float = 0.0,
) -> Account:
    before, act = STORIES[story]
    account = Account()
    account.start()
    await before(account)
    await asyncio.sleep(5)
    account.emulator.faults.unseen = unseen
    account.crash.arm(at, moment, late=late)
    await act(account)
    if at is not None:
        await asyncio.wait_for(account.crash.died.wait(), REST)
        await account.restart(after=down)
    await asyncio.sleep(REST)
    await account.stop()
    return account


def _end(account: Account) -> Any:
    """What there is on both sides."""
    pod = account.pod()
    status = pod and {
        "uid": pod["metadata"]["uid"],
        "phase": pod["status"]["phase"],
        "reason": pod["status"].get("reason"),
        "containers": [
            {kind: state.get("exitCode") for kind, state in container["state"].items()}
            for container in pod["status"].get("containerStatuses", [])
        ],
    }
    uids = sorted(group.tags["vnode.dev/uid"] for group in account.alive())
    return {"pod": status, "groups": uids, "made": dict(account.made)}


CASES = [(story, 0.0) for story in STORIES] + [(s, LATE) for s in ("create", "delete", "successor")]


@pytest.mark.parametrize(("story", "unseen"), CASES)
async def test_every_crash_ends_as_if_there_had_been_none(story: str, unseen: float) -> None:
    wanted = await _run(story, unseen=unseen)
    assert _end(wanted) == _end(await _run(story))
    for number, write in enumerate(wanted.crash.writes):
        for moment in (Moment.BEFORE, Moment.AFTER):
            account = await _run(story, number, moment, unseen=unseen)
            assert _end(account) == _end(wanted), f"killed {moment} write {number}: {write}"


@pytest.mark.parametrize("story", ["create", "delete", "successor", "finished"])
async def test_a_write_that_lands_when_another_agent_is_at_work_changes_nothing(story: str) -> None:
    wanted = await _run(story, unseen=LATE)
    for number, write in enumerate(wanted.crash.writes):
        for late in LANDS:
            account = await _run(story, number, Moment.ON_THE_WAY, down=0.0, late=late, unseen=LATE)
            assert _end(account) == _end(wanted), f"write {number} landed {late} s later: {write}"


@pytest.mark.parametrize("number", [0, 1])
async def test_a_pod_deleted_between_two_agents_is_gone_before_its_namesake_runs(
    number: int,
) -> None:
    account = Account()
    account.start()
    await _running(account)
    account.emulator.faults.unseen = LATE
    late, uid, after = make_key(name="late"), UID("u-late"), UID("u-after")
    account.crash.arm(number, Moment.AFTER)
    account.create(make_pod(name="late", uid=uid))
    await asyncio.wait_for(account.crash.died.wait(), REST)
    account.delete(late)
    await account.restart(after=3)
    for _ in range(int(REST)):
        await asyncio.sleep(1)
        if account.pod(late) is None:
            account.create(make_pod(name="late", uid=after))
        assert len({group.tags["vnode.dev/uid"] for group in account.alive()} - {UID_1}) < 2
    assert account.pod(late)["metadata"]["uid"] == after
    assert account.made[uid] == account.made[after] == 1
    await account.stop()
