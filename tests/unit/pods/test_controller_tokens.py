"""Tokens of running pods, which are renewed as long as somebody uses them."""

from dataclasses import replace

import pytest

from tests.builders import UID_1, make_error, make_pod
from tests.fakes.backend import FakeBackend
from tests.unit.pods.acts import KEY, running
from tests.unit.pods.world import World
from vnode.backend import TokenKey
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

HALF_DAY = 12 * 3600
TOKEN_VOLUME = {
    "name": "kube-api-access-x",
    "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "t"}}]},
}


class TestTokens:
    async def test_tokens_are_written_once_and_renewed_at_four_fifths(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        await world.settle(60)
        assert len(world.below.called("put_tokens")) == 1
        assert set(world.below.tokens["below-1"]) == {TokenKey("", HALF_DAY)}
        await world.settle(HALF_DAY * 0.74)
        assert len(world.below.called("put_tokens")) == 1
        await world.settle(HALF_DAY * 0.12)
        assert len(world.below.called("put_tokens")) == 2

    async def test_where_they_cannot_be_renewed_they_come_with_the_pod(self, world: World) -> None:
        can = replace(FakeBackend.capabilities, token_refresh=False, start_tokens=86400)
        world.start().backend.capabilities = can
        await running(world, volumes=[TOKEN_VOLUME])
        await world.settle(2 * HALF_DAY)
        (call,) = world.tenant.named("create serviceaccounts/token")
        assert call.body["spec"]["expirationSeconds"] == 86400
        assert set(world.below.tokens["below-1"]) == {TokenKey("", HALF_DAY)}
        assert not world.below.called("put_tokens")

    async def test_a_restart_asks_for_no_new_token(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        await world.restart()
        await world.settle(600)
        assert len(world.below.called("put_tokens")) == 1

    async def test_tokens_of_finished_pods_are_not_renewed(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        world.below.end(KEY)
        await world.settle(2 * HALF_DAY)
        assert len(world.below.called("put_tokens")) == 1

    async def test_a_token_that_is_refused_is_explained_and_asked_for_again(
        self, world: World
    ) -> None:
        world.start()
        error = make_error(403, 'serviceaccounts "default" is forbidden')
        world.tenant.fail(error, "create serviceaccounts/token", times=3)
        key = world.create(make_pod(volumes=[TOKEN_VOLUME]))
        await world.settle(1)
        assert "TokenRequestFailed" in world.events()
        await world.settle(60)
        assert len(world.below.called("put_tokens")) == 1
        assert "reason" not in world.status(key)

    async def test_it_is_bound_to_exactly_this_pod(self, world: World) -> None:
        world.start()
        await running(world, volumes=[TOKEN_VOLUME])
        (call,) = world.tenant.named("create serviceaccounts/token")
        assert call.key == ObjectKey("team-a", "default")
        assert call.body["spec"] == {
            "audiences": [],
            "expirationSeconds": HALF_DAY,
            "boundObjectRef": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": "job-0",
                "uid": UID_1,
            },
        }
