"""What becomes of compute namespaces when their tenant namespace is gone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from federation.backends.kubernetes.leftovers import Kept
from federation.backends.kubernetes.namespaces import NamespaceState
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_MADE,
    ANNOTATION_NAMESPACE,
    LABEL_TENANT,
)
from tests.builders import (
    OWNER,
    make_compute_pod,
    make_error,
    make_key,
    make_metadata,
    make_request,
)
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from tests.unit.federation.compute import home_backend
from vnode.backend import Sight, Waiting
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

BELOW = "red--team-a"
MARKS = {
    ANNOTATION_CLUSTER_UID: OWNER.cluster_uid,
    ANNOTATION_NAMESPACE: "team-a",
    ANNOTATION_MADE: "on-demand",
}
SWEEP = 340.0


class World:
    """A compute cluster with a namespace that the agent made, and the backend."""

    def __init__(self) -> None:
        self.cluster = WatchingClient(name="compute", unix_time=LoopClock().time)
        self.cluster.put(SERVICE_ACCOUNTS, make_metadata("default", namespace=BELOW))
        self.tenant_has: set[str] = set()
        self.tenant_error: KubeError | None = None
        self.decides = asyncio.Event()
        self.decides.set()
        self.kept: dict[str, int] = {}

    async def is_gone(self, namespace: str) -> bool:
        await self.decides.wait()
        if self.tenant_error is not None:
            raise self.tenant_error
        return namespace not in self.tenant_has

    def report(self, counts: Mapping[str, int]) -> None:
        self.kept = {why: count for why, count in counts.items() if count}

    async def start(self, *, delete: bool = True, on_demand: bool = True) -> None:
        settings = OnDemand(is_gone=self.is_gone, delete=delete, report=self.report)
        self.backend = home_backend(self.cluster.client, on_demand=settings if on_demand else None)
        self.task = asyncio.create_task(self.backend.run())
        await asyncio.sleep(1)

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task

    def prepare(self, *, annotations: dict[str, str] | None = None) -> None:
        labels = {LABEL_TENANT: OWNER.tenant}
        marks = MARKS if annotations is None else annotations
        self.cluster.put(
            NAMESPACES, make_metadata(BELOW, namespace="", labels=labels, annotations=marks)
        )

    async def add(self) -> None:
        """The tenant namespace appears."""
        self.tenant_has.add("team-a")
        self.backend.namespaces.add("team-a")
        await asyncio.sleep(1)

    async def release(self, *, seconds: float = 5) -> None:
        """The tenant namespace goes."""
        self.tenant_has.discard("team-a")
        self.backend.namespaces.release("team-a")
        await asyncio.sleep(seconds)

    def exists(self) -> bool:
        return self.cluster.get_body(NAMESPACES, ObjectKey("", BELOW)) is not None

    def state(self) -> NamespaceState:
        return self.backend.namespaces.state("team-a")

    def looks(self) -> int:
        return len(self.cluster.named("get namespaces"))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.stop()


def foreign(name: str = "theirs", *, namespace: str = BELOW) -> Any:
    return make_metadata(name, namespace=namespace)


# --- deletion ---------------------------------------------------------------------------------


async def test_an_empty_one_that_the_agent_made_is_deleted_with_its_uid(world: World) -> None:
    await world.start()
    await world.add()
    made = await world.backend.apply(make_request())
    (uid,) = (
        body["metadata"]["uid"]
        for (kind, _), body in world.cluster.objects.items()
        if kind == NAMESPACES.plural
    )
    world.cluster.drop(PODS, ObjectKey(BELOW, "job-0"))
    await asyncio.sleep(1)
    copy = world.backend.observed(made.key)
    assert copy is not None
    world.backend.forget(copy)
    await world.release()
    assert not world.exists()
    (deletion,) = world.cluster.named("delete namespaces")
    assert deletion.uid == uid
    assert world.kept == {}


async def test_one_that_was_changed_since_it_was_looked_at_is_judged_again(world: World) -> None:
    world.prepare()
    await world.start()
    await world.add()
    world.decides.clear()
    await world.release()
    world.cluster.edit(
        NAMESPACES,
        ObjectKey("", BELOW),
        lambda body: body["metadata"]["annotations"].pop(ANNOTATION_MADE),
    )
    world.decides.set()
    await asyncio.sleep(5)
    assert world.exists()
    await asyncio.sleep(SWEEP)
    assert world.kept == {Kept.NOT_MADE_BY_US: 1}


async def test_nothing_is_deleted_unless_the_configuration_says_so(world: World) -> None:
    world.prepare()
    await world.start(delete=False)
    await world.add()
    await world.release(seconds=SWEEP * 2)
    assert world.exists()
    assert world.kept == {Kept.BY_POLICY: 1}


async def test_one_that_the_agent_did_not_make_is_kept(world: World) -> None:
    marks = {name: value for name, value in MARKS.items() if name != ANNOTATION_MADE}
    world.prepare(annotations=marks)
    await world.start()
    await world.add()
    await world.release()
    assert world.exists()
    assert world.kept == {Kept.NOT_MADE_BY_US: 1}


async def test_one_that_the_platform_prepared_is_none_of_our_business(world: World) -> None:
    world.prepare(annotations={})
    await world.start()
    await world.add()
    await world.release()
    assert world.exists()
    assert world.kept == {}


@pytest.mark.parametrize(
    ("resource", "why"), [(PODS, Kept.PODS), (PERSISTENT_VOLUME_CLAIMS, Kept.CLAIMS)]
)
async def test_what_others_have_in_it_keeps_it_until_that_is_gone(
    world: World, resource: Any, why: Kept
) -> None:
    world.prepare()
    world.cluster.put(resource, foreign())
    world.cluster.put(PODS, foreign(namespace="elsewhere"))
    await world.start()
    await world.add()
    await world.release()
    assert world.exists()
    assert world.kept == {why: 1}
    world.cluster.drop(resource, ObjectKey(BELOW, "theirs"))
    await asyncio.sleep(SWEEP)
    assert not world.exists()
    assert world.kept == {}


async def test_one_that_somebody_else_removed_is_not_counted_any_more(world: World) -> None:
    world.prepare()
    await world.start(delete=False)
    await world.add()
    await world.release()
    assert world.kept == {Kept.BY_POLICY: 1}
    world.cluster.drop(NAMESPACES, ObjectKey("", BELOW))
    await asyncio.sleep(SWEEP)
    assert world.kept == {}


@pytest.mark.parametrize("resource", [PODS, CONFIG_MAPS, SECRETS])
async def test_our_own_copies_keep_it(world: World, resource: Any) -> None:
    world.prepare()
    copy = make_compute_pod()
    world.cluster.put(resource, {"metadata": copy.metadata, "spec": copy.spec})
    await world.start()
    await world.add()
    await world.release(seconds=600)
    assert world.exists()
    assert not world.cluster.named("delete namespaces")
    # They are still seen, so that they can be ended.
    assert world.backend.sight("team-a") is Sight.COMPLETE


async def test_the_tenant_s_api_server_has_the_last_word(world: World) -> None:
    world.prepare()
    await world.start()
    await world.add()
    world.backend.namespaces.release("team-a")  # a watch that is mistaken
    await asyncio.sleep(5)
    assert world.exists()
    assert world.kept == {Kept.TENANT_NAMESPACE: 1}
    await world.add()
    assert world.kept == {}


@pytest.mark.parametrize(
    "call", ["", "list pods", "list persistentvolumeclaims", "delete namespaces"]
)
async def test_one_that_cannot_be_judged_is_kept_and_tried_again(world: World, call: str) -> None:
    world.prepare()
    await world.start()
    await world.add()
    if call:
        world.cluster.fail(make_error(500, "etcd"), call)
    else:
        world.tenant_error = Unreachable("cut")
    await world.release()
    assert world.exists()
    assert world.kept == {Kept.FAILED: 1}
    world.tenant_error = None
    await asyncio.sleep(SWEEP)
    assert not world.exists()
    assert world.kept == {}


async def test_one_that_cannot_be_looked_at_now_is_not_judged_by_an_old_look(world: World) -> None:
    world.prepare()
    await world.start()
    await world.add()
    world.cluster.fail(Unreachable("cut"), "get namespaces", times=2)
    await world.release()
    assert world.exists()
    # Meanwhile somebody says that it is to stay.
    keep = {name: value for name, value in MARKS.items() if name != ANNOTATION_MADE}
    world.cluster.edit(
        NAMESPACES,
        ObjectKey("", BELOW),
        lambda body: body["metadata"].update(annotations=keep),
    )
    await asyncio.sleep(SWEEP)
    assert world.exists()
    assert world.kept == {Kept.NOT_MADE_BY_US: 1}


async def test_one_that_a_dead_agent_left_is_found(world: World) -> None:
    world.prepare()
    await world.start()
    await asyncio.sleep(SWEEP)
    assert not world.exists()


@pytest.mark.parametrize("marks", [{**MARKS, ANNOTATION_CLUSTER_UID: "another"}, {}])
async def test_those_of_others_are_not_even_looked_at(world: World, marks: dict[str, str]) -> None:
    world.prepare(annotations=marks)
    await world.start()
    await asyncio.sleep(SWEEP * 2)
    assert world.exists()
    assert world.looks() == 0


async def test_a_listing_that_fails_is_tried_again(world: World) -> None:
    world.prepare()
    world.cluster.fail(make_error(500, "etcd"), "list namespaces")
    await world.start()
    await asyncio.sleep(SWEEP * 2)
    assert not world.exists()


# --- back again -------------------------------------------------------------------------------


async def test_pods_of_a_tenant_namespace_that_comes_back_wait_for_the_judgement(
    world: World,
) -> None:
    world.prepare()
    await world.start()
    await world.add()
    world.decides.clear()
    await world.release()
    world.backend.namespaces.add("team-a")
    applying = asyncio.ensure_future(world.backend.apply(make_request()))
    await asyncio.sleep(5)
    assert not world.cluster.named("create pods")
    world.decides.set()
    await asyncio.sleep(5)
    # The old one went, and another one was made for the pod.
    assert [c.name for c in world.cluster.calls if c.verb in ("create", "delete")] == [
        "delete namespaces",
        "create namespaces",
        "create pods",
    ]
    await applying


async def test_a_pod_that_came_too_late_makes_no_namespace(world: World) -> None:
    world.prepare()
    await world.start()
    await world.add()
    world.decides.clear()
    await world.release()
    applying = asyncio.ensure_future(world.backend.apply(make_request()))
    await asyncio.sleep(5)
    world.decides.set()
    with pytest.raises(Waiting, match="is not forwarded"):
        await applying
    assert not world.exists()


async def test_a_pod_that_is_faster_than_its_namespace_waits(world: World) -> None:
    world.prepare()
    await world.start()
    await world.add()
    await world.release()
    with pytest.raises(Waiting, match="is not forwarded"):
        await world.backend.apply(make_request())
    await world.add()
    await world.backend.apply(make_request())
    assert world.exists()


# --- the end of looking -----------------------------------------------------------------------


@pytest.mark.parametrize("prepared", [True, False])
@pytest.mark.parametrize("on_demand", [True, False])
async def test_looks_and_watches_end_when_nothing_is_left(
    world: World, prepared: bool, on_demand: bool
) -> None:
    if prepared:
        world.prepare(annotations={})
    await world.start(on_demand=on_demand)
    await world.add()
    await world.release()
    assert world.state() is NamespaceState.NOT_FORWARDED
    looks = world.looks()
    watches = len(world.cluster.named("watch events"))
    world.cluster.cut_streams()
    await asyncio.sleep(3600)
    assert world.looks() == looks
    assert len(world.cluster.named("watch events")) == watches


async def test_in_a_prepared_one_copies_are_seen_until_they_are_gone(world: World) -> None:
    world.prepare(annotations={})
    world.cluster.put(PODS, make_compute_pod())
    await world.start(on_demand=False)
    await world.add()
    await world.release(seconds=600)
    assert world.backend.sight("team-a") is Sight.COMPLETE
    world.cluster.drop(PODS, ObjectKey(BELOW, "job-0"))
    await asyncio.sleep(1)
    copy = world.backend.observed(make_key())
    assert copy is not None
    assert copy.gone
    await asyncio.sleep(120)
    assert world.backend.sight("team-a") is Sight.COMPLETE  # its end was not told yet
    world.backend.forget(copy)
    await asyncio.sleep(120)
    assert world.state() is NamespaceState.NOT_FORWARDED
    assert world.backend.sight("team-a") is Sight.BARRED


async def test_one_that_cannot_be_read_is_looked_at_on(world: World) -> None:
    world.prepare(annotations={})
    world.cluster.fail(Unreachable("cut"), "get namespaces", times=5)
    await world.start(on_demand=False)
    await world.add()
    await world.release(seconds=1)
    assert world.state() is NamespaceState.UNKNOWN
    await asyncio.sleep(100)
    assert world.state() is NamespaceState.NOT_FORWARDED
