"""The work queue: nothing twice at once, nothing lost, live before low."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vnode.kube.errors import TooManyRequests
from vnode.runtime.workqueue import Expected, Priority, Result, WorkQueue, run_workers


def make_queue() -> WorkQueue[str]:
    return WorkQueue("test", rng=random.Random(1))


async def drain(queue: WorkQueue[str]) -> list[str]:
    taken = []
    while queue.statistics().depth:
        key = await queue.get()
        taken.append(key)
        queue.done(key)
    return taken


async def test_a_key_that_waits_is_there_once_and_in_order_of_adding() -> None:
    queue = make_queue()
    for key in "abab":
        queue.add(key)
    assert await drain(queue) == ["a", "b"]


async def test_a_key_added_during_its_processing_comes_again_after_it() -> None:
    queue = make_queue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    queue.add("a")
    assert queue.statistics().depth == 0
    queue.done("a")
    assert await drain(queue) == ["a"]


async def test_live_keys_go_before_low_ones() -> None:
    queue = make_queue()
    queue.add("old", Priority.LOW)
    queue.add("new")
    assert await drain(queue) == ["new", "old"]


async def test_what_was_begun_goes_before_what_is_new() -> None:
    queue = make_queue()
    for key in "abc":
        queue.add(key)
    queue.add("c", Priority.HIGH)
    queue.add("c")
    assert await drain(queue) == ["c", "a", "b"]


@pytest.mark.looptime
@pytest.mark.parametrize("later", ["retry", "add_after", "at once"])
async def test_what_was_begun_stays_before_what_is_new_when_it_is_tried_again(later: str) -> None:
    queue = make_queue()
    queue.add("begun", Priority.HIGH)
    assert await queue.get() == "begun"
    for number in range(50):
        queue.add(f"new {number}")
    match later:
        case "retry":
            queue.retry("begun")
        case "add_after":
            queue.add_after("begun", 30)
            queue.add_after("begun", 5)
        case _:
            queue.add_after("begun", 0)
    queue.done("begun")
    await asyncio.sleep(6)
    first = [await queue.get() for _ in range(2)]
    assert "begun" in first


async def test_what_is_new_leaves_workers_for_what_was_begun() -> None:
    queue: WorkQueue[str] = WorkQueue("test", rng=random.Random(1), group=lambda key: key[0])
    queue.share(96)
    for number in range(200):
        queue.add(f"a new {number}")
    hanging = [await asyncio.wait_for(queue.get(), 1) for _ in range(32)]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    for number in range(100):
        queue.add(f"a begun {number}", Priority.HIGH)
    begun = [await asyncio.wait_for(queue.get(), 1) for _ in range(32)]
    assert all("begun" in key for key in begun)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    queue.add("b new")  # The others' third is there.
    assert await asyncio.wait_for(queue.get(), 1) == "b new"
    queue.done(hanging[0])
    queue.done(begun[0])
    assert await asyncio.wait_for(queue.get(), 1)


async def test_a_live_change_promotes_a_low_key() -> None:
    queue = make_queue()
    for key in "abc":
        queue.add(key, Priority.LOW)
    queue.add("c")
    assert await drain(queue) == ["c", "a", "b"]


async def test_a_live_change_during_processing_stays_live() -> None:
    queue = make_queue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    queue.add("a", Priority.LOW)
    queue.done("a")
    assert queue.statistics().depth_low == 0


@pytest.mark.parametrize("flood", [*Priority][:2])
async def test_keys_of_less_priority_do_not_starve_under_a_flood(flood: Priority) -> None:
    queue = make_queue()
    starving = {priority.name: priority for priority in Priority if priority > flood}
    for key, priority in starving.items():
        queue.add(key, priority)
    taken = []
    for number in range(30):
        queue.add(f"flood {number}", flood)
        key = await queue.get()
        taken.append(key)
        queue.done(key)
    assert starving.keys() <= set(taken)


async def test_a_normal_key_does_not_starve_between_two_floods() -> None:
    queue = make_queue()
    queue.add("normal")
    taken = []
    for number in range(30):
        queue.add(f"high {number}", Priority.HIGH)
        queue.add(f"low {number}", Priority.LOW)
        key = await queue.get()
        taken.append(key)
        queue.done(key)
    assert "normal" in taken


async def test_a_group_with_ten_thousand_keys_holds_no_other_up() -> None:
    queue: WorkQueue[str] = WorkQueue("test", rng=random.Random(1), group=lambda key: key[0])
    for number in range(10_000):
        queue.add(f"a{number}")
        queue.add(f"z{number}", Priority.LOW)
    queue.add("b")
    queue.add("c", Priority.LOW)
    first = [await queue.get() for _ in range(20)]
    assert "b" in first[:2]
    assert "c" in first  # Low keys have every tenth turn.


@pytest.mark.looptime
async def test_of_several_delays_of_one_key_the_earliest_counts() -> None:
    queue = make_queue()
    loop = asyncio.get_running_loop()
    queue.add_after("a", 30)
    queue.add_after("a", 10)
    queue.add_after("a", 20)
    assert queue.statistics().delayed == 1
    assert await queue.get() == "a"
    assert loop.time() == pytest.approx(10)
    queue.done("a")
    await asyncio.sleep(60)
    assert queue.statistics().depth == 0


@pytest.mark.looptime
async def test_a_delay_that_vanishes_beside_the_time_of_now_lets_time_pass() -> None:
    queue = make_queue()
    await asyncio.sleep(400)
    queue.add_after("a", 1e-15)
    assert await queue.get() == "a"
    assert asyncio.get_running_loop().time() > 400


@pytest.mark.looptime
async def test_retries_wait_longer_each_time_until_forgotten() -> None:
    queue = make_queue()
    waits = [queue.retry("a") for _ in range(20)]
    assert waits[0] == pytest.approx(0.005, rel=0.2)
    assert waits[3] == pytest.approx(0.04, rel=0.2)
    assert max(waits) <= 60
    assert queue.statistics().retrying == 1
    queue.forget("a")
    assert queue.retry("a") < 0.01
    assert queue.retry("b", at_least=7) >= 7


async def test_a_cancelled_worker_passes_its_wake_up_on() -> None:
    queue = make_queue()
    first, second = (asyncio.create_task(queue.get()) for _ in range(2))
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 1) == "a"


@pytest.mark.looptime
async def test_statistics_tell_the_age_of_the_oldest_key() -> None:
    queue = make_queue()
    queue.add("a", Priority.LOW)
    await asyncio.sleep(3)
    queue.add("b")
    await asyncio.sleep(2)
    queue.add("a")
    statistics = queue.statistics()
    assert statistics.oldest_age == pytest.approx(5)
    assert (statistics.depth, statistics.adds) == (2, 2)


@pytest.mark.looptime
async def test_workers_retry_failures_and_never_share_a_key() -> None:
    queue = make_queue()
    active: set[str] = set()
    calls: list[str] = []

    async def reconcile(key: str) -> Result:
        assert key not in active
        active.add(key)
        await asyncio.sleep(1)
        active.discard(key)
        calls.append(key)
        if calls.count(key) < 3:
            raise LookupError("not yet")
        return Result()

    workers = asyncio.create_task(run_workers(queue, reconcile, workers=4, name="test"))
    for key in "abcabc":
        queue.add(key)
    await asyncio.sleep(20)
    workers.cancel()
    await asyncio.wait([workers])
    assert {key: calls.count(key) for key in "abc"} == {"a": 3, "b": 3, "c": 3}
    assert queue.statistics().retrying == 0


class Hanging:
    """Workers that hang for 30 s with keys of the groups "a" to "c", and never with others."""

    def __init__(self, *, grouped: bool = True) -> None:
        group = (lambda key: key[0]) if grouped else None
        self.queue: WorkQueue[str] = WorkQueue("test", rng=random.Random(1), group=group)
        self.began: list[str] = []

    async def _reconcile(self, key: str) -> Result:
        self.began.append(key)
        if key[0] in "abc":
            await asyncio.sleep(30)
        return Result()

    @asynccontextmanager
    async def working(self, workers: int) -> AsyncIterator[None]:
        work = run_workers(self.queue, self._reconcile, workers=workers, name="test")
        task = asyncio.ensure_future(work)
        yield
        task.cancel()
        await asyncio.wait([task])

    def add(self, group: str, keys: int) -> None:
        for number in range(keys):
            self.queue.add(f"{group}{number}", Priority.HIGH)


@pytest.mark.looptime
async def test_groups_whose_keys_hang_leave_workers_to_others() -> None:
    it = Hanging()
    async with it.working(48):
        for group in "abc":
            it.add(group, 1000)
            await asyncio.sleep(1)
        counts = [sum(key[0] == group for key in it.began) for group in "abc"]
        assert counts == [32, 11, 4]
        it.add("z", 1000)
        await asyncio.sleep(1)
        assert sum(key[0] == "z" for key in it.began) == 1000


@pytest.mark.looptime
async def test_a_group_that_had_its_share_goes_on_as_workers_get_free() -> None:
    it = Hanging()
    async with it.working(3):
        it.add("a", 10)
        await asyncio.sleep(29)
        assert len(it.began) == 2
        await asyncio.sleep(31)
        assert len(it.began) == 4
        await asyncio.sleep(100)
        assert len(it.began) == 10
        assert it.queue.statistics().depth == 0


@pytest.mark.looptime
@pytest.mark.parametrize(("workers", "grouped", "began"), [(1, True, 1), (3, False, 3)])
async def test_a_single_worker_and_a_queue_without_groups_have_no_shares(
    *, workers: int, grouped: bool, began: int
) -> None:
    it = Hanging(grouped=grouped)
    async with it.working(workers):
        it.add("a", 10)
        await asyncio.sleep(1)
        assert len(it.began) == began


@pytest.mark.looptime
async def test_workers_requeue_on_request() -> None:
    queue = make_queue()
    loop = asyncio.get_running_loop()
    calls: list[tuple[str, float]] = []

    async def reconcile(key: str) -> Result:
        calls.append((key, round(loop.time())))
        return Result(requeue_after=10)

    workers = asyncio.create_task(run_workers(queue, reconcile, workers=1, name="test"))
    queue.add("regular")
    await asyncio.sleep(25)
    workers.cancel()
    await asyncio.wait([workers])
    assert calls == [("regular", 0), ("regular", 10), ("regular", 20)]


@pytest.mark.looptime
async def test_workers_wait_as_long_as_the_api_server_asks() -> None:
    queue = make_queue()
    calls: list[float] = []

    async def reconcile(_: str) -> Result:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise TooManyRequests("slow down", code=429, retry_after=9)
        return Result()

    workers = asyncio.create_task(run_workers(queue, reconcile, workers=1, name="test"))
    queue.add("a")
    await asyncio.sleep(30)
    workers.cancel()
    await asyncio.wait([workers])
    assert calls == [0, pytest.approx(9)]


@pytest.mark.looptime
@pytest.mark.parametrize(("error", "traceback"), [(Expected("full"), False), (KeyError("x"), True)])
async def test_an_expected_error_is_told_without_a_traceback(
    error: Exception, traceback: bool
) -> None:
    queue = make_queue()

    async def reconcile(_: str) -> Result:
        raise error

    with structlog.testing.capture_logs() as logs:
        workers = asyncio.create_task(run_workers(queue, reconcile, workers=1, name="test"))
        queue.add("a")
        await asyncio.sleep(0.001)
        workers.cancel()
        await asyncio.wait([workers])
    assert [entry["exc_info"] for entry in logs] == [traceback]


KEYS = st.sampled_from("abcd")


class QueueMachine(RuleBasedStateMachine):
    """Against a model: the set of keys that somebody still has to look at."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.queue = make_queue()
        self.owed: set[str] = set()
        self.processing: set[str] = set()

    def teardown(self) -> None:
        self.loop.close()

    async def _add(self, key: str, priority: Priority) -> None:
        self.queue.add(key, priority)

    async def _statistics(self) -> tuple[int, int]:
        statistics = self.queue.statistics()
        return statistics.depth, statistics.processing

    async def _done(self, key: str) -> None:
        self.queue.done(key)

    @rule(key=KEYS, priority=st.sampled_from(Priority))
    def add(self, key: str, priority: Priority) -> None:
        self.loop.run_until_complete(self._add(key, priority))
        self.owed.add(key)

    @precondition(lambda self: self.owed - self.processing)
    @rule()
    def get(self) -> None:
        key = self.loop.run_until_complete(asyncio.wait_for(self.queue.get(), 1))
        assert key in self.owed
        assert key not in self.processing
        self.owed.discard(key)
        self.processing.add(key)

    @precondition(lambda self: self.processing)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.processing)))
        self.loop.run_until_complete(self._done(key))
        self.processing.discard(key)

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        depth, processing = self.loop.run_until_complete(self._statistics())
        assert depth == len(self.owed - self.processing)
        assert processing == len(self.processing)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
