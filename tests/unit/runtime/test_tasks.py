"""Supervised tasks and stopping them."""

import asyncio

import pytest

from vnode.runtime.tasks import UnexpectedEnd, stop, supervise


async def _return() -> None:
    await asyncio.sleep(0)


async def _fail() -> None:
    raise LookupError("no such thing")


async def test_a_task_that_returns_ends_its_group_with_its_name() -> None:
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            supervise(tasks, asyncio.Event().wait(), name="waits")
            supervise(tasks, _return(), name="returns")

    with pytest.raises(ExceptionGroup) as caught:
        await group()
    assert caught.group_contains(UnexpectedEnd, match="returns")


async def test_a_task_that_fails_ends_its_group_with_its_error() -> None:
    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            supervise(tasks, asyncio.Event().wait(), name="waits")
            supervise(tasks, _fail(), name="fails")

    with pytest.raises(ExceptionGroup) as caught:
        await group()
    assert caught.group_contains(LookupError)


async def test_stopping_waits_for_the_clean_up() -> None:
    cleaned = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await stop(task)
    assert task.cancelled()
    assert cleaned == [True]


@pytest.mark.looptime
async def test_stopping_waits_even_for_a_task_that_takes_longer_than_it_should() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(50)

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await stop(task, patience=5)
    assert task.done()
    assert asyncio.get_running_loop().time() >= 50


async def test_a_failure_during_the_clean_up_does_not_reach_the_owner() -> None:
    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("in clean-up")

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await stop(task)
    assert isinstance(task.exception(), LookupError)
