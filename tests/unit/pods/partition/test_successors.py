"""Who is held until the copy of a pod that was given up is gone."""

import dataclasses

import pytest

from tests.builders import NODE, UID_1, UID_2, make_error, make_pod
from tests.unit.pods.partition.silence import finish_deletions, patient, run
from tests.unit.pods.world import OTHER_NODE, World
from vnode.backend import Waiting
from vnode.kube.resources import NODES, PODS
from vnode.kube.types import ObjectKey, OwnerReference, Pod
from vnode.pods.partition.fence_list import FENCED, Fence, encode
from vnode.pods.partition.policy import ANNOTATION

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")


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


async def test_a_successor_waits_too_for_a_copy_that_has_ended_and_is_not_gone(
    world: World,
) -> None:
    old = await give_up_one_of_a_replica_set(world)
    world.create(make_pod(NEW, uid=UID_2, restart="Always", owners=[CONTROLLER]))
    world.mend()
    await world.settle(40)
    world.below.end(old, exit_code=143)
    await world.settle(200)
    assert world.below.copies[old].deleting
    assert world.below.made[UID_2] == 0
    finish_deletions(world)
    await world.settle(80)
    assert world.below.made[UID_2] == 1


async def test_a_deletion_that_is_done_and_answered_badly_lets_no_successor_start_early(
    world: World,
) -> None:
    old = await give_up_one_of_a_replica_set(world)
    world.create(make_pod(NEW, uid=UID_2, restart="Always", owners=[CONTROLLER]))
    timed_out = Waiting("etcd did not answer in time", reason="ComputeError")
    world.below.fail("delete", after=True, error=timed_out)
    world.mend()
    await world.settle(200)
    assert world.below.copies[old].deleting
    assert len(world.below.called("delete")) == 1  # The watch has told that it is on its way.
    assert world.below.made[UID_2] == 0
    finish_deletions(world)
    await world.settle(80)
    assert world.below.made[UID_2] == 1


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
