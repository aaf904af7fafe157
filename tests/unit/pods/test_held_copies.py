"""Copies whose tenant pods went without anybody's wish are held by the whole controller."""

import pytest

from tests.builders import condition, make_pod
from tests.unit.pods.world import World
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey
from vnode.pods.orphans import ORPHAN_GRACE

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")


async def running(world: World) -> None:
    world.start()
    world.create(make_pod())
    await world.settle(2)
    world.below.start(KEY)
    await world.settle(2)


async def test_what_pod_garbage_collection_deletes_runs_on_for_the_grace_period(
    world: World,
) -> None:
    await running(world)
    mark = condition("DisruptionTarget", reason="DeletionByPodGC")
    world.edit_status(KEY, conditions=[*world.status(KEY)["conditions"], mark])
    world.tenant.drop(PODS, KEY)
    await world.settle(ORPHAN_GRACE - 100)
    assert not world.below.called("delete")
    await world.settle(300)
    assert len(world.below.called("delete")) == 1


async def test_what_a_user_deletes_by_force_goes_at_once(world: World) -> None:
    await running(world)
    world.delete(KEY, grace=0)
    await world.settle(5)
    assert len(world.below.called("delete")) == 1
