"""Ends of pods that the service does not make easy, with a pod controller above."""

import asyncio
from typing import Any

import pytest

from tests.builders import UID_1, make_pod
from tests.fakes.crash import Moment
from tests.unit.federation.eci.account import Account
from vnode.kube.resources import PODS

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
        await asyncio.sleep(320)
        assert "CopyStuckTerminating" not in [event["reason"] for event in account.events()]
        await asyncio.sleep(40)
        assert "CopyStuckTerminating" in [event["reason"] for event in account.events()]
        assert account.pod() is not None
    await asyncio.sleep(120)
    await account.stop()
    assert account.pod() is None
    assert account.alive() == []


async def test_a_pod_whose_group_went_before_it_was_shown_says_so_and_can_be_deleted() -> None:
    account = Account()
    account.start()
    account.add_group("other")
    account.tenant.put(PODS, make_pod("other", namespace="team-b", uid="u-other"))
    await asyncio.sleep(5)
    account.crash.arm(0, Moment.AFTER)
    account.create(make_pod())
    await asyncio.wait_for(account.crash.died.wait(), 100)
    [group] = [each for each in account.groups() if each.tags["vnode.dev/uid"] == UID_1]
    group.life.delete(account.clock.time())
    await asyncio.sleep(60)
    account.create(make_pod(labels={"changed": "yes"}))
    await account.restart()
    await asyncio.sleep(600)
    assert account.pod()["status"]["reason"] == "CopyNotSeen"
    assert "delete the pod" in account.pod()["status"]["message"]
    account.delete()
    await asyncio.sleep(60)
    await account.stop()
    assert account.pod() is None
    assert account.made[UID_1] == 1
