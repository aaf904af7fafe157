"""What a tenant's user sees when ECI does not do what it should: acted out, and written down.

In: `STORIES`, each a fault of the emulator and moments at which somebody looks at a pod. Out: rows
of a table, made from the pod's status and events as they are in the tenant cluster then. The table
is in docs/eci.md; `python -m tests.unit.federation.eci.what_users_see` writes it there anew.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import looptime

from federation.backends.eci.translate.policy import Spot
from tests.builders import UID_2, make_key, make_pod
from tests.eci.script import Fate
from tests.seen import Table, event_text, line
from tests.unit.federation.eci.account import POLICY, Account
from vnode.kube.types import ObjectKey

TABLE = Table(Path(__file__).parents[4] / "docs" / "eci.md", "## What users see")
NEW, OLD = make_key("new"), make_key("old")
Story = AsyncIterator[tuple[str, ObjectKey]]


async def _spot(account: Account) -> Story:
    account.create(make_pod("old"))
    await asyncio.sleep(20)
    [group] = account.groups()
    account.emulator.reclaim(group.id)
    await asyncio.sleep(60)
    yield "announced", OLD
    await asyncio.sleep(150)
    yield "3 minutes later", OLD


async def _no_stock(account: Account) -> Story:
    account.emulator.faults.no_stock = {"*"}
    account.create(make_pod("new", uid=UID_2))
    await asyncio.sleep(60)
    yield "sold out", NEW
    account.emulator.faults.no_stock = set()
    await asyncio.sleep(300)
    yield "in stock again", NEW


async def _no_place(account: Account) -> Story:
    account.fate = Fate(schedule_fails="NoStock")
    account.create(make_pod("new", uid=UID_2))
    await asyncio.sleep(60)
    yield "a minute later", NEW


async def _quota(account: Account) -> Story:
    account.emulator.faults.max_cpu = 0
    account.create(make_pod("new", uid=UID_2))
    await asyncio.sleep(60)
    yield "used up", NEW
    account.emulator.faults.max_cpu = 100
    await asyncio.sleep(300)
    yield "raised", NEW


def _refused(code: str, restart: str) -> Callable[[Account], Story]:
    async def story(account: Account) -> Story:
        account.emulator.faults.fail("CreateContainerGroup", code=code, status=400)
        account.create(make_pod("new", uid=UID_2, restart=restart))
        await asyncio.sleep(60)
        yield f"restartPolicy {restart}", NEW

    return story


async def _down(account: Account) -> Story:
    account.create(make_pod("old"))
    await asyncio.sleep(20)
    account.emulator.faults.down = True
    await asyncio.sleep(60)
    account.create(make_pod("new", uid=UID_2))
    await asyncio.sleep(500)
    yield "a pod that ran", OLD
    yield "a pod that is new", NEW
    await asyncio.sleep(40)
    account.emulator.faults.down = False
    await asyncio.sleep(60)
    yield "a minute after: the old one", OLD
    yield "a minute after: the new one", NEW


async def _ended_unseen(account: Account, *, away: float) -> None:
    account.fate = Fate(runs=60, exit_code=3)
    account.create(make_pod("old"))
    await asyncio.sleep(20)
    await account.stop()
    await asyncio.sleep(60)
    account.fate = Fate(runs=1)
    for number in range(100):  # The service keeps the newest hundred whatever their age.
        account.add_group(f"x-{number}", RestartPolicy="Never")
    await asyncio.sleep(away)
    account.add_group("alive")
    account.start()
    await asyncio.sleep(240)  # Lists prove nothing in the first two minutes.


async def _in_time(account: Account) -> Story:
    await _ended_unseen(account, away=3000)
    yield "back within the hour", OLD


async def _too_late(account: Account) -> Story:
    await _ended_unseen(account, away=4000)
    yield "back after the hour", OLD


async def _throttled(account: Account) -> Story:
    account.emulator.faults.fail("CreateContainerGroup", code="Throttling.User", status=400)
    account.create(make_pod("new", uid=UID_2))
    await asyncio.sleep(10)
    yield "for seconds", NEW
    await asyncio.sleep(110)
    yield "for minutes", NEW
    account.emulator.faults.failing.clear()
    await asyncio.sleep(300)
    yield "no more", NEW


async def _polls_throttled(account: Account) -> Story:
    account.create(make_pod("old"))
    await asyncio.sleep(20)
    account.emulator.faults.fail("DescribeContainerGroupStatus", code="Throttling.User", status=400)
    await asyncio.sleep(180)
    yield "for 3 minutes", OLD


STORIES: Mapping[str, Callable[[Account], Story]] = {
    "the spot instance is taken back": _spot,
    "`NoStock` at the create": _no_stock,
    "`NoStock` after the create (`ScheduleFailed`)": _no_place,
    "the account's quota is used up": _quota,
    "the service calls the pod wrong": _refused("InvalidParameter.Value", "Never"),
    "the same, of a Deployment": _refused("InvalidParameter.Value", "Always"),
    "the service calls the pool's settings wrong": _refused("InvalidVSwitchId.NotFound", "Never"),
    "the API is down for 10 minutes": _down,
    "the pod ends (exit code 3) while no agent runs": _in_time,
    "the same, and the service has forgotten it": _too_late,
    "creates are throttled": _throttled,
    "polls are throttled": _polls_throttled,
}


async def act(name: str) -> list[str]:
    """Act one story out."""
    account = Account(policy=replace(POLICY, spot=Spot(fallback=True)))
    told: set[str] = set()
    rows: list[str] = []
    account.start()
    try:
        async for then, key in STORIES[name](account):
            what = name if not rows else ""
            rows.append(_row(what, then, account, key, told))
    finally:
        await account.stop()
    return rows


def _row(what: str, then: str, account: Account, key: ObjectKey, told: set[str]) -> str:
    fresh = []
    for event in account.events():
        text = event_text(event)
        if event["involvedObject"]["name"] == key.name and f"{key} {text}" not in told:
            told.add(f"{key} {text}")
            fresh.append(text)
    return line(what, then, account.pod(key)["status"], fresh)


def write() -> None:
    """Put the rows on the page."""
    lines = {}
    for name in STORIES:
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            lines[name] = runner.run(act(name))
    TABLE.write(lines)


if __name__ == "__main__":
    write()
