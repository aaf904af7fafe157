"""How pods and copies end (DESIGN 5: Delete, Gone below without our asking, GC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.lifecycle.needs import Need, needs
from tests.e2e.lifecycle.tenant import until

if TYPE_CHECKING:
    from tests.e2e.lifecycle.world import World


@needs(Need.SLOW_END)
async def test_a_deleted_pod_stays_until_its_copy_has_ended(world: World) -> None:
    await world.start()
    await world.running()
    await world.tenant.delete(grace=30)
    copy = await world.deleting()
    assert copy.grace_seconds is not None
    assert 25 <= copy.grace_seconds <= 30
    assert await world.tenant.exists()
    await world.place.finish_deletion("pod")
    await world.tenant.gone()
    await world.copy_gone()


@needs(Need.LAST_STATE)
async def test_a_deleted_pod_shows_at_last_how_its_copy_ended(world: World) -> None:
    await world.start()
    uid = await world.running()
    await world.tenant.delete(grace=30)
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.tenant.gone()
    last = world.tenant.versions[uid][-1]
    assert last["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 143


@needs(Need.SLOW_END, Need.GRACE)
async def test_a_shorter_grace_is_sent_after_a_longer_one(world: World) -> None:
    await world.start()
    await world.running()
    await world.tenant.delete(grace=30)
    await world.deleting()
    await world.tenant.delete(grace=5)

    async def shorter() -> bool:
        found = await world.place.copy("pod")
        return found is None or (found.grace_seconds or 0) <= 5

    await until(shorter, "the copy has less time")
    await world.place.finish_deletion("pod")
    await world.tenant.gone()


async def test_a_deleted_pod_goes_with_its_copy(world: World) -> None:
    await world.start()
    uid = await world.running()
    await world.tenant.delete(grace=1)
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.tenant.gone()
    await world.copy_gone()
    assert await world.place.made(uid) == 1


async def test_a_pod_that_is_deleted_while_the_agent_is_down_goes_with_its_copy(
    world: World,
) -> None:
    await world.start()
    await world.running()
    await world.kill()
    await world.tenant.delete(grace=1)
    await world.start()
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.tenant.gone()
    await world.copy_gone()


async def test_a_pod_that_was_never_forwarded_goes_at_once(world: World) -> None:
    await world.start()
    volumes = [{"name": "v", "configMap": {"name": "missing"}}]
    uid = await world.tenant.create(volumes=volumes)
    await world.tenant.reason("MandatoryConfigMapNotFound")
    await world.tenant.delete()
    await world.tenant.gone()
    assert await world.place.made(uid) == 0


async def test_a_pod_that_is_removed_by_force_takes_its_copy_along(world: World) -> None:
    await world.start()
    await world.running("other")
    await world.running()
    await world.tenant.delete(grace=0)
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.copy_gone()
    assert world.tenant.status("other")["phase"] == "Running"


async def test_a_pod_that_was_removed_by_force_while_the_agent_was_down_does_too(
    world: World,
) -> None:
    await world.start()
    await world.running("other")
    await world.running()
    await world.kill()
    await world.tenant.delete(grace=0)
    await world.start()
    await world.deleting()
    await world.place.finish_deletion("pod")
    await world.copy_gone()
    assert await world.place.copy("other") is not None


async def test_a_copy_that_others_remove_fails_its_pod_and_is_not_made_again(
    world: World,
) -> None:
    await world.start()
    uid = await world.running(restart="Always")
    await world.place.remove("pod")
    status = await world.tenant.phase("Failed")
    assert status["reason"] == "Evicted"
    assert world.tenant.exit_code() == 137
    assert world.tenant.condition("DisruptionTarget").get("status") == "True"
    assert world.tenant.condition("Ready").get("status") == "False"
    await world.tenant.said("Evicted")
    await world.restart()
    await world.running("later")
    assert await world.place.made(uid) == 1


async def test_a_copy_that_others_removed_while_the_agent_was_down_is_lost_too(
    world: World,
) -> None:
    await world.start()
    uid = await world.running()
    await world.kill()
    await world.place.remove("pod")
    await world.start()
    status = await world.tenant.phase("Failed")
    assert status["reason"] == "Evicted"
    assert world.tenant.exit_code() == 137
    assert await world.place.made(uid) == 1


async def test_an_end_that_came_before_the_removal_is_what_counts(world: World) -> None:
    await world.start()
    await world.running()
    await world.place.end("pod")
    await world.tenant.phase("Succeeded")
    await world.place.remove("pod")
    await world.running("later")
    assert world.tenant.status()["phase"] == "Succeeded"
    await world.tenant.delete()
    await world.tenant.gone()
