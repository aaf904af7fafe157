"""The backend where it may make namespaces: when it does, whose they are, and what it watches."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from federation.backends.kubernetes.namespaces import NamespaceState
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_MADE,
    ANNOTATION_NAMESPACE,
    LABEL_MANAGED_BY,
    LABEL_TENANT,
)
from tests.builders import (
    OWNER,
    UID_1,
    make_error,
    make_key,
    make_metadata,
    make_pod,
    make_request,
)
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from tests.unit.federation.compute import home_backend
from vnode.backend import ObjectRef, PodEvent, ReferenceKind, Sight, Waiting
from vnode.kube.resources import EVENTS, NAMESPACES, PODS, SERVICE_ACCOUNTS
from vnode.kube.types import ConfigMap, ObjectKey

pytestmark = pytest.mark.looptime

BELOW = "red--team-a"
LEVEL = "pod-security.kubernetes.io/enforce"
READY, ABSENT = NamespaceState.READY, NamespaceState.ABSENT


async def never_asked(namespace: str) -> bool:
    raise AssertionError(f"nobody has to know of {namespace}")


class World:
    """A compute cluster in which nothing is prepared, and the backend."""

    def __init__(self) -> None:
        self.cluster = WatchingClient(name="compute", unix_time=LoopClock().time)
        self.told: list[PodEvent] = []
        self.give_account(BELOW)

    def give_account(self, namespace: str) -> None:
        """What the compute cluster's own controllers do in every namespace."""
        self.cluster.put(SERVICE_ACCOUNTS, make_metadata("default", namespace=namespace))

    async def start(self, *namespaces: str) -> None:
        self.backend = home_backend(
            self.cluster.client, on_demand=OnDemand(is_gone=never_asked, labels={LEVEL: "baseline"})
        )
        self.backend.subscribe_events(self.told.append)
        self.task = asyncio.create_task(self.backend.run())
        for namespace in namespaces or ("team-a",):
            self.backend.namespaces.add(namespace)
        await asyncio.sleep(1)

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def state(self) -> NamespaceState:
        return self.backend.namespaces.state("team-a")

    def sight(self) -> Sight:
        return self.backend.sight("team-a")

    def namespace(self) -> Any:
        return self.cluster.get_body(NAMESPACES, ObjectKey("", BELOW))

    def prepare(self, *, labels: dict[str, str], annotations: dict[str, str] | None = None) -> None:
        self.cluster.put(
            NAMESPACES, make_metadata(BELOW, namespace="", labels=labels, annotations=annotations)
        )

    async def apply(self) -> None:
        await self.backend.apply(make_request())
        await asyncio.sleep(0.01)

    def end(self) -> None:
        """Somebody deletes the namespace, and something in it holds that up."""
        stamp = {"deletionTimestamp": "2027-01-15T08:00:00Z"}
        self.edit(lambda metadata: metadata.update(stamp))

    def edit(self, change: Callable[[Any], None]) -> None:
        self.cluster.edit(NAMESPACES, ObjectKey("", BELOW), lambda body: change(body["metadata"]))

    def vanish(self) -> None:
        self.cluster.drop(PODS, ObjectKey(BELOW, "job-0"))
        self.cluster.drop(NAMESPACES, ObjectKey("", BELOW))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.stop()


# --- making -----------------------------------------------------------------------------------


async def test_nothing_is_made_before_a_pod_needs_it(world: World) -> None:
    await world.start()
    await asyncio.sleep(1000)
    assert world.state() is ABSENT
    assert world.sight() is Sight.COMPLETE  # nothing of ours is in what does not exist
    assert world.namespace() is None


async def test_the_first_pod_makes_it_with_our_marks(world: World) -> None:
    await world.start()
    await world.apply()
    assert world.state() is READY
    assert world.cluster.get_body(PODS, ObjectKey(BELOW, "job-0"))
    assert world.namespace()["metadata"]["labels"] == {
        LABEL_TENANT: OWNER.tenant,
        LABEL_MANAGED_BY: "vnode",
        LEVEL: "baseline",
    }
    assert world.namespace()["metadata"]["annotations"] == {
        ANNOTATION_CLUSTER_UID: OWNER.cluster_uid,
        ANNOTATION_NAMESPACE: "team-a",
        ANNOTATION_MADE: "on-demand",
    }
    assert world.backend.place("team-a")


async def test_the_first_object_of_a_pod_makes_it_too(world: World) -> None:
    await world.start()
    body = ConfigMap(metadata=make_pod().metadata)
    await world.backend.put_object(ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "a"), body)
    assert world.state() is READY


async def test_many_pods_make_it_once(world: World) -> None:
    await world.start()
    pods = [make_pod(f"job-{i}", uid=f"uid-{i}") for i in range(20)]
    await asyncio.gather(*(world.backend.apply(make_request(pod)) for pod in pods))
    assert len(world.cluster.named("create namespaces")) == 1
    assert len(world.cluster.named("create pods")) == 20


async def test_pods_wait_for_the_account_of_a_new_namespace_but_not_for_ever(world: World) -> None:
    world.cluster.drop(SERVICE_ACCOUNTS, ObjectKey(BELOW, "default"))
    await world.start()
    making = asyncio.ensure_future(world.backend.apply(make_request()))
    await asyncio.sleep(2)
    assert not world.cluster.named("create pods")
    world.give_account(BELOW)
    await asyncio.sleep(1)
    assert making.done()
    world.vanish()
    world.cluster.drop(SERVICE_ACCOUNTS, ObjectKey(BELOW, "default"))
    world.backend.namespaces.look_again("team-a")
    await asyncio.sleep(1000)
    making = asyncio.ensure_future(world.backend.apply(make_request(make_pod("job-1"))))
    await asyncio.sleep(7)
    assert making.done()


async def test_a_refusal_is_the_reason_why_the_pod_waits(world: World) -> None:
    await world.start()
    text = f'namespaces "{BELOW}" is forbidden: denied request'
    world.cluster.fail(make_error(403, text), "create namespaces")
    with pytest.raises(Waiting) as waiting:
        await world.apply()
    assert waiting.value.reason == "ComputeForbidden"
    assert BELOW not in str(waiting.value)
    assert world.state() is ABSENT
    # The pod can be let go: nothing was ever made.
    assert await world.backend.confirm_gone(make_key(), UID_1)
    await world.apply()
    assert world.state() is READY


async def test_asking_whether_a_copy_is_gone_makes_nothing(world: World) -> None:
    await world.start()
    assert await world.backend.confirm_gone(make_key(), UID_1)
    assert world.namespace() is None


# --- whose it is ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "annotations"),
    [
        ({}, {}),
        ({LABEL_TENANT: "blue"}, {}),
        ({LABEL_TENANT: OWNER.tenant}, {ANNOTATION_CLUSTER_UID: "another"}),
        # Two long names that are cut to the same one.
        ({LABEL_TENANT: OWNER.tenant}, {ANNOTATION_NAMESPACE: "another"}),
    ],
)
async def test_one_of_somebody_else_that_was_made_meanwhile_is_refused(
    world: World, labels: dict[str, str], annotations: dict[str, str]
) -> None:
    await world.start()
    world.prepare(labels=labels, annotations=annotations)
    with pytest.raises(Waiting, match="for somebody else"):
        await world.apply()
    assert world.state() is NamespaceState.FOREIGN
    assert world.sight() is Sight.BARRED
    assert not world.cluster.named("create pods")


async def test_ours_that_another_replica_made_meanwhile_is_used(world: World) -> None:
    await world.start()
    world.prepare(labels={LABEL_TENANT: OWNER.tenant})
    await world.apply()
    assert world.state() is READY
    assert world.cluster.named("create pods")


# --- one that ends ----------------------------------------------------------------------------


async def test_what_is_being_deleted_is_made_anew_when_it_is_gone(world: World) -> None:
    await world.start()
    await world.apply()
    before = world.backend.place("team-a")
    world.end()
    refusal = make_error(403, "because it is being terminated", reason="Forbidden")
    world.cluster.fail(refusal, "create pods")
    with pytest.raises(Waiting) as waiting:
        await world.backend.apply(make_request(make_pod("job-1")))
    assert waiting.value.reason == "NamespaceTerminating"
    await asyncio.sleep(3)
    assert world.backend.place("team-a") == before  # it is still there, and looked at
    world.vanish()
    await world.backend.apply(make_request(make_pod("job-1")))
    assert world.state() is READY
    assert world.backend.place("team-a") not in ("", before)


async def test_what_was_being_deleted_and_is_gone_needs_no_second_look(world: World) -> None:
    await world.start()
    await world.apply()
    world.end()
    world.backend.namespaces.look_again("team-a")
    await asyncio.sleep(2)
    world.vanish()
    await asyncio.sleep(70)
    assert world.state() is ABSENT
    assert world.backend.place("team-a") == ""


async def test_an_api_server_that_just_started_is_not_believed(world: World) -> None:
    await world.start()
    await world.apply()
    world.cluster.fail(make_error(404), "get namespaces", times=2)
    await asyncio.sleep(400)
    assert world.state() is READY
    assert len(world.cluster.named("create namespaces")) == 1


# --- what is watched --------------------------------------------------------------------------


async def test_what_is_ours_is_watched_once_and_what_others_write_per_namespace(
    world: World,
) -> None:
    for name in ("a", "b"):
        world.give_account(f"red--{name}")
    await world.start("a", "b", "c")
    for name in ("a", "b"):
        await world.backend.apply(make_request(make_pod(namespace=name)))
    await asyncio.sleep(1)
    lists = [(call.plural, call.key.namespace) for call in world.cluster.calls]
    lists = [
        each for each, call in zip(lists, world.cluster.calls, strict=True) if call.verb == "list"
    ]
    assert sorted(lists) == [
        ("configmaps", ""),
        ("events", "red--a"),
        ("events", "red--b"),
        ("pods", ""),
        ("resourcequotas", "red--a"),
        ("resourcequotas", "red--b"),
        ("secrets", ""),
    ]


async def test_a_copy_that_went_unseen_is_gone_after_the_next_listing(world: World) -> None:
    await world.start()
    await world.apply()
    world.cluster.fail(make_error(410, "too old", reason="Expired"), "watch pods", times=2)
    world.cluster.cut_streams()
    world.cluster.drop(PODS, ObjectKey(BELOW, "job-0"))
    await asyncio.sleep(60)
    copy = world.backend.observed(make_key())
    assert copy is not None
    assert copy.gone


async def test_events_that_are_older_than_the_first_listing_are_told_in_a_new_namespace(
    world: World,
) -> None:
    await world.start()
    world.cluster.fail(make_error(500, "etcd"), "list events")
    await world.apply()
    pod = world.cluster.get_body(PODS, ObjectKey(BELOW, "job-0"))
    assert pod is not None
    about = {"kind": "Pod", "namespace": BELOW, "name": "job-0", "uid": pod["metadata"]["uid"]}
    metadata = {"name": "e1", "namespace": BELOW}
    event = {"metadata": metadata, "involvedObject": about, "reason": "FailedScheduling"}
    world.cluster.put(EVENTS, {**event, "type": "Warning", "message": "no room"})
    assert not world.told
    await asyncio.sleep(5)
    assert [told.reason for told in world.told] == ["FailedScheduling"]
