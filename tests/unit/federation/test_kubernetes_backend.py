"""The backend of a compute Kubernetes cluster, on a cluster in memory with real watches."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_TENANT,
    NamespaceMapping,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import (
    NODE,
    OWNER,
    UID_1,
    UID_2,
    ended_status,
    loads,
    make_compute_pod,
    make_error,
    make_key,
    make_pod,
    make_request,
    running_status,
)
from tests.fakes.client import Body
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from vnode.backend import (
    BackendError,
    NameConflict,
    ObservedPod,
    PodEvent,
    Rejected,
    Sight,
    Waiting,
)
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import EVENTS, NAMESPACES, PODS
from vnode.kube.types import ObjectKey, Pod

pytestmark = pytest.mark.looptime

KEY = make_key()
NAMESPACE_BELOW = "red--team-a"
BELOW = ObjectKey(NAMESPACE_BELOW, "job-0")
CREATE, DELETE = "create pods", "delete pods"
COMPUTE_NODE = "gpu-17"


class World:
    """A compute cluster that is prepared for namespace team-a, and the backend."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.cluster = WatchingClient(
            name="compute", unix_time=LoopClock().time, latency=lambda: self.delay
        )
        self.prepare()
        self.heard: list[ObjectKey] = []
        self.said: list[PodEvent] = []

    def prepare(self) -> None:
        metadata = {"name": NAMESPACE_BELOW, "labels": {LABEL_TENANT: OWNER.tenant}}
        self.cluster.put(NAMESPACES, {"metadata": metadata})

    async def start(self) -> None:
        """Run the backend until it has seen the namespace."""
        self.backend = KubernetesBackend(
            self.cluster.client,
            cluster="home",
            owner=OWNER,
            namespaces=NamespaceMapping(OWNER.tenant),
            policies={NODE: TranslationPolicy()},
            clock=LoopClock(),
            rng=random.Random(1),
        )
        self.backend.subscribe(self.heard.append)
        self.backend.subscribe_events(self.said.append)
        self.task = asyncio.create_task(self.backend.run())
        self.backend.namespaces.add("team-a")
        await asyncio.sleep(1)
        assert self.sight() is Sight.COMPLETE

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

    async def say(self, **event: Any) -> None:
        """The compute cluster writes an Event about the copy."""
        about = {"kind": "Pod", "namespace": BELOW.namespace, "name": BELOW.name}
        about["uid"] = self.body()["metadata"]["uid"]
        metadata = {"namespace": NAMESPACE_BELOW, "name": f"job-0.{len(self.cluster.objects)}"}
        body = {"metadata": metadata, "involvedObject": about, "type": "Warning", **event}
        self.cluster.put(EVENTS, body)
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


async def refusal_of_apply(world: World) -> BackendError:
    with pytest.raises(BackendError) as caught:
        await world.backend.apply(make_request())
    return caught.value


# --- making copies ----------------------------------------------------------------------------


async def test_a_pod_is_created_once_and_applied_again_without_a_write(world: World) -> None:
    await world.start()
    first = await world.create()
    again = await world.backend.apply(make_request())
    assert again.handle == first.handle
    assert world.writes == [CREATE]


async def test_our_own_copy_is_known_before_the_watch_brings_it(world: World) -> None:
    await world.start()
    made = await world.backend.apply(make_request())
    assert made.uid == UID_1
    assert world.copy().handle == made.handle


async def test_a_change_of_the_pod_is_patched_into_its_copy(world: World) -> None:
    await world.start()
    made = await world.create()
    changed = make_pod(labels={"stage": "two"}, version=2)
    await world.backend.apply(make_request(changed))
    assert world.body()["metadata"]["labels"]["stage"] == "two"
    assert world.cluster.named("patch pods")[0].body["metadata"]["uid"] == made.handle


async def test_a_create_whose_answer_got_lost_is_not_repeated(world: World) -> None:
    await world.start()
    world.cluster.fail(Unreachable("cut"), CREATE, after=True)
    assert isinstance(await refusal_of_apply(world), Waiting)
    await world.settle()
    assert (await world.backend.apply(make_request())).uid == UID_1
    assert world.writes == [CREATE]


async def test_a_pod_of_our_uid_that_is_there_already_is_adopted(world: World) -> None:
    await world.start()
    error = make_error(409, 'pods "job-0" already exists', reason="AlreadyExists")
    world.cluster.fail(error, CREATE, after=True)  # a retry by the network: it was ours
    adopted = await world.backend.apply(make_request())
    assert adopted.handle == world.body()["metadata"]["uid"]
    assert not adopted.gone


async def apply_while_appears(world: World, pod: Pod) -> BackendError:
    """Apply; somebody else's pod takes the name just before the create arrives."""
    world.delay = 1.0
    task = asyncio.create_task(world.backend.apply(make_request()))
    await asyncio.sleep(0.99)
    world.cluster.put(PODS, pod)
    with pytest.raises(BackendError) as caught:
        await task
    return caught.value


async def test_a_new_pod_waits_for_the_copy_of_its_predecessor(world: World) -> None:
    await world.start()
    refused = await apply_while_appears(world, make_compute_pod(make_pod(uid=UID_2)))
    assert isinstance(refused, Waiting)
    assert refused.reason == "PredecessorExists"
    await world.settle()
    again = await refusal_of_apply(world)  # known from the watch now
    assert isinstance(again, Waiting)
    assert again.reason == "PredecessorExists"
    assert world.writes == [CREATE]


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {LABEL_TENANT: "blue"}},
        {"labels": {LABEL_TENANT: ""}},
        {"annotations": {ANNOTATION_CLUSTER_UID: "another"}},
    ],
    ids=["another tenant", "no tenant", "another cluster of the tenant"],
)
async def test_a_foreign_pod_of_that_name_is_a_conflict_and_stays_as_it_is(
    world: World, change: dict[str, dict[str, str]]
) -> None:
    await world.start()
    foreign = make_compute_pod(make_pod(), **change)  # type: ignore[arg-type]
    assert isinstance(await apply_while_appears(world, foreign), NameConflict)
    before = world.body()
    await world.settle()
    assert isinstance(await refusal_of_apply(world), NameConflict)
    assert world.observed() is None
    assert world.body() == before
    assert set(world.writes) == {CREATE}


async def test_a_copy_is_not_made_where_the_namespace_is_not_ready(world: World) -> None:
    await world.start()
    pod = make_pod(namespace="team-b")
    with pytest.raises(Waiting) as caught:
        await world.backend.apply(make_request(pod))
    assert caught.value.reason == "NamespaceNotReady"
    assert "team-b" in str(caught.value)
    assert "red--" not in str(caught.value)
    assert world.writes == []


QUOTA = 'pods "job-0" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=8'
PSA = 'pods "job-0" is forbidden: violates PodSecurity "baseline:latest": privileged'
ENDING = f"unable to create content in namespace {NAMESPACE_BELOW} because it is being terminated"
RBAC = (
    'pods is forbidden: User "system:serviceaccount:vnode:red" cannot create resource "pods" in '
    f'API group "" in the namespace "{NAMESPACE_BELOW}"'
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (make_error(403, QUOTA), "QuotaExceeded"),
        (make_error(403, PSA), "PodSecurityViolation"),
        (make_error(403, ENDING), "NamespaceTerminating"),
        (make_error(403, RBAC), "ComputeForbidden"),
        (make_error(404, f'namespaces "{NAMESPACE_BELOW}" not found'), "NamespaceNotReady"),
        (make_error(409, "the object has been modified"), "ComputeConflict"),
        (make_error(429, "too many requests", retry_after=7), "ComputeBusy"),
        (make_error(500, "etcdserver: request timed out"), "ComputeError"),
        (make_error(503, "no endpoints"), "ComputeError"),
        (make_error(401, "Unauthorized"), "ComputeError"),
        (Unreachable(f"cannot connect to {COMPUTE_NODE}"), "ComputeUnreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_may_pass_is_a_reason_to_wait(
    world: World, error: KubeError, reason: str
) -> None:
    await world.start()
    world.cluster.fail(error, CREATE)
    refused = await refusal_of_apply(world)
    assert isinstance(refused, Waiting)
    assert refused.reason == reason
    assert refused.retry_after == (7 if reason == "ComputeBusy" else None)
    for secret in (NAMESPACE_BELOW, "system:serviceaccount", COMPUTE_NODE):
        assert secret not in str(refused)
    assert (await world.backend.apply(make_request())).uid == UID_1  # it did pass


@pytest.mark.parametrize("code", [400, 422])
async def test_an_invalid_pod_is_rejected_with_the_field(world: World, code: int) -> None:
    await world.start()
    text = f'Pod "job-0" is invalid: spec.hostname: in namespace "{NAMESPACE_BELOW}"'
    world.cluster.fail(make_error(code, text, fields=["spec.hostname"]), CREATE)
    refused = await refusal_of_apply(world)
    assert isinstance(refused, Rejected)
    assert refused.field == "spec.hostname"
    assert NAMESPACE_BELOW not in str(refused)


# --- copies that went -------------------------------------------------------------------------


async def test_a_copy_that_went_stays_visible_with_its_last_status(world: World) -> None:
    await world.start()
    await world.create()

    def run(body: Body) -> None:
        body["status"] = running_status()

    world.cluster.edit(PODS, BELOW, run)
    await world.drop()
    assert world.copy().gone
    assert loads(world.copy().status)["phase"] == "Running"
    world.backend.forget(world.copy())
    assert world.observed() is None


async def test_a_copy_that_came_and_went_is_not_made_again(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.drop()
    answer = await world.backend.apply(make_request())
    assert answer.gone
    assert answer.handle == made.handle
    assert world.writes == [CREATE]


async def test_the_pod_of_a_new_uid_is_made_after_its_predecessor_went(world: World) -> None:
    await world.start()
    await world.create()
    await world.drop()
    answer = await world.backend.apply(make_request(make_pod(uid=UID_2)))
    assert not answer.gone
    assert answer.uid == UID_2
    assert world.writes == [CREATE, CREATE]


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
    await world.edit(labels={})
    assert world.copy().gone


async def test_a_memory_of_another_copy_is_not_dropped(world: World) -> None:
    await world.start()
    first = await world.create()
    await world.drop()
    world.backend.forget(first)
    await world.backend.apply(make_request(make_pod(uid=UID_2)))
    await world.settle()
    await world.drop()
    world.backend.forget(first)
    assert world.copy().uid == UID_2


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


async def test_a_watch_that_cannot_be_opened_changes_nothing(world: World) -> None:
    await world.start()
    made = await world.create()
    world.cluster.fail(Unreachable("cut"), "watch pods", times=10**6)
    world.cluster.fail(make_error(403, "no"), "list pods", times=10**6)
    await asyncio.sleep(1000)
    assert world.copy().handle == made.handle
    assert not world.copy().gone


# --- is it really gone ------------------------------------------------------------------------


async def test_a_copy_is_confirmed_gone_when_no_pod_has_its_name(world: World) -> None:
    await world.start()
    await world.create()
    assert not await world.backend.confirm_gone(KEY, UID_1)
    await world.drop()
    assert await world.backend.confirm_gone(KEY, UID_1)


async def test_a_copy_is_confirmed_gone_when_its_name_is_somebody_elses(world: World) -> None:
    await world.start()
    await world.create()
    await world.drop()
    await world.put(make_compute_pod(make_pod(uid=UID_2)))
    assert await world.backend.confirm_gone(KEY, UID_1)
    assert not await world.backend.confirm_gone(KEY, UID_2)


async def test_a_copy_that_lost_its_labels_is_not_gone(world: World) -> None:
    await world.start()
    await world.create()
    await world.edit(labels={}, annotations={})
    assert world.copy().gone  # as far as the watch can tell
    assert not await world.backend.confirm_gone(KEY, UID_1)
    await world.drop()
    assert await world.backend.confirm_gone(KEY, UID_1)


@pytest.mark.parametrize("error", [Unreachable("cut"), make_error(403, "no")])
async def test_a_cluster_that_does_not_say_confirms_nothing(world: World, error: KubeError) -> None:
    await world.start()
    world.cluster.fail(error, "get pods")
    with pytest.raises(Waiting):
        await world.backend.confirm_gone(KEY, UID_1)


# --- deletion ---------------------------------------------------------------------------------


async def test_a_deletion_names_the_uid_of_the_copy_and_the_grace(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.backend.delete(made, grace_seconds=7)
    call = world.cluster.named(DELETE)[0]
    assert (call.key, call.uid, call.grace_seconds) == (BELOW, made.handle, 7)
    assert call.uid != UID_1


async def test_deleting_what_is_gone_is_done(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.drop()
    await world.backend.delete(made, grace_seconds=7)
    assert world.writes == [CREATE, DELETE]


async def test_deleting_a_copy_whose_name_another_has_now_is_done_and_harmless(
    world: World,
) -> None:
    await world.start()
    made = await world.create()
    await world.drop()
    await world.put(make_compute_pod(make_pod(uid=UID_2)))
    await world.backend.delete(made, grace_seconds=7)
    assert world.body()["metadata"]["uid"] != made.handle
    assert "deletionTimestamp" not in world.body()["metadata"]


@pytest.mark.parametrize(
    "error", [make_error(403, RBAC), make_error(500, "etcd"), Unreachable("cut")]
)
async def test_a_deletion_that_was_refused_waits(world: World, error: KubeError) -> None:
    await world.start()
    made = await world.create()
    world.cluster.fail(error, DELETE)
    with pytest.raises(Waiting) as caught:
        await world.backend.delete(made, grace_seconds=7)
    assert NAMESPACE_BELOW not in str(caught.value)


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


async def test_the_times_of_a_predecessor_are_not_those_of_its_successor(world: World) -> None:
    await world.start()
    made = await world.create()
    await world.backend.delete(made, grace_seconds=30)
    await world.drop()
    await world.put(make_compute_pod(make_pod(uid=UID_2)))
    assert world.copy().removal_requested is None


# --- what is heard ----------------------------------------------------------------------------


async def test_changes_are_told_by_the_tenants_names(world: World) -> None:
    await world.start()
    await world.create()
    world.heard.clear()

    def end(body: Body) -> None:
        body["status"] = ended_status()

    world.cluster.edit(PODS, BELOW, end)
    await world.settle()
    assert world.heard == [KEY]


async def test_pods_that_imitate_our_marks_elsewhere_are_nobodys_copy(world: World) -> None:
    await world.start()
    stranger = make_compute_pod(make_pod("other", namespace="team-b"), namespace=NAMESPACE_BELOW)
    await world.put(stranger)
    assert world.backend.observed(make_key("other", "team-b")) is None
    assert world.backend.observed(make_key("other", "team-a")) is None
    assert world.heard == []


async def test_events_about_a_copy_reach_its_pod_without_names_of_the_cluster(
    world: World,
) -> None:
    await world.start()
    made = await world.create()
    world.cluster.edit(PODS, BELOW, lambda body: body["spec"].update(nodeName=COMPUTE_NODE))
    await world.settle()
    await world.say(
        reason="FailedMount",
        message=f"pod {NAMESPACE_BELOW}/job-0 ({made.handle}) on {COMPUTE_NODE}: no volume",
    )
    said = world.said[-1]
    assert (said.key, said.uid, said.node, said.reason) == (KEY, UID_1, NODE, "FailedMount")
    assert said.message == f"pod team-a/job-0 ({UID_1}) on {NODE}: no volume"


async def test_where_a_copy_was_scheduled_is_not_told(world: World) -> None:
    await world.start()
    await world.create()
    await world.say(reason="Scheduled", message=f"assigned to {COMPUTE_NODE}")
    assert world.said == []


async def test_events_about_an_earlier_pod_of_that_name_are_not_told(world: World) -> None:
    await world.start()
    await world.create()
    await world.say(
        reason="Killing",
        involvedObject={"kind": "Pod", **BELOW._asdict(), "uid": "another"},
    )
    assert world.said == []


# --- reachability -----------------------------------------------------------------------------


async def test_a_cluster_that_stops_to_answer_is_unreachable_and_nothing_is_gone(
    world: World,
) -> None:
    await world.start()
    await world.create()
    assert world.is_reachable()
    for call in ("get version", "get namespaces", "list pods", "watch pods"):
        world.cluster.fail(Unreachable("cut"), call, times=10**6)
    await asyncio.sleep(60)
    assert not world.is_reachable()
    await asyncio.sleep(3600)
    assert world.sight() is Sight.COMPLETE
    assert not world.copy().gone
