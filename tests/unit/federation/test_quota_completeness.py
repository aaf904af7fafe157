"""A capacity by quota is complete only when it is known which namespaces there are.

Before that the sum would lack a namespace, and the virtual node would shrink under its pods.
"""

import asyncio

import pytest

from federation.backends.kubernetes.capacity.quota import QuotaCapacity, ResourceQuota
from tests.builders import make_error, make_key
from tests.unit.federation.capacity_builders import make_quota
from tests.unit.federation.test_compute_namespaces import BELOW, LOOK, World, world
from vnode.kube.errors import Unreachable
from vnode.kube.resources import NAMESPACES
from vnode.runtime.store import Store

__all__ = ["world"]

pytestmark = pytest.mark.looptime


def source_of(world: World) -> tuple[Store[ResourceQuota], QuotaCapacity]:
    """The source as the agent wires it up."""
    store: Store[ResourceQuota] = Store("quotas")
    places = world.namespaces
    return store, QuotaCapacity(store, scopes=places.ready, complete=lambda: places.judged)


async def test_a_quota_is_not_complete_before_any_namespace_was_added(world: World) -> None:
    _, source = source_of(world)
    assert not source.synced


async def test_a_quota_is_not_complete_while_no_namespace_is_ready(world: World) -> None:
    _, source = source_of(world)
    world.namespaces.add("team-a")
    await asyncio.sleep(600)
    assert not source.synced


async def test_a_quota_is_not_complete_while_a_namespace_could_not_be_looked_at(
    world: World,
) -> None:
    store, source = source_of(world)
    await world.become_ready()
    store.mark_synced(BELOW)
    assert is_synced(source)
    world.cluster.fail(Unreachable("timed out"), LOOK, times=3)
    world.namespaces.add("team-b")
    await asyncio.sleep(1)
    assert not is_synced(source)
    await asyncio.sleep(600)
    assert is_synced(source)  # it is not prepared, which is something to know


async def test_a_quota_is_complete_when_the_ready_namespaces_were_listed(world: World) -> None:
    store, source = source_of(world)
    await world.become_ready()
    assert not is_synced(source)
    store.upsert(make_quota(BELOW, cpu="4"))
    store.mark_synced(BELOW)
    assert is_synced(source)
    assert source.capacity().allocatable == {"cpu": "4"}


async def test_an_unreadable_namespace_that_was_ready_leaves_the_quota_complete(
    world: World,
) -> None:
    store, source = source_of(world)
    await world.become_ready()
    store.mark_synced(BELOW)
    world.refuse(make_error(500, "etcd"))
    await asyncio.sleep(3600)
    assert source.synced


async def test_a_quota_is_not_complete_after_its_only_namespace_was_given_up(
    world: World,
) -> None:
    store, source = source_of(world)
    await world.become_ready()
    store.mark_synced(BELOW)
    world.cluster.drop(NAMESPACES, make_key(BELOW, ""))
    await asyncio.sleep(1000)
    assert not source.synced


def is_synced(source: QuotaCapacity) -> bool:
    return source.synced
