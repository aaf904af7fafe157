"""Deletions that the service answers well and does not carry out, with a pod controller above."""

import asyncio
from typing import Any

import pytest

from tests.builders import make_pod
from tests.unit.federation.eci.account import Account

pytestmark = pytest.mark.looptime


async def test_users_hear_of_a_deletion_that_does_nothing_and_it_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    account = Account()
    account.start()
    account.create(make_pod())
    await asyncio.sleep(10)
    answer = account.emulator._answer

    def idle(action: str, *more: Any) -> Any:
        return {} if action == "DeleteContainerGroup" else answer(action, *more)

    with monkeypatch.context() as patch:
        patch.setattr(account.emulator, "_answer", idle)
        account.delete(grace=30)
        await asyncio.sleep(80)
        assert "CopyStuckTerminating" not in [event["reason"] for event in account.events()]
        await asyncio.sleep(40)
        assert "CopyStuckTerminating" in [event["reason"] for event in account.events()]
        assert account.pod() is not None
    await asyncio.sleep(120)
    await account.stop()
    assert account.pod() is None
    assert account.alive() == []
