"""When the fence lists that a replica knows are new enough, whatever its watches tell."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.builders import make_error, make_uid
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import NODES
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.fence_list import FENCED, Fence, encode
from vnode.pods.partition.fence_reads import SPACING, ListForbidden
from vnode.pods.partition.fences import Fences
from vnode.runtime.store import Store

pytestmark = pytest.mark.looptime

A, B = NodeName("vnode-a"), NodeName("vnode-b")
KEY = ObjectKey("team-a", "job-0")


class Replica:
    """What one process knows of the lists; it has no watch, so all is by calls."""

    def __init__(self, client: RecordingClient, *, left: tuple[NodeName, ...] = ()) -> None:
        self.client = client.client
        self.nodes: Store[PartialObject] = Store("virtual nodes")
        self.fences = Fences(self.client, self.nodes, ours=[A, B], left=left, clock=LoopClock())

    @contextmanager
    def leading(self, name: NodeName) -> Iterator[list[bool]]:
        """Lead a node; empty the list to end the Lease before the process learns of it."""
        lease = [True]
        with self.fences.reads.kept([name], lasts=lambda: bool(lease)):
            yield lease
            lease.clear()

    def knows(self, uid: UID) -> bool:
        return any(self.fences.get(name, uid) for name in (A, B))


def now() -> float:
    return asyncio.get_running_loop().time()


def a_client(rng: random.Random | None = None) -> RecordingClient:
    late = (lambda: rng.random() * 0.05) if rng is not None else (lambda: 0.01)
    client = RecordingClient(latency=late)
    for name in (A, B):
        client.put(NODES, {"metadata": {"name": name}})
    return client


def fence(client: RecordingClient, node: NodeName, uid: UID) -> None:
    """Another replica has written it."""
    notes = {FENCED: encode([Fence(KEY, uid, 1)])}
    key = ObjectKey("", node)
    client.edit(NODES, key, lambda body: body["metadata"].update(annotations=notes))


def gets(client: RecordingClient, name: NodeName) -> int:
    return sum(call.key.name == name for call in client.named("get nodes"))


async def test_a_fence_of_another_replica_is_known_whatever_the_watch_has_told() -> None:
    client = a_client()
    replica = Replica(client)
    await replica.fences.reads.newer_than(now())
    fence(client, B, make_uid(1))
    await replica.fences.reads.newer_than(now())
    assert replica.knows(make_uid(1))


async def test_pods_that_were_there_before_a_read_share_it() -> None:
    client = a_client()
    replica = Replica(client)
    moment = now()
    await asyncio.sleep(1)
    await asyncio.gather(*(replica.fences.reads.newer_than(moment) for _ in range(100)))
    await replica.fences.reads.newer_than(moment)
    assert (gets(client, A), gets(client, B)) == (1, 1)


async def test_a_stream_of_pods_reads_each_node_no_more_often_than_it_may() -> None:
    client = a_client()
    replica = Replica(client)

    async def one(after: float) -> None:
        await asyncio.sleep(after)
        await replica.fences.reads.newer_than(now())

    await asyncio.gather(*(one(n / 100) for n in range(1000)))
    assert gets(client, B) <= 10 / SPACING + 2


async def test_a_lone_pod_does_not_wait_for_the_spacing() -> None:
    replica = Replica(a_client())
    await replica.fences.reads.newer_than(now())
    await asyncio.sleep(10)
    began = now()
    await replica.fences.reads.newer_than(began)
    assert now() - began < SPACING / 2


async def test_nodes_that_we_alone_write_are_read_once_for_each_time_that_we_lead() -> None:
    client = a_client()
    replica = Replica(client)
    for times in (1, 2):
        with replica.leading(A), replica.leading(B):
            for _ in range(10):
                await replica.fences.reads.newer_than(now())
                await asyncio.sleep(1)
        assert (gets(client, A), gets(client, B)) == (times, times)


async def test_a_lease_that_ended_unnoticed_says_nothing_about_its_lists() -> None:
    client = a_client()
    replica = Replica(client)
    with replica.leading(B) as lease:
        await replica.fences.reads.newer_than(now())
        lease.clear()
        await asyncio.sleep(1)
        fence(client, B, make_uid(1))
        await replica.fences.reads.newer_than(now())
        assert replica.knows(make_uid(1))


async def test_what_was_fenced_before_we_led_is_read_although_we_lead_now() -> None:
    client = a_client()
    replica = Replica(client)
    await replica.fences.reads.newer_than(now())
    fence(client, B, make_uid(1))
    await asyncio.sleep(1)
    with replica.leading(B):
        await replica.fences.reads.newer_than(now())
        assert replica.knows(make_uid(1))


@pytest.mark.parametrize("after", [False, True])
async def test_a_write_without_answer_is_looked_up(after: bool) -> None:
    client = a_client()
    replica = Replica(client)
    with replica.leading(A):
        await replica.fences.reads.newer_than(now())
        client.fail(make_error(500, "no answer"), "patch nodes", after=after, times=10**6)
        keeper = FenceKeeper(
            client.client, replica.fences, nodes=[A], clock=LoopClock(), rng=random.Random(1)
        )
        writing = asyncio.ensure_future(keeper.run())
        keeper.add(A, Fence(KEY, make_uid(1), 1), still=lambda: True)
        await asyncio.sleep(0.2)
        await replica.fences.reads.newer_than(now())
        assert replica.knows(make_uid(1)) is after
    writing.cancel()
    await asyncio.wait([writing])


async def test_a_node_that_was_there_and_is_missing_lets_everybody_wait() -> None:
    client = a_client()
    replica = Replica(client)
    await replica.fences.reads.newer_than(now())
    client.drop(NODES, ObjectKey("", B))
    with pytest.raises(NotFound):
        await replica.fences.reads.newer_than(now())
    client.put(NODES, {"metadata": {"name": B}})
    await replica.fences.reads.newer_than(now())


async def test_a_node_that_never_was_there_has_no_fences() -> None:
    client = a_client()
    client.drop(NODES, ObjectKey("", B))
    await Replica(client).fences.reads.newer_than(now())


async def test_the_fences_of_a_node_that_left_count_until_it_is_deleted() -> None:
    client = a_client()
    gone = NodeName("vnode-gone")
    client.put(NODES, {"metadata": {"name": gone}})
    replica = Replica(client, left=(gone,))
    fence(client, gone, make_uid(1))
    await replica.fences.reads.newer_than(now())
    assert replica.fences.of(KEY)
    client.drop(NODES, ObjectKey("", gone))
    await replica.fences.reads.newer_than(now())
    assert not replica.fences.of(KEY)


async def test_an_api_server_that_does_not_answer_is_an_error() -> None:
    client = a_client()
    client.fail(KubeError("cut"), "get nodes")
    with pytest.raises(KubeError):
        await Replica(client).fences.reads.newer_than(now())


def forbid(client: RecordingClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    get = client.get

    async def pinned(*args: Any, **more: Any) -> Any:
        if more["name"] == name:
            raise make_error(403, "nodes is forbidden", reason="Forbidden")
        return await get(*args, **more)

    monkeypatch.setattr(client, "get", pinned)


async def test_a_node_that_left_and_may_not_be_read_any_more_holds_nobody_but_whom_it_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = a_client()
    gone = NodeName("vnode-gone")
    client.put(NODES, {"metadata": {"name": gone}})
    fence(client, gone, make_uid(1))
    replica = Replica(client, left=(gone,))
    await replica.fences.reads.newer_than(now())
    with monkeypatch.context() as patched, capture_logs() as lines:
        forbid(client, gone, patched)
        for _ in range(3):
            await replica.fences.reads.newer_than(now())
    assert replica.fences.of(KEY)
    assert [line["node"] for line in lines] == [gone]
    fence(client, gone, make_uid(2))
    await replica.fences.reads.newer_than(now())
    assert replica.fences.get(gone, make_uid(2))


async def test_a_node_of_ours_that_may_not_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = a_client()
    forbid(client, B, monkeypatch)
    with pytest.raises(ListForbidden, match=B):
        await Replica(client).fences.reads.newer_than(now())


async def test_that_a_node_was_missing_says_nothing_about_a_later_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = a_client()
    client.drop(NODES, ObjectKey("", B))
    replica, get = Replica(client), client.get

    async def late(*args: Any, name: str, **more: Any) -> Any:
        try:
            return await get(*args, name=name, **more)
        except NotFound:
            await asyncio.sleep(1)
            raise

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "get", late)
    early = asyncio.ensure_future(replica.fences.reads.newer_than(now()))
    await asyncio.sleep(0.5)
    client.put(NODES, {"metadata": {"name": B}})
    fence(client, B, make_uid(1))
    moment = now()
    monkeypatch.setattr(client, "get", never)
    unanswered = asyncio.ensure_future(replica.fences.reads.read(B))
    await asyncio.sleep(0.1)
    monkeypatch.setattr(client, "get", get)
    await early
    await replica.fences.reads.newer_than(moment)
    assert replica.knows(make_uid(1))
    unanswered.cancel()


# --- interleavings --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
async def test_no_successor_comes_before_its_fence_in_any_order_of_things(seed: int) -> None:
    """Leases that wander, calls that take their time, answers that are lost, watches that sleep."""
    rng = random.Random(seed)
    client = a_client(rng)
    replicas = [Replica(client) for _ in range(3)]
    keepers: dict[NodeName, tuple[Replica, FenceKeeper]] = {}
    checked = 0

    async def wander(name: NodeName) -> None:
        while True:
            chosen = rng.choice(replicas)
            with chosen.leading(name):
                keeper = FenceKeeper(
                    client.client, chosen.fences, nodes=[name], clock=LoopClock(), rng=rng
                )
                keepers[name] = chosen, keeper
                writing = asyncio.ensure_future(keeper.run())
                await asyncio.sleep(rng.random() * 3)
                del keepers[name]
            # A write that is on its way may land after that.
            asyncio.get_running_loop().call_later(rng.random() * 0.1, writing.cancel)
            await asyncio.sleep(rng.random() * 0.2)

    async def story(number: int) -> None:
        nonlocal checked
        await asyncio.sleep(rng.random() * 30)
        name, uid = rng.choice((A, B)), make_uid(number)
        if name not in keepers:
            return
        leader, keeper = keepers[name]
        keeper.add(name, Fence(ObjectKey("team-a", f"job-{number}"), uid, 1), still=lambda: True)
        while leader.fences.get(name, uid) is None:
            await asyncio.sleep(0.01)
            if keepers.get(name) != (leader, keeper):
                return  # Nobody gives it up.
        await asyncio.sleep(rng.random() * 0.02)  # Failed, deleted, made again, brought by a watch.
        moment = now()
        await asyncio.sleep(rng.choice((0.0, rng.random() * 0.5)))
        starts = rng.choice(replicas)
        await starts.fences.reads.newer_than(moment)
        assert starts.knows(uid), f"{uid} of {name}"
        checked += 1

    for _ in range(20):
        client.fail(make_error(500, "lost"), "patch nodes", after=rng.random() < 0.5)
    wandering = [asyncio.ensure_future(wander(name)) for name in (A, B)]
    await asyncio.gather(*(story(number) for number in range(1, 120)))
    for task in wandering:
        task.cancel()
    await asyncio.wait(wandering)
    await asyncio.sleep(1)
    assert checked > 30
