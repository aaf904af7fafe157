"""Somebody takes the tags of a group while no agent looks: by its name it is still found."""

import asyncio

import pytest

from tests.builders import UID_1, UID_2, make_pod, make_uid
from tests.eci.groups import Group
from tests.eci.script import Fate
from tests.unit.federation.eci.account import Account

pytestmark = pytest.mark.looptime

NOBODYS = {"owner": "somebody"}
SETTLED = 220.0
"""Seconds after which lists are proof and every wait of the agent has had its turn."""


async def untagged(account: Account, tags: dict[str, str]) -> Group:
    """A pod whose group has these tags, before an agent that never saw it with its own."""
    account.create(make_pod())
    account.start()
    await asyncio.sleep(10)
    [group] = account.groups()
    account.fate = Fate()
    account.create(make_pod("other", uid=make_uid(9)))  # Lists that have none prove nothing.
    await asyncio.sleep(10)
    await account.stop()
    group.retag(tags)
    return group


@pytest.mark.parametrize("tags", [{}, NOBODYS, NOBODYS | {"vnode.dev/uid": UID_1}])
async def test_its_pod_is_not_lost_while_it_runs(tags: dict[str, str]) -> None:
    account = Account()
    group = await untagged(account, tags)
    before = group.tags
    account.start()
    await asyncio.sleep(SETTLED)
    assert account.phase() == "Running"
    assert "CopyNotSeen" in [event["reason"] for event in account.events()]
    assert (group.tags, group.status(account.clock.time())) == (before, "Running"), "not touched"
    await account.stop()


async def test_its_pod_waits_to_be_deleted_until_it_is_removed() -> None:
    account = Account()
    group = await untagged(account, {})
    account.delete()
    account.start()
    await asyncio.sleep(SETTLED)
    assert account.pod() is not None
    group.life.delete(account.clock.time())
    await asyncio.sleep(SETTLED)
    assert account.pod() is None
    await account.stop()


async def test_all_is_well_when_it_has_its_tags_again() -> None:
    account = Account()
    group = await untagged(account, {})
    account.start()
    await asyncio.sleep(SETTLED)
    group.retag({tag["Key"]: tag["Value"] for tag in group.asked["Tag"]})
    account.delete()
    await asyncio.sleep(SETTLED)
    assert account.pod() is None
    assert group not in account.alive()
    await account.stop()


async def test_a_group_of_that_name_that_is_another_pod_s_holds_nothing_up() -> None:
    account = Account()
    await untagged(account, NOBODYS | {"vnode.dev/uid": UID_2})
    account.start()
    await asyncio.sleep(SETTLED)
    assert account.pod()["status"]["reason"] == "Evicted"
    await account.stop()


async def test_one_that_has_ended_holds_nothing_up() -> None:
    account = Account()
    account.fate = Fate(runs=30)
    await untagged(account, {})
    await asyncio.sleep(30)
    account.start()
    await asyncio.sleep(SETTLED)
    assert account.pod()["status"]["reason"] == "Evicted"
    await account.stop()
