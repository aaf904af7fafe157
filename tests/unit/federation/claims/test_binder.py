"""When placeholders are made and removed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.claims.binder import ClaimBinder
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from tests.builders import OWNER, make_error
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from tests.unit.federation.claims.builders import make_claim, make_placeholder
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import ObjectKey
from vnode.runtime.store import Store

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "data")


class World:
    """A tenant with claims, and the binder."""

    def __init__(self) -> None:
        self.tenant = WatchingClient(name="tenant")
        self.claims: Store[Claim] = Store("claims")
        self.forwarded = {"team-a"}
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        binder = ClaimBinder(
            self.tenant.client,
            claims=self.claims,
            forwards=lambda namespace: namespace in self.forwarded,
            owner=OWNER,
            clock=LoopClock(),
            rng=random.Random(1),
        )
        self.task = asyncio.create_task(binder.run())
        await asyncio.sleep(1)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def ask(self, claim: Claim) -> None:
        """A user makes a claim, and the watch says so."""
        self.tenant.put(PERSISTENT_VOLUME_CLAIMS, claim)
        self.claims.upsert(claim)
        await asyncio.sleep(1)

    async def remove(self, claim: Claim) -> None:
        self.tenant.drop(PERSISTENT_VOLUME_CLAIMS, claim.metadata.key)
        self.claims.remove(claim.metadata.key)
        await asyncio.sleep(1)

    def volumes(self) -> list[str]:
        plural = PERSISTENT_VOLUMES.plural
        return sorted(key.name for kind, key in self.tenant.objects if kind == plural)

    def volume(self, name: str) -> Any:
        return self.tenant.get_body(PERSISTENT_VOLUMES, ObjectKey("", name))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.stop()


async def test_a_claim_gets_one_volume(world: World) -> None:
    await world.start()
    await world.ask(make_claim())
    assert world.volumes() == ["vnode-c-1"]
    world.claims.upsert(make_claim(volumeName=""))
    await asyncio.sleep(1)
    assert len(world.tenant.named("create persistentvolumes")) == 1


async def test_claims_that_were_there_before_get_theirs(world: World) -> None:
    world.claims.upsert(make_claim())
    await world.start()
    assert world.volumes() == ["vnode-c-1"]


async def test_what_was_made_before_a_restart_is_not_made_again(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.tenant.put(PERSISTENT_VOLUME_CLAIMS, make_claim())
    world.claims.upsert(make_claim())
    await world.start()
    assert world.volumes() == ["vnode-c-1"]
    assert not world.tenant.named("create persistentvolumes")


@pytest.mark.parametrize("claim", [make_claim(storageClassName="fast"), make_claim(volumeName="x")])
async def test_other_claims_get_none(world: World, claim: Claim) -> None:
    await world.start()
    await world.ask(claim)
    assert world.volumes() == []


async def test_claims_of_namespaces_that_are_not_forwarded_get_none(world: World) -> None:
    world.forwarded.clear()
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder(make_claim(uid="gone")))
    await world.start()
    await world.ask(make_claim())
    assert world.volumes() == ["vnode-gone"]
    assert not world.tenant.named("get persistentvolumeclaims")


async def test_a_volume_of_our_name_that_is_not_ours_is_left_alone(world: World) -> None:
    theirs = {"metadata": {"name": "vnode-c-1"}, "spec": {}}
    world.tenant.put(PERSISTENT_VOLUMES, theirs)
    before = world.volume("vnode-c-1")
    await world.start()
    await world.ask(make_claim())
    await asyncio.sleep(200)
    assert world.volume("vnode-c-1") == before
    world.tenant.drop(PERSISTENT_VOLUMES, ObjectKey("", "vnode-c-1"))
    await asyncio.sleep(100)
    assert world.volume("vnode-c-1")["spec"]["csi"]["driver"] == "vnode.dev"


async def test_it_goes_with_its_claim_with_its_uid(world: World) -> None:
    await world.start()
    await world.ask(make_claim())
    uid = world.volume("vnode-c-1")["metadata"]["uid"]
    await world.remove(make_claim())
    assert world.volumes() == []
    (deletion,) = world.tenant.named("delete persistentvolumes")
    assert deletion.uid == uid


async def test_one_whose_claim_went_while_nobody_looked_goes_too(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    await world.start()
    assert world.volumes() == []


async def test_one_whose_claim_is_there_stays_though_the_watch_does_not_say_so_yet(
    world: World,
) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.tenant.put(PERSISTENT_VOLUME_CLAIMS, make_claim())
    await world.start()
    assert world.volumes() == ["vnode-c-1"]


async def test_a_claim_that_was_made_again_gets_another(world: World) -> None:
    await world.start()
    await world.ask(make_claim())
    world.claims.remove(KEY)
    await world.ask(make_claim(uid="c-2"))
    assert world.volumes() == ["vnode-c-2"]


async def test_volumes_of_others_for_the_same_claim_stay(world: World) -> None:
    theirs = make_placeholder()
    theirs["spec"]["csi"]["driver"] = "csi.example.com"
    world.tenant.put(PERSISTENT_VOLUMES, theirs)
    await world.start()
    await asyncio.sleep(100)
    assert world.volumes() == ["vnode-c-1"]
    assert not world.tenant.named("delete persistentvolumes")


async def test_one_that_somebody_removed_is_made_again_while_the_claim_waits(world: World) -> None:
    await world.start()
    await world.ask(make_claim())
    world.tenant.drop(PERSISTENT_VOLUMES, ObjectKey("", "vnode-c-1"))
    await asyncio.sleep(1)
    assert world.volumes() == ["vnode-c-1"]


@pytest.mark.parametrize("call", ["create persistentvolumes", "delete persistentvolumes"])
@pytest.mark.parametrize("error", [make_error(500, "etcd"), Unreachable("cut")])
async def test_what_failed_is_tried_again(world: World, call: str, error: KubeError) -> None:
    world.tenant.fail(error, call, times=3)
    await world.start()
    await world.ask(make_claim())
    await asyncio.sleep(5)
    assert world.volumes() == ["vnode-c-1"]
    await world.remove(make_claim())
    await asyncio.sleep(5)
    assert world.volumes() == []


async def test_nobody_listens_to_the_claims_after_the_end(world: World) -> None:
    await world.start()
    await world.stop()
    assert not world.claims._listeners
    await world.ask(make_claim())
    assert world.volumes() == []
    await world.start()
    assert world.volumes() == ["vnode-c-1"]
