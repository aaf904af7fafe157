"""Pods of a compute cluster that does not answer: who waits, who is given up, who is held."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from tests.builders import NODE, UID_1, UID_2, make_copy, make_error, make_pod, make_uid
from tests.fakes.backend import UNREACHABLE
from tests.unit.pods.world import OTHER_NODE, World
from vnode.kube.resources import NODES, PODS
from vnode.kube.types import ObjectKey, OwnerReference, Pod
from vnode.pods.partition.fence_list import FENCED, MOST_BYTES, Fence, encode
from vnode.pods.partition.policy import ANNOTATION

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")


def patient(
    uid: str = UID_1, *, name: str = "job-0", say: str = "fail-after=1m", restart: str = "Never"
) -> Pod:
    return make_pod(name, uid=uid, annotations={ANNOTATION: say}, restart=restart)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """Nothing runs yet: fixtures run in real time, looptime is for the test alone."""
    made = World(lag=0.05, latency=0.01)
    yield made
    await made.stop()


async def run(world: World, pod: Pod) -> ObjectKey:
    """Start an agent and have the pod run."""
    if world.agent is None:
        world.start()
    key = world.create(pod)
    await world.settle(20)
    world.below.start(key)
    await world.settle(20)
    assert world.status(key)["phase"] == "Running"
    return key


def note(world: World, node: str, text: str) -> None:
    """Somebody edits a fence list."""
    notes = {FENCED: text}
    world.tenant.edit(NODES, ObjectKey("", node), lambda b: b["metadata"].update(annotations=notes))


def finish_deletions(world: World) -> None:
    """Kubelets below end what is being deleted."""
    for key in [key for key, copy in world.below.copies.items() if copy.deleting]:
        world.below.finish_deletion(key)


# --- who is given up ------------------------------------------------------------------------------


@pytest.mark.parametrize("say", ["wait", "fail-after=soon"])
async def test_a_pod_that_waits_keeps_its_state_however_long_it_lasts(
    world: World, say: str
) -> None:
    key = await run(world, patient(say=say))
    world.cut()
    await world.settle(24 * 3600)
    assert world.status(key)["phase"] == "Running"
    assert world.fenced() == []
    world.mend()
    await world.settle()
    assert world.status(key)["phase"] == "Running"
    assert world.below.made[UID_1] == 1


async def test_a_bad_annotation_is_one_warning(world: World) -> None:
    await run(world, patient(say="fail-after=soon"))
    world.cut()
    await world.settle(600)
    assert world.events().count("InvalidOnPartition") == 1


async def test_a_pod_is_given_up_after_its_time_and_not_before(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(55)
    assert world.status(key)["phase"] == "Running"
    await world.settle(15)
    status = world.status(key)
    assert (status["phase"], status["reason"]) == ("Failed", "ComputeUnreachable")
    assert "may still run" in status["message"]
    (container,) = status["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 137
    assert container["ready"] is False
    assert (world.condition(key, "DisruptionTarget") or {})["status"] == "True"
    assert (world.condition(key, "vnode.dev/Forwarded") or {})["reason"] == "CopyMade"
    assert "ComputeUnreachable" in world.events()
    assert [(f.key, f.uid) for f in world.fenced()] == [(key, UID_1)]


async def test_the_list_is_written_before_the_status(world: World) -> None:
    key = await run(world, patient())
    world.tenant.calls.clear()
    world.cut()
    await world.settle(100)
    writes = [c.name for c in world.tenant.calls if c.verb == "patch" and c.plural != "events"]
    assert writes == ["patch nodes", "patch pods/status"]
    assert world.status(key)["phase"] == "Failed"


@pytest.mark.parametrize("after", [False, True])
async def test_while_the_list_cannot_be_written_no_pod_is_given_up(
    world: World, after: bool
) -> None:
    key = await run(world, patient())
    world.tenant.fail(make_error(500, "etcd is full"), "patch nodes", after=after, times=20)
    world.cut()
    await world.settle(62)
    listed = bool(world.fenced())
    assert (world.status(key)["phase"] == "Failed") <= listed
    await world.settle(600)
    assert world.status(key)["phase"] == "Failed"
    assert len(world.fenced()) == 1


async def test_a_fence_that_waits_for_the_api_server_is_dropped_when_the_link_is_back(
    world: World,
) -> None:
    key = await run(world, patient())
    world.tenant.fail(make_error(500, "etcd is full"), "patch nodes", times=1000)
    world.cut()
    await world.settle(100)
    world.mend()
    await world.settle(300)
    world.tenant.heal()
    await world.settle(60)
    assert world.status(key)["phase"] == "Running"
    assert world.fenced() == []


async def test_a_full_list_lets_pods_wait(world: World) -> None:
    key = await run(world, patient())
    full = [
        Fence(ObjectKey("team-a", f"{i:0200}"), make_uid(i), 1)
        for i in range(10, 10 + MOST_BYTES // 242)
    ]
    notes = {FENCED: encode(full)}
    world.tenant.edit(NODES, ObjectKey("", NODE), lambda b: b["metadata"].update(annotations=notes))
    world.cut()
    await world.settle(300)
    assert world.status(key)["phase"] == "Running"
    assert "FenceListFull" in world.events()


async def test_a_list_that_the_api_server_refuses_is_said_and_tried_again(world: World) -> None:
    key = await run(world, patient())
    world.tenant.fail(make_error(422, "annotations: Too long"), "patch nodes", times=10**6)
    world.cut()
    await world.settle(300)
    assert world.status(key)["phase"] == "Running"
    assert "FenceListRefused" in world.events()
    world.tenant.heal()
    await world.settle(200)
    assert world.status(key)["phase"] == "Failed"


async def test_a_list_that_somebody_edited_into_nonsense_is_said(world: World) -> None:
    key = await run(world, patient())
    note(world, NODE, "[]")
    world.cut()
    await world.settle(300)
    assert world.status(key)["phase"] == "Running"
    assert "FenceListRefused" in world.events()


@pytest.mark.parametrize("node", [NODE, OTHER_NODE])
async def test_a_list_that_nobody_can_read_holds_new_pods_also_after_a_restart(
    world: World, node: str
) -> None:
    world.others = (OTHER_NODE,)
    world.start()
    await world.settle(10)
    note(world, node, "{newer}")
    await world.restart()
    key = world.create(make_pod(uid=UID_2))
    await world.settle(100)
    assert world.below.made[UID_2] == 0
    assert world.status(key)["reason"] == "FenceListRefused"
    assert f"node {node}, its annotation {FENCED}" in world.status(key)["message"]
    note(world, node, "")
    await world.settle(200)
    assert world.below.made[UID_2] == 1


async def test_a_node_is_made_again_with_the_list_that_nobody_can_read(world: World) -> None:
    agent = world.start()
    note(world, NODE, "{newer}")
    await world.settle(10)
    assert agent.keeper.carried(NODE) == {FENCED: "{newer}"}
    world.tenant.drop(NODES, ObjectKey("", NODE))
    await world.settle(10)
    assert agent.keeper.carried(NODE) == {FENCED: "{newer}"}


async def test_a_list_that_nobody_can_read_is_not_written_over(world: World) -> None:
    await run(world, patient())
    note(world, NODE, "{newer}")
    await world.restart()
    world.cut()
    await world.settle(300)
    world.mend()
    await world.settle(100)
    body = world.tenant.get_body(NODES, ObjectKey("", NODE))
    assert body is not None
    assert body["metadata"]["annotations"] == {FENCED: "{newer}"}


async def test_five_hundred_pods_cost_a_few_writes_of_the_list(world: World) -> None:
    world.start()
    for i in range(500):
        world.create(patient(make_uid(i), name=f"job-{i}"))
    await world.settle(60)
    world.tenant.calls.clear()
    world.cut()
    await world.settle(200)
    assert len(world.fenced()) == 500
    assert len(world.tenant.named("patch nodes")) <= 20
    phases = {world.status(ObjectKey("team-a", f"job-{i}"))["phase"] for i in range(500)}
    assert phases == {"Failed"}


async def test_a_pod_that_certainly_was_never_sent_fails_without_a_fence(world: World) -> None:
    world.start()
    world.cut()
    await world.settle(10)
    key = world.create(patient())
    # While the cluster does not answer, no copy is asked for.
    await world.settle(300)
    assert world.status(key)["phase"] == "Failed"
    assert "never ran" in world.status(key)["message"]
    assert world.fenced() == []


async def test_a_pod_that_comes_late_waits_as_long_as_the_others(world: World) -> None:
    world.start()
    world.cut()
    await world.settle(3600)
    key = world.create(patient())
    await world.settle(50)
    assert world.status(key)["phase"] == "Pending"
    await world.settle(20)
    assert world.status(key)["phase"] == "Failed"


async def test_a_pod_for_ever_that_was_never_sent_breeds_no_others(world: World) -> None:
    world.start()
    world.cut()
    await world.settle(3600)
    key = world.create(patient(restart="Always"))
    await world.settle(3600)
    status = world.status(key)
    assert (status["phase"], status["reason"]) == ("Pending", "ComputeUnreachable")
    assert world.fenced() == []
    world.mend()
    await world.settle(100)
    assert world.below.made[UID_1] == 1


async def test_a_pod_for_ever_that_was_never_sent_goes_when_it_is_deleted(world: World) -> None:
    world.start()
    world.cut()
    await world.settle(100)
    key = world.create(patient(restart="Always"))
    await world.settle(100)
    world.delete(key)
    await world.settle(100)
    assert world.pod(key) is None
    assert world.fenced() == []


async def test_a_create_without_answer_counts_as_a_copy(world: World) -> None:
    world.start()
    world.below.fail("apply", after=True, error=UNREACHABLE)
    key = world.create(patient())
    asyncio.get_running_loop().call_later(0.2, world.cut)
    await world.settle(300)
    assert world.status(key)["phase"] == "Failed"
    assert [f.uid for f in world.fenced()] == [UID_1]


async def test_a_pod_that_ended_before_is_left_as_it_is(world: World) -> None:
    key = await run(world, patient())
    world.below.end(key)
    await world.settle(20)
    world.cut()
    await world.settle(300)
    assert world.status(key)["phase"] == "Succeeded"
    assert world.fenced() == []


# --- when the link is back ------------------------------------------------------------------------


async def test_when_the_link_is_back_the_copy_goes_and_then_its_fence(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.mend()
    await world.settle(30)
    assert world.below.copies[key].deleting
    assert len(world.fenced()) == 1  # It may still run.
    finish_deletions(world)
    await world.settle(30)
    assert world.fenced() == []
    assert world.status(key)["phase"] == "Failed"
    assert world.below.made[UID_1] == 1


async def test_a_copy_that_ended_meanwhile_needs_no_fence_and_revives_nothing(
    world: World,
) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.below.end(key)
    world.mend()
    await world.settle(60)
    assert world.fenced() == []
    assert world.status(key)["phase"] == "Failed"


async def test_a_link_that_answers_in_time_spares_the_pod(world: World) -> None:
    key = await run(world, patient())
    for _ in range(5):
        world.cut()
        await world.settle(50)
        world.mend()
        await world.settle(5)
    assert world.status(key)["phase"] == "Running"
    assert world.fenced() == []


async def test_a_place_that_was_exchanged_proves_nothing(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    assert world.agent is not None
    world.agent.backend.places["team-a"] = "another"
    world.below.evict(key)
    world.mend()
    await world.settle(300)
    assert len(world.fenced()) == 1


async def test_a_create_that_lands_late_still_finds_its_fence(world: World) -> None:
    world.start()
    world.below.fail("apply", error=UNREACHABLE)
    key = world.create(patient(say="fail-after=5s"))
    asyncio.get_running_loop().call_later(0.2, world.cut)
    await world.settle(30)
    assert [f.uid for f in world.fenced()] == [UID_1]
    world.mend()
    await world.settle(40)
    assert len(world.fenced()) == 1  # Nothing is seen, but it may be on its way.
    world.below.put(make_copy(patient()))
    await world.settle(30)
    assert world.below.copies[key].deleting
    finish_deletions(world)
    await world.settle(10)
    assert world.fenced() == []


async def test_a_copy_that_cannot_be_seen_stays_fenced(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    world.below.hide(key)
    world.mend()
    await world.settle(300)
    assert len(world.fenced()) == 1
    assert key in world.below.copies


# --- successors -----------------------------------------------------------------------------------


async def give_up(world: World) -> ObjectKey:
    key = await run(world, patient())
    world.cut()
    await world.settle(100)
    assert world.status(key)["phase"] == "Failed"
    return key


async def test_a_pod_that_was_given_up_can_be_deleted_and_its_successor_is_held(
    world: World,
) -> None:
    key = await give_up(world)
    world.delete(key)
    await world.settle(30)
    assert world.pod(key) is None
    world.create(make_pod(uid=UID_2))
    await world.settle(100)
    assert world.status(key)["reason"] == "PredecessorFenced"
    assert "vnode fence --accept team-a/job-0" in world.status(key)["message"]
    assert "PredecessorFenced" in world.events()

    world.mend()
    await world.settle(100)
    assert world.below.made[UID_2] == 0
    assert world.below.copies[key].deleting
    finish_deletions(world)
    await world.settle(100)
    assert world.below.made[UID_2] == 1
    assert world.fenced() == []


async def test_a_successor_of_a_pod_of_another_cluster_is_held_too(world: World) -> None:
    world.others = (OTHER_NODE,)
    fence = Fence(KEY, UID_1, 1)
    notes = {FENCED: encode([fence])}
    node = ObjectKey("", OTHER_NODE)
    world.tenant.edit(NODES, node, lambda b: b["metadata"].update(annotations=notes))
    world.start()
    world.create(make_pod(uid=UID_2))
    await world.settle(200)
    assert world.below.made[UID_2] == 0
    assert world.status(KEY)["reason"] == "PredecessorFenced"
    world.tenant.edit(NODES, node, lambda b: b["metadata"]["annotations"].clear())
    await world.settle(5)
    assert world.below.made[UID_2] == 1


CONTROLLER = OwnerReference(api_version="apps/v1", kind="ReplicaSet", name="web", controller=True)
OLD, NEW = "web-5d8f-bcdfg", "web-5d8f-xz245"


async def give_up_one_of_a_replica_set(world: World) -> ObjectKey:
    annotations = {ANNOTATION: "fail-after=1m"}
    old = make_pod(OLD, annotations=annotations, restart="Always", owners=[CONTROLLER])
    key = await run(world, old)
    world.cut()
    await world.settle(100)
    assert world.status(key)["phase"] == "Failed"
    return key


async def test_a_successor_of_another_name_starts_here_when_the_old_copy_is_gone(
    world: World,
) -> None:
    old = await give_up_one_of_a_replica_set(world)
    new = world.create(make_pod(NEW, uid=UID_2, restart="Always", owners=[CONTROLLER]))
    await world.settle(600)
    assert world.status(new)["reason"] == "PredecessorFenced"
    world.mend()
    await world.settle(40)
    assert world.below.copies[old].deleting
    assert world.below.made[UID_2] == 0
    finish_deletions(world)
    await world.settle(40)
    assert world.below.made[UID_2] == 1
    assert world.fenced() == []


@pytest.mark.parametrize(
    "other",
    [
        make_pod("web-77ff-xz245", uid=UID_2, owners=[CONTROLLER]),
        make_pod("web-5d8f-1", uid=UID_2, owners=[CONTROLLER]),
        make_pod(NEW, uid=UID_2),
    ],
    ids=["another generateName", "a name that was given", "no controller"],
)
async def test_who_is_no_successor_starts_beside_an_old_copy(world: World, other: Pod) -> None:
    await give_up_one_of_a_replica_set(world)
    world.mend()
    world.create(other)
    await world.settle(40)
    assert world.below.made[UID_2] == 1


async def test_a_successor_of_another_name_starts_beside_an_old_copy_of_another_cluster(
    world: World,
) -> None:
    world.others = (OTHER_NODE,)
    notes = {FENCED: encode([Fence(ObjectKey("team-a", OLD), UID_1, 1)])}
    node = ObjectKey("", OTHER_NODE)
    world.tenant.edit(NODES, node, lambda b: b["metadata"].update(annotations=notes))
    world.start()
    world.create(make_pod(NEW, uid=UID_2, owners=[CONTROLLER]))
    await world.settle(20)
    assert world.below.made[UID_2] == 1


async def test_an_accepted_fence_holds_no_successor_of_another_name(world: World) -> None:
    old = await give_up_one_of_a_replica_set(world)
    world.mend()
    world.create(make_pod(NEW, uid=UID_2, restart="Always", owners=[CONTROLLER]))
    await world.settle(40)
    assert world.below.made[UID_2] == 0
    notes = {FENCED: encode([dataclasses.replace(f, accepted=True) for f in world.fenced()])}
    node = ObjectKey("", NODE)
    world.tenant.edit(NODES, node, lambda b: b["metadata"].update(annotations=notes))
    await world.settle(60)
    assert world.below.made[UID_2] == 1
    assert world.below.copies[old].deleting


async def test_what_a_watch_has_not_told_yet_is_asked_of_the_nodes_of_others(
    world: World,
) -> None:
    node = ObjectKey("", OTHER_NODE)
    world.others = (OTHER_NODE,)
    agent = world.start()
    await world.settle(10)
    world.tenant.on_change.remove(agent._hear)  # The watch on Nodes is behind.
    notes = {FENCED: encode([Fence(KEY, UID_1, 1)])}
    world.tenant.edit(NODES, node, lambda b: b["metadata"].update(annotations=notes))
    world.tenant.on_change.append(agent._hear)
    world.create(make_pod(uid=UID_2))
    await world.settle(200)
    assert world.below.made[UID_2] == 0


async def test_while_the_node_of_another_replica_is_missing_nobody_starts(world: World) -> None:
    world.others = (OTHER_NODE,)
    world.start()
    await world.settle(10)
    world.tenant.drop(NODES, ObjectKey("", OTHER_NODE))
    world.create(make_pod(uid=UID_2))
    await world.settle(30)
    assert world.below.made[UID_2] == 0
    assert world.status(KEY)["reason"] == "NodeMissing"
    world.tenant.put(NODES, {"metadata": {"name": OTHER_NODE}})
    await world.settle(100)
    assert world.below.made[UID_2] == 1


async def test_a_node_of_another_replica_that_may_not_be_read_is_named(world: World) -> None:
    world.others = (OTHER_NODE,)
    world.start()
    world.tenant.fail(make_error(403, "forbidden"), "get nodes", times=10**6)
    world.create(make_pod(uid=UID_2))
    await world.settle(30)
    assert world.below.made[UID_2] == 0
    status = world.status(KEY)
    assert status["reason"] == "FenceListForbidden"
    assert "the virtual node vnode-" in status["message"]
    world.tenant.heal()
    await world.settle(200)
    assert world.below.made[UID_2] == 1


async def test_an_accepted_fence_holds_nobody_and_lets_a_deleted_pod_go(world: World) -> None:
    key = await give_up(world)
    world.delete(key)
    await world.settle(30)
    world.create(make_pod(uid=UID_2))
    await world.settle(50)
    accepted = [Fence(f.key, f.uid, f.since, f.place, accepted=True) for f in world.fenced()]
    notes = {FENCED: encode(accepted)}
    world.tenant.edit(NODES, ObjectKey("", NODE), lambda b: b["metadata"].update(annotations=notes))
    await world.settle(100)
    assert world.status(key)["reason"] != "PredecessorFenced"
    world.mend()
    await world.settle(60)
    finish_deletions(world)
    await world.settle(200)
    assert world.below.made[UID_2] == 1
    assert world.fenced() == []


async def test_a_pod_that_was_being_deleted_is_given_up_and_then_goes(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(10)
    world.delete(key)
    await world.settle(30)
    assert world.pod(key) is not None
    await world.settle(100)
    assert world.pod(key) is None
    assert [f.uid for f in world.fenced()] == [UID_1]


# --- restarts -------------------------------------------------------------------------------------


async def test_after_a_restart_the_time_begins_anew(world: World) -> None:
    key = await run(world, patient())
    world.cut()
    await world.settle(50)
    await world.restart()
    await world.settle(50)
    assert world.status(key)["phase"] == "Running"
    await world.settle(30)
    assert world.status(key)["phase"] == "Failed"


@pytest.mark.parametrize("call", ["patch nodes", "patch pods/status"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("back", [False, True])
async def test_an_agent_that_dies_at_a_write_leaves_nothing_unfenced(
    world: World, call: str, after: bool, back: bool
) -> None:
    key = await run(world, patient())
    world.tenant.calls.clear()
    world.tenant.fail(make_error(500, "killed"), call, after=after, times=10**6)
    world.cut()
    for _ in range(500):
        if world.tenant.named(call):
            break
        await world.settle(0.3)
    await world.stop()
    world.tenant.heal()
    assert (world.status(key)["phase"] == "Failed") <= bool(world.fenced())
    if back:
        world.mend()
    world.start()
    await world.settle(300)
    if world.status(key)["phase"] == "Failed" and not back:
        assert [f.uid for f in world.fenced()] == [UID_1]
    world.mend()
    await world.settle(100)
    finish_deletions(world)
    await world.settle(100)
    assert world.fenced() == []
    assert world.below.made[UID_1] == 1
    runs = key in world.below.copies
    assert runs == (world.status(key)["phase"] == "Running")


async def test_a_restarted_agent_holds_the_successor_and_finishes_the_old_copy(
    world: World,
) -> None:
    key = await give_up(world)
    world.delete(key)
    await world.settle(30)
    await world.restart()
    world.create(make_pod(uid=UID_2))
    await world.settle(100)
    assert world.pod(key) is not None
    world.mend()
    await world.settle(60)
    assert world.below.made[UID_2] == 0
    finish_deletions(world)
    await world.settle(100)
    assert world.below.made[UID_2] == 1
    assert (PODS.plural, key) in world.tenant.objects
