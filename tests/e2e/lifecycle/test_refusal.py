"""Pods that cannot run, for ever or for now, say so (DESIGN 5: Rejection, Waiting is explained)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.lifecycle.needs import Need, needs, without
from tests.e2e.lifecycle.tenant import until
from vnode.kube.errors import ConfigError
from vnode.kube.resources import CONFIG_MAPS, SECRETS
from vnode.pods.start_once import StartOnce

if TYPE_CHECKING:
    from tests.e2e.lifecycle.world import World

COMPUTE_SCHEDULED = "vnode.dev/ComputeScheduled"


@pytest.mark.parametrize(
    ("restart", "phase"), [("Always", "Pending"), ("OnFailure", "Failed"), ("Never", "Failed")]
)
async def test_a_pod_that_may_not_run_is_rejected_with_the_field(
    world: World, restart: str, phase: str
) -> None:
    await world.start()
    secret = [{"name": "v", "configMap": {"name": "private"}}]
    await world.tenant.put(CONFIG_MAPS, "private", key="value")
    uid = await world.tenant.create(restart=restart, hostNetwork=True, volumes=secret)
    status = await world.tenant.reason("PodRejected")
    assert status["phase"] == phase
    assert "spec.hostNetwork" in status["message"]
    await world.tenant.said("PodRejected")
    assert await world.place.config("pod", "private") is None, "nothing of it travels"
    await world.tenant.delete()
    await world.tenant.gone()
    assert await world.place.made(uid) == 0


async def test_a_pod_over_quota_waits_and_runs_when_there_is_room(world: World) -> None:
    await world.place.refuse()
    await world.start()
    uid = await world.tenant.create()
    status = await world.tenant.reason(world.place.quota_reason)
    assert status["phase"] == "Pending"
    assert world.tenant.condition(COMPUTE_SCHEDULED).get("status") == "False"
    await world.tenant.said(world.place.quota_reason)
    await world.place.accept()
    await world.copied()
    await world.place.start("pod")
    assert "reason" not in await world.tenant.phase("Running")
    assert await world.place.made(uid) == 1


@needs(Need.UNPLACED)
async def test_a_copy_without_place_says_why(world: World) -> None:
    await world.start()
    await world.tenant.create()
    await world.copied()
    await world.place.unplaced("pod", "no room for 8 GPUs")
    status = await world.tenant.reason("Unschedulable")
    assert "no room for 8 GPUs" in status["message"]
    assert world.tenant.condition(COMPUTE_SCHEDULED).get("status") == "False"
    await world.place.placed("pod")
    await world.place.start("pod")
    assert "reason" not in await world.tenant.phase("Running")
    assert world.tenant.condition(COMPUTE_SCHEDULED).get("status") == "True"


@needs(Need.LINK)
async def test_a_place_that_does_not_answer_holds_everything_and_loses_nothing(
    world: World,
) -> None:
    await world.start()
    stays, goes = await world.running("stays"), await world.running("goes")
    await world.place.silence()
    late = await world.tenant.create("late")
    await world.tenant.delete("goes", grace=1)
    await world.tenant.reason("ComputeUnreachable", "late")
    assert await world.tenant.exists("goes")
    assert world.tenant.status("stays")["phase"] == "Running"
    await world.place.answer()
    await world.copied("late")
    await world.place.start("late")
    await world.tenant.phase("Running", "late")
    await world.deleting("goes")
    await world.place.finish_deletion("goes")
    await world.tenant.gone("goes")
    assert world.tenant.status("stays")["phase"] == "Running"
    assert [await world.place.made(uid) for uid in (stays, goes, late)] == [1, 1, 1]


@needs(Need.LINK)
async def test_an_agent_that_starts_while_nothing_answers_loses_nothing(world: World) -> None:
    await world.start()
    uid = await world.running()
    await world.kill()
    await world.place.silence()
    await world.start(blind=True)
    await world.tenant.label(touched="yes")
    await world.place.answer()
    await world.place.end("pod")
    await world.tenant.phase("Succeeded")
    assert {s["phase"] for s in world.tenant.versions[uid]} <= {"Pending", "Running", "Succeeded"}
    assert await world.place.made(uid) == 1


# --- what a place cannot do -----------------------------------------------------------------------

TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
SECRET = {"name": "s", "secret": {"secretName": "login"}}


async def _is_refused(world: World, field: str, **spec: Any) -> None:
    await world.tenant.put(SECRETS, "login", password="x")
    await world.start()
    uid = await world.tenant.create(**spec)
    status = await world.tenant.reason("PodRejected")
    assert field in status["message"]
    assert await world.place.made(uid) == 0


@without(Need.SECRET_OBJECTS)
async def test_a_pod_with_a_secret_is_refused_where_secrets_cannot_be_kept(world: World) -> None:
    await _is_refused(world, "spec.volumes", volumes=[SECRET])


@without(Need.TOKEN_REFRESH)
async def test_a_pod_with_a_token_is_refused_where_tokens_cannot_be_renewed(world: World) -> None:
    await _is_refused(world, "spec.volumes", volumes=[TOKEN])


@without(Need.CLUSTER_DNS)
async def test_a_pod_with_a_subdomain_is_refused_where_there_is_no_dns(world: World) -> None:
    await _is_refused(world, "spec.subdomain", subdomain="workers")


@needs(Need.CLUSTER_DNS)
async def test_a_pod_with_a_subdomain_is_made_where_there_is_dns(world: World) -> None:
    await world.start()
    await world.running(subdomain="workers")


@without(Need.START_GATES)
async def test_strict_is_refused_where_copies_start_at_once(world: World) -> None:
    world.start_once = StartOnce.STRICT
    agent = await world.start()
    await until(lambda: agent.ended, "the agent ends")
    with pytest.raises(ConfigError, match="startOnce"):
        await world.kill()
