"""What pods refer to comes before them, follows its changes and goes after them (DESIGN 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.lifecycle.needs import Need, needs
from tests.e2e.lifecycle.tenant import until
from vnode.kube.resources import CONFIG_MAPS, SECRETS

if TYPE_CHECKING:
    from tests.e2e.lifecycle.world import World
    from vnode.kube.resources import Resource

CONFIG = {"name": "c", "configMap": {"name": "settings"}}
MANY_HOURS = 3600.0 * 24
TOKEN = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}


async def _waits_and_runs(world: World, resource: Resource, reason: str, **pod: Any) -> None:
    await world.start()
    uid = await world.tenant.create(**pod)
    status = await world.tenant.reason(reason)
    assert status["phase"] == "Pending"
    await world.tenant.said(reason)
    assert await world.place.made(uid) == 0
    await world.tenant.put(resource, "settings", key="value")
    await world.copied()
    await world.place.start("pod")
    assert "reason" not in await world.tenant.phase("Running")


async def test_a_missing_configmap_is_waited_for(world: World) -> None:
    await _waits_and_runs(world, CONFIG_MAPS, "MandatoryConfigMapNotFound", volumes=[CONFIG])
    assert await world.place.config("pod", "settings") == {"key": "value"}


@needs(Need.SECRET_OBJECTS)
async def test_a_missing_secret_is_waited_for(world: World) -> None:
    container = {"envFrom": [{"secretRef": {"name": "settings"}}]}
    await _waits_and_runs(world, SECRETS, "MandatorySecretNotFound", container=container)


@needs(Need.LIVE_CONFIG)
async def test_a_change_reaches_a_pod_that_runs(world: World) -> None:
    await world.start()
    await world.tenant.put(CONFIG_MAPS, "settings", key="one")
    await world.running(volumes=[CONFIG])
    await world.tenant.put(CONFIG_MAPS, "settings", key="two")

    async def there() -> bool:
        return await world.place.config("pod", "settings") == {"key": "two"}

    await until(there, "the change is there")


@pytest.mark.parametrize("restarted", [False, True])
async def test_an_object_goes_with_its_last_user(world: World, restarted: bool) -> None:
    await world.start()
    await world.tenant.put(CONFIG_MAPS, "settings", key="one")
    await world.running("first", volumes=[CONFIG])
    await world.running("last", volumes=[CONFIG])
    if restarted:
        await world.restart()
    for name in ("first", "last"):
        assert await world.place.config(name, "settings") == {"key": "one"}
        await world.tenant.delete(name, grace=1)
        await world.deleting(name)
        await world.place.finish_deletion(name)
        await world.tenant.gone(name)

    async def nothing() -> bool:
        return await world.place.config("last", "settings") is None

    await until(nothing, "nothing is left of it")


@needs(Need.TOKEN_REFRESH)
async def test_a_pod_has_tokens_of_its_own_and_gets_new_ones_in_time(world: World) -> None:
    agent = await world.start()
    projected = {"name": "t", "projected": {"sources": [TOKEN]}}
    await world.running(volumes=[projected])
    await until(lambda: world.place.tokens("pod"), "it has a token")
    first = await world.place.tokens("pod")
    await world.tenant.label(touched="once")
    agent.clock.ahead = MANY_HOURS
    await world.tenant.label(touched="twice")

    async def renewed() -> bool:
        return bool(await world.place.tokens("pod") - first)

    await until(renewed, "it has another token")
