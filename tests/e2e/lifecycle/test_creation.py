"""A tenant pod gets one copy, and what is seen of it is the copy's (DESIGN 5: Create, Status)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.lifecycle.needs import Need, needs
from tests.e2e.lifecycle.tenant import until

if TYPE_CHECKING:
    from tests.e2e.lifecycle.world import World

FORWARDED = "vnode.dev/Forwarded"


@pytest.mark.parametrize(("exit_code", "phase"), [(0, "Succeeded"), (3, "Failed")])
async def test_a_pod_is_made_once_runs_and_ends_as_its_copy(
    world: World, exit_code: int, phase: str
) -> None:
    await world.start()
    uid = await world.running()
    assert world.tenant.condition(FORWARDED).get("status") == "True"
    await world.place.end("pod", exit_code=exit_code)
    status = await world.tenant.phase(phase)
    assert world.tenant.exit_code() == exit_code
    assert status["hostIP"] == "192.0.2.7"
    assert await world.place.made(uid) == 1


async def test_a_restart_adopts_and_shows_what_was_missed(world: World) -> None:
    await world.start()
    same, done = await world.running("same"), await world.running("done")
    before = await world.place.copy("same")
    await world.kill()
    await world.place.end("done")
    await world.start()
    await world.tenant.phase("Succeeded", "done")
    assert world.tenant.status("same")["phase"] == "Running"
    assert await world.place.copy("same") == before
    assert [await world.place.made(uid) for uid in (same, done)] == [1, 1]


@needs(Need.LINK)
async def test_a_create_whose_answer_is_lost_made_the_one_copy(world: World) -> None:
    await world.start()
    await world.place.lose_answers(1)
    uid = await world.running()
    assert await world.place.made(uid) == 1


async def test_a_successor_of_the_same_name_waits_until_the_old_copy_is_gone(
    world: World,
) -> None:
    await world.start()
    old = await world.running()
    await world.tenant.delete(grace=0)
    new = await world.tenant.create()
    await world.deleting()
    assert await world.place.made(new) == 0
    await world.place.finish_deletion("pod")
    copy = await world.copied(uid=new)
    assert copy.uid == new
    await world.place.start("pod")
    await world.tenant.phase("Running")
    assert [await world.place.made(uid) for uid in (old, new)] == [1, 1]
    shown = {_container(status) for status in world.tenant.versions[new]}
    assert not shown & {_container(status) for status in world.tenant.versions[old]} - {""}


def _container(status: Any) -> str:
    return "".join(c.get("containerID", "") for c in status.get("containerStatuses", []))


@needs(Need.TAKEN_NAMES)
async def test_what_is_somebody_elses_is_never_touched(world: World) -> None:
    await world.place.take("pod")
    await world.start()
    uid = await world.tenant.create()
    await world.tenant.reason("NameConflict")
    await world.tenant.said("NameConflict")
    assert await world.place.taken_is_untouched("pod")
    await world.tenant.delete()
    await world.tenant.gone()
    assert await world.place.taken_is_untouched("pod")
    await world.place.release("pod")
    assert await world.place.made(uid) == 0


async def _spoil(world: World, *conditions: Any) -> None:
    """Another controller says that it is not ready."""
    wrong = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
    await world.tenant.write_status(conditions=[wrong, *conditions])
    await until(lambda: "False" in _ready(world), "that is seen")


def _ready(world: World) -> list[str]:
    """What was said in each version of a pod that runs, oldest first."""
    versions = world.tenant.versions[world.tenant.uid() or ""]
    running = [version for version in versions if version["phase"] == "Running"]
    return [c["status"] for v in running for c in v["conditions"] if c["type"] == "Ready"]


async def test_a_status_that_others_spoilt_is_put_right(world: World) -> None:
    await world.start()
    await world.running()
    await _spoil(world, {"type": "example.com/own", "status": "True"})
    await until(lambda: _ready(world)[-1] == "True", "it is Ready again")
    assert world.tenant.condition("example.com/own").get("status") == "True"


async def test_a_status_that_was_spoilt_while_nobody_looked_is_put_right(world: World) -> None:
    await world.start()
    await world.running()
    await world.kill()
    await _spoil(world)
    await world.start()
    await until(lambda: _ready(world)[-1] == "True", "it is Ready again")


async def test_the_end_of_a_copy_is_final(world: World) -> None:
    await world.start()
    uid = await world.running()
    await world.place.end("pod")
    await world.tenant.phase("Succeeded")
    await world.place.remove("pod")
    await world.restart()
    await world.running("later")
    assert world.tenant.status()["phase"] == "Succeeded"
    assert await world.place.made(uid) == 1


async def test_the_end_that_the_tenant_wrote_is_final_and_ends_the_copy(world: World) -> None:
    await world.start()
    uid = await world.running()
    await world.tenant.write_status(phase="Failed", reason="DeadlineExceeded")
    await world.tenant.phase("Failed")
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.copy_gone()
    await world.restart()
    await world.running("later")
    phases = [status["phase"] for status in world.tenant.versions[uid]]
    assert set(phases[phases.index("Failed") :]) == {"Failed"}
    assert await world.place.made(uid) == 1


@needs(Need.UPDATES)
async def test_a_changed_label_reaches_the_copy(world: World) -> None:
    await world.start()
    uid = await world.running(labels={"stage": "one"})
    await world.tenant.label(stage="two")

    async def changed() -> bool:
        copy = await world.copied()
        return ("stage", "two") in copy.labels

    await until(changed, "the copy has the label")
    assert await world.place.made(uid) == 1


async def test_an_image_that_changes_is_brought_or_the_refusal_is_told(world: World) -> None:
    await world.start()
    uid = await world.running()
    before = await world.copied()
    await world.tenant.change_image("docker.io/library/busybox:1.37")
    generation = 2
    await until(
        lambda: world.tenant.status().get("observedGeneration") == generation,
        "the change is judged",
    )
    told = (await world.tenant.events())["UpdateRejected"]
    after = await world.copied()
    assert after.handle == before.handle
    assert told or world.place.brings_images
    assert world.tenant.status()["phase"] == "Running"
    assert await world.place.made(uid) == 1
