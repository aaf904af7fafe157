"""What makes a compute namespace that was ready doubtful, and when it is given up."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from federation.backends.kubernetes.namespaces import ComputeNamespaces, NamespaceState
from federation.backends.kubernetes.translate.names import (
    LABEL_TENANT,
    NamespaceMapping,
)
from tests.builders import OWNER, make_error
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import UID, ObjectKey
from vnode.runtime.backoff import Backoff

pytestmark = pytest.mark.looptime

BELOW = "red--team-a"
LOOK = "get namespaces"
RELOOK = 301.0
DOUBT = 46.0
NOT_FOUND = make_error(404, "not found", reason="NotFound")
FORBIDDEN = make_error(403, "forbidden", reason="Forbidden")
UNREADABLE = [
    make_error(500, "etcd"),
    make_error(401, "Unauthorized"),
    make_error(429, "busy"),
    Unreachable("timed out"),
]


class Watched:
    """A set of watches that does nothing but remember."""

    def __init__(self) -> None:
        self.now: set[str] = set()
        self.left: list[str] = []

    def add(self, namespace: str) -> None:
        self.now.add(namespace)

    def remove(self, namespace: str) -> None:
        self.now.discard(namespace)
        self.left.append(namespace)

    def error(self, namespace: str) -> None:
        return None

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        raise AssertionError("nothing is deleted")

    async def run(self) -> None:
        raise AssertionError("the backend runs its watches")


class World:
    """A compute cluster and the namespaces that one tenant wants there."""

    def __init__(self) -> None:
        self.cluster = RecordingClient(name="compute")
        self.watches = Watched()
        self.namespaces = ComputeNamespaces(
            self.cluster.client,
            owner=OWNER,
            mapping=NamespaceMapping("red"),
            watches=[self.watches],
            clock=LoopClock(),
            backoff=lambda: Backoff(1.0, 60.0, rng=random.Random(1)),
            vacant=lambda _: True,
        )
        self.task = asyncio.create_task(self.namespaces.run())

    def prepare(self) -> None:
        metadata = {"name": BELOW, "labels": {LABEL_TENANT: OWNER.tenant}}
        self.cluster.put(NAMESPACES, {"metadata": metadata})

    def refuse(self, error: KubeError, *, times: int = 10**6) -> None:
        self.cluster.fail(error, LOOK, times=times)

    def state(self) -> NamespaceState:
        return self.namespaces.state("team-a")

    def judged(self) -> bool:
        return self.namespaces.judged

    def watched(self) -> bool:
        return BELOW in self.watches.now

    async def become_ready(self) -> None:
        self.prepare()
        self.namespaces.add("team-a")
        await asyncio.sleep(1)
        assert self.state() is NamespaceState.READY
        assert self.watched()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.task.cancel()
    await asyncio.wait([world.task])


@pytest.mark.parametrize("error", [NOT_FOUND, FORBIDDEN], ids=["404", "403"])
@pytest.mark.parametrize("looks", [1, 2, 3])
async def test_a_few_refusals_do_not_change_a_namespace_that_was_ready(
    world: World, error: KubeError, looks: int
) -> None:
    await world.become_ready()
    world.refuse(error, times=looks)
    await asyncio.sleep(RELOOK + looks * DOUBT)
    assert len(world.cluster.calls) > looks + 1
    assert world.state() is NamespaceState.READY
    assert world.watched()


@pytest.mark.parametrize(
    ("error", "state"),
    [(NOT_FOUND, NamespaceState.MISSING), (FORBIDDEN, NamespaceState.FORBIDDEN)],
    ids=["404", "403"],
)
async def test_a_namespace_is_given_up_when_looks_over_two_minutes_agree(
    world: World, error: KubeError, state: NamespaceState
) -> None:
    await world.become_ready()
    world.refuse(error)
    await asyncio.sleep(RELOOK + 120)
    assert world.state() is NamespaceState.READY
    assert world.watched()
    await asyncio.sleep(120)
    assert world.state() is state
    assert not world.watched()
    assert list(world.namespaces.ready()) == []


async def test_looks_that_somebody_asks_for_make_nothing_certain_sooner(world: World) -> None:
    await world.become_ready()
    world.refuse(NOT_FOUND)
    for _ in range(24):
        world.namespaces.look_again("team-a")
        await asyncio.sleep(5)
    assert len(world.cluster.calls) > 20
    assert world.state() is NamespaceState.READY
    world.namespaces.look_again("team-a")
    await asyncio.sleep(20)
    world.namespaces.look_again("team-a")
    await asyncio.sleep(5)
    assert world.state() is NamespaceState.MISSING


async def test_looks_that_say_different_things_do_not_agree(world: World) -> None:
    await world.become_ready()
    world.refuse(NOT_FOUND, times=2)
    world.refuse(FORBIDDEN, times=2)
    await asyncio.sleep(RELOOK + 160)
    assert len(world.cluster.calls) >= 5
    assert world.state() is NamespaceState.READY


async def test_a_look_that_finds_the_namespace_ends_the_doubts(world: World) -> None:
    await world.become_ready()
    for _ in range(4):
        world.refuse(NOT_FOUND, times=3)
        await asyncio.sleep(RELOOK + 4 * DOUBT)
    assert world.state() is NamespaceState.READY
    assert world.watches.left == []


@pytest.mark.parametrize("error", UNREADABLE, ids=lambda error: type(error).__name__)
async def test_a_namespace_that_cannot_be_read_stays_as_it_was(
    world: World, error: KubeError
) -> None:
    await world.become_ready()
    world.refuse(error)
    await asyncio.sleep(3600)
    assert world.state() is NamespaceState.READY
    assert world.watched()


async def test_namespaces_are_judged_when_all_were_looked_at_and_one_is_ready(
    world: World,
) -> None:
    assert not world.judged()
    world.namespaces.add("team-b")
    await asyncio.sleep(1)
    assert not world.judged()  # none is ready
    world.prepare()
    world.namespaces.add("team-a")
    assert not world.judged()  # one was not looked at yet
    await asyncio.sleep(1)
    assert world.judged()
    assert list(world.namespaces.ready()) == [BELOW]
