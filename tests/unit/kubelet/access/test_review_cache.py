import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.unit.kubelet.fakes import ManualClock
from vnode.kubelet.access.review_cache import ReviewCache


def make_cache(clock: ManualClock, *, size: int = 10) -> ReviewCache[str, bool]:
    return ReviewCache(life=lambda good: 100.0 if good else 10.0, size=size, clock=clock)


def always(value: bool) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return value

    return ask


async def test_an_answer_lives_as_long_as_its_kind() -> None:
    clock = ManualClock()
    cache = make_cache(clock)
    assert await cache.get("good", always(True)) is True
    assert await cache.get("bad", always(False)) is False
    clock.now += 9
    assert await cache.get("bad", always(True)) is False
    clock.now += 2
    assert await cache.get("bad", always(True)) is True
    assert await cache.get("good", always(False)) is True
    clock.now += 90
    assert await cache.get("good", always(False)) is False


async def test_the_number_of_answers_is_bounded() -> None:
    cache = make_cache(ManualClock(), size=3)
    for number in range(20):
        await cache.get(str(number), always(True))
    assert cache.statistics().held == 3


async def test_one_question_serves_all_who_ask_it_meanwhile() -> None:
    cache = make_cache(ManualClock())
    gate = asyncio.Event()

    async def ask() -> bool:
        await gate.wait()
        return True

    waiting = [asyncio.create_task(cache.get("x", ask)) for _ in range(5)]
    await asyncio.sleep(0)
    assert cache.statistics().in_flight == 1
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 5
    assert cache.statistics().asked == 1


async def test_an_error_reaches_all_who_wait_and_is_not_remembered() -> None:
    cache = make_cache(ManualClock())
    gate = asyncio.Event()

    async def fail() -> bool:
        await gate.wait()
        raise OSError("down")

    waiting = [asyncio.create_task(cache.get("x", fail)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["down"] * 3
    assert await cache.get("x", always(True)) is True


async def test_when_the_asker_leaves_the_next_one_asks() -> None:
    cache = make_cache(ManualClock())
    never = asyncio.Event()

    async def stuck() -> bool:
        await never.wait()
        return False

    first = asyncio.create_task(cache.get("x", stuck))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.get("x", always(True)))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is True
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_waiter_that_leaves_disturbs_nobody() -> None:
    cache = make_cache(ManualClock())
    gate = asyncio.Event()

    async def ask() -> bool:
        await gate.wait()
        return True

    first = asyncio.create_task(cache.get("x", ask))
    await asyncio.sleep(0)
    second = asyncio.create_task(cache.get("x", ask))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    assert await first is True
    with pytest.raises(asyncio.CancelledError):
        await second
