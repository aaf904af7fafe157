"""Pods of a compute cluster that does not answer: who waits, and who is given up."""

import asyncio

import pytest

from tests.builders import NODE, UID_1, UID_2, make_error, make_pod, make_uid
from tests.fakes.backend import UNREACHABLE
from tests.unit.pods.partition.silence import patient, run
from tests.unit.pods.world import OTHER_NODE, World
from vnode.kube.resources import NODES
from vnode.kube.types import ObjectKey
from vnode.pods.partition.fence_list import FENCED, MOST_BYTES, Fence, encode

pytestmark = pytest.mark.looptime


def note(world: World, node: str, text: str) -> None:
    """Somebody edits a fence list."""
    notes = {FENCED: text}
    world.tenant.edit(NODES, ObjectKey("", node), lambda b: b["metadata"].update(annotations=notes))


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
