"""The backend with its watches running: copies that go, links that break, namespaces given up.

What single calls do is in `test_backend`; here reflectors bring what happened, in their own time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.backends.kubernetes.translate.names import (
    LABEL_TENANT,
)
from tests.builders import (
    OWNER,
    UID_1,
    UID_2,
    make_compute_pod,
    make_error,
    make_key,
    make_pod,
    make_request,
)
from tests.fakes.client import Body
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from tests.unit.federation.compute import home_backend
from vnode.backend import (
    ObservedPod,
    Sight,
)
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import ObjectKey, Pod
from vnode.pods.lifecycle import was_deleted

pytestmark = pytest.mark.looptime

KEY = make_key()
NAMESPACE_BELOW = "red--team-a"
BELOW = ObjectKey(NAMESPACE_BELOW, "job-0")


class World:
    """A compute cluster that is prepared for namespace team-a, and the backend."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.cluster = WatchingClient(
            name="compute", unix_time=LoopClock().time, latency=lambda: self.delay
        )
        self.prepare()

    def prepare(self) -> None:
        metadata = {"name": NAMESPACE_BELOW, "labels": {LABEL_TENANT: OWNER.tenant}}
        self.cluster.put(NAMESPACES, {"metadata": metadata})

    async def start(self) -> None:
        """Run the backend until it has seen the namespace."""
        await self.begin()
        assert self.sight() is Sight.COMPLETE

    async def begin(self) -> None:
        """Run the backend for a second."""
        self.backend = home_backend(self.cluster.client)
        self.task = asyncio.create_task(self.backend.run())
        self.backend.namespaces.add("team-a")
        await asyncio.sleep(1)

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    # --- what there is --------------------------------------------------------------------------

    def is_reachable(self) -> bool:
        return self.backend.reachable

    def sight(self) -> Sight:
        return self.backend.sight("team-a")

    def observed(self) -> ObservedPod | None:
        return self.backend.observed(KEY)

    def copy(self) -> ObservedPod:
        copy = self.observed()
        assert copy is not None
        return copy

    def body(self) -> Body:
        body = self.cluster.get_body(PODS, BELOW)
        assert body is not None
        return body

    @property
    def writes(self) -> list[str]:
        """All that changed something, in order."""
        verbs = ("create", "replace", "patch", "delete")
        return [name for name in self.cluster.names() if name.split()[0] in verbs]

    # --- what happens below ---------------------------------------------------------------------

    async def create(self) -> ObservedPod:
        """The copy of `job-0`, made by the backend and seen by its watch."""
        await self.backend.apply(make_request())
        await self.settle()
        return self.copy()

    async def put(self, pod: Pod) -> None:
        self.cluster.put(PODS, pod)
        await self.settle()

    async def edit(self, **metadata: Any) -> None:
        self.cluster.edit(PODS, BELOW, lambda body: body["metadata"].update(metadata))
        await self.settle()

    async def drop(self) -> None:
        self.cluster.drop(PODS, BELOW)
        await self.settle()

    async def settle(self) -> None:
        """Let the watches bring what happened."""
        await asyncio.sleep(0.01)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Not started: fixtures run in real time, looptime is for the test alone."""
    world = World()
    yield world
    await world.stop()


# --- copies that went -------------------------------------------------------------------------


async def test_the_pod_of_a_new_uid_is_made_after_its_predecessor_went(world: World) -> None:
    await world.start()
    await world.create()
    await world.drop()
    answer = await world.backend.apply(make_request(make_pod(uid=UID_2)))
    assert not answer.gone
    assert answer.uid == UID_2
    assert world.writes == ["create pods"] * 2


async def test_an_answer_that_comes_after_the_copy_went_does_not_bring_it_back(
    world: World,
) -> None:
    await world.start()
    world.delay = 1.0
    task = asyncio.create_task(world.backend.apply(make_request()))
    await asyncio.sleep(1.5)  # created, not answered
    await world.drop()
    assert world.copy().gone
    assert (await task).gone
    assert world.copy().gone
    assert world.backend.pods.get(BELOW) is None


async def test_a_copy_that_reappears_is_not_gone(world: World) -> None:
    await world.start()
    made = await world.create()
    labels = world.body()["metadata"]["labels"]
    await world.edit(labels={})
    assert world.copy().gone
    await world.edit(labels=labels)
    assert not world.copy().gone
    assert world.copy().handle == made.handle
    # Nor is the memory of its end found when we may no longer look.
    world.cluster.drop(NAMESPACES, make_key(NAMESPACE_BELOW, ""))
    await asyncio.sleep(1000)
    assert world.sight() is Sight.BARRED
    assert world.observed() is None


@pytest.mark.parametrize("how", ["missing", "forbidden", "foreign"])
async def test_copies_in_a_namespace_that_was_given_up_are_not_gone(world: World, how: str) -> None:
    await world.start()
    made = await world.create()
    match how:
        case "missing":
            world.cluster.drop(NAMESPACES, make_key(NAMESPACE_BELOW, ""))
        case "forbidden":
            world.cluster.fail(make_error(403, "no"), "get namespaces", times=10**6)
        case "foreign":
            world.cluster.edit(
                NAMESPACES,
                make_key(NAMESPACE_BELOW, ""),
                lambda body: body["metadata"].update(labels={LABEL_TENANT: "blue"}),
            )
    await asyncio.sleep(1000)
    assert world.sight() is Sight.BARRED
    assert len(world.backend.pods) == 0
    assert world.observed() is None
    world.cluster.heal()
    world.prepare()
    await asyncio.sleep(100)
    assert world.sight() is Sight.COMPLETE
    assert world.copy().handle == made.handle
    assert not world.copy().gone


@pytest.mark.parametrize("kind", ["pods", "configmaps", "secrets"])
async def test_a_right_that_is_missing_is_the_reason_why_nothing_is_seen(
    world: World, kind: str
) -> None:
    world.cluster.fail(make_error(403, NAMESPACE_BELOW), f"list {kind}", times=10**6)
    await world.begin()
    assert world.sight() is Sight.UNKNOWN
    assert world.backend.why_unseen("team-a").reason == "ComputeForbidden"
    world.cluster.heal()
    await asyncio.sleep(60)
    assert world.sight() is Sight.COMPLETE


async def test_a_credential_that_is_refused_is_the_reason_why_nothing_is_seen(
    world: World,
) -> None:
    for call in ("get namespaces", "get version"):
        world.cluster.fail(make_error(401, "expired"), call, times=10**6)
    await world.begin()
    assert world.sight() is Sight.UNKNOWN
    assert world.backend.why_unseen("team-a").reason == "ComputeForbidden"


def cut_link(world: World) -> None:
    """Nothing that the reflectors ask for is answered, and open watches end."""
    for call in ("get version", "get namespaces", "list pods", "watch pods"):
        world.cluster.fail(Unreachable("cut"), call, times=10**6)
    world.cluster.cut_streams()


@pytest.mark.parametrize("error", [make_error(403, "no"), make_error(500, "etcd")])
async def test_a_cluster_that_refuses_to_be_watched_changes_nothing(
    world: World, error: KubeError
) -> None:
    await world.start()
    made = await world.create()
    for call in ("list pods", "watch pods"):
        world.cluster.fail(error, call, times=10**6)
    world.cluster.cut_streams()
    await asyncio.sleep(1000)
    assert len(world.cluster.named("list pods")) > 1  # it was in doubt
    assert world.copy().handle == made.handle
    assert not world.copy().gone


async def test_a_copy_that_went_while_the_link_was_cut_is_gone_afterwards(world: World) -> None:
    await world.start()
    made = await world.create()
    cut_link(world)
    await world.drop()
    await asyncio.sleep(100)
    assert not world.copy().gone
    world.cluster.heal()
    await asyncio.sleep(60)
    assert world.copy().gone
    assert world.copy().handle == made.handle


# --- is it really gone ------------------------------------------------------------------------


async def test_a_copy_that_lost_its_labels_is_not_gone(world: World) -> None:
    await world.start()
    await world.create()
    await world.edit(labels={}, annotations={})
    assert world.copy().gone  # as far as the watch can tell
    assert not await world.backend.confirm_gone(KEY, UID_1)
    await world.drop()
    assert await world.backend.confirm_gone(KEY, UID_1)


# --- deletion ---------------------------------------------------------------------------------


async def test_a_deletion_that_was_carried_out_is_told_from_a_label_that_was_taken(
    world: World,
) -> None:
    await world.start()
    made = await world.create()
    labels = world.body()["metadata"]["labels"]
    await world.backend.delete(made, grace_seconds=30)
    await world.settle()
    await world.edit(labels={})
    assert world.copy().gone
    assert not was_deleted(world.copy())
    await world.edit(labels=labels)
    await world.backend.delete(made, grace_seconds=0)
    await world.settle()
    assert was_deleted(world.copy())


async def test_the_time_at_which_a_deletion_was_asked_for_stays_the_first(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.backend.delete(made, grace_seconds=30)
    await world.settle()
    asked = world.copy().removal_requested
    assert asked is not None
    await asyncio.sleep(20)
    # A kubelet's last step: deleted with grace 0, which sets the time anew; a finalizer holds it.
    await world.edit(
        finalizers=["example.com/hold"],
        deletionTimestamp="2027-01-15T08:00:20Z",
        deletionGracePeriodSeconds=0,
    )
    assert world.copy().removal_requested == asked
    await world.edit(finalizers=[])
    assert world.copy().gone
    assert world.copy().removal_requested == asked


@pytest.mark.parametrize("stranger", [False, True], ids=["nothing", "another pod"])
async def test_a_copy_that_a_restored_cluster_does_not_have_is_gone_soon_after_its_deletion(
    world: World, stranger: bool
) -> None:
    await world.start()
    made = await world.create()
    # As if it had passed our version before it answered us: its watch says nothing of the past.
    lost = world.cluster.objects.pop(("pods", BELOW))
    if stranger:
        metadata = {**lost["metadata"], "uid": "another", "labels": {}}
        world.cluster.objects["pods", BELOW] = {**lost, "metadata": metadata}
    await world.backend.delete(made, grace_seconds=30)
    assert not world.copy().gone
    await asyncio.sleep(5)
    assert world.cluster.names().count("list pods") == 1
    await asyncio.sleep(65)
    assert world.copy().gone


@pytest.mark.parametrize("outage", [600, 609, 618])  # not all of these end by chance
async def test_watches_do_not_wait_for_long_once_the_cluster_answers_again(
    world: World, outage: int
) -> None:
    await world.start()
    await world.create()
    cut_link(world)
    await asyncio.sleep(outage)
    world.cluster.drop(PODS, BELOW)
    world.cluster.heal()
    await asyncio.sleep(7)  # of which 3 are until the next question whether it answers
    assert world.copy().gone


async def test_the_times_of_a_predecessor_are_not_those_of_its_successor(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.backend.delete(made, grace_seconds=30)
    await world.settle()
    cut_link(world)
    await world.drop()
    successor = make_compute_pod(make_pod(uid=UID_2), deleted="2027-01-15T09:00:30Z", grace=30)
    await world.put(successor)
    world.cluster.heal()
    # Too old to go on: a listing shows the one in the place of the other.
    world.cluster.fail(make_error(410, "too old", reason="Expired"), "watch pods")
    await asyncio.sleep(60)
    assert world.copy().uid == UID_2
    assert world.copy().removal_requested == "2027-01-15T09:00:00Z"


# --- reachability -----------------------------------------------------------------------------


async def test_a_cluster_that_stops_to_answer_is_unreachable_and_nothing_is_gone(
    world: World,
) -> None:
    await world.start()
    await world.create()
    assert world.is_reachable()
    cut_link(world)
    await asyncio.sleep(60)
    assert not world.is_reachable()
    await asyncio.sleep(3600)
    assert world.sight() is Sight.COMPLETE
    assert not world.copy().gone


async def test_of_events_only_those_are_watched_that_say_something_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    stream = world.cluster.stream

    def watched(path: str, **request: Any) -> Any:
        if path.endswith("/events"):
            asked.append(request["query"]["fieldSelector"])
        return stream(path, **request)

    monkeypatch.setattr(world.cluster, "stream", watched)
    await world.start()
    assert asked == ["involvedObject.kind=Pod,reason!=Scheduled"]
