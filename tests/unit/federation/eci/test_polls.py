"""States of groups come every two seconds, whatever else the account is asked for."""

import asyncio

import pytest

from tests.builders import make_pod
from tests.unit.federation.eci.account import Account

pytestmark = pytest.mark.looptime

POLL = "DescribeContainerGroupStatus"


@pytest.mark.parametrize("action", ["DescribeContainerLog", "DeleteContainerGroup"])
async def test_polls_do_not_wait_for_what_single_groups_are_asked(action: str) -> None:
    account = Account()
    account.create(make_pod())
    account.start()
    await asyncio.sleep(10)
    if action == "DeleteContainerGroup":
        account.delete()
        await asyncio.sleep(1)
    account.emulator.faults.blind = True  # So each group is asked for by its id.
    budget = account.backend.observer._api._budget
    account.emulator.calls.clear()
    for _ in range(60):
        while budget.wait(action) < 25:  # Others use it up: just less than a call waits for.
            budget._bucket(action).take(account.clock.monotonic())
        await asyncio.sleep(1)
    assert account.emulator.calls.count(POLL) >= 25
    await account.stop()
