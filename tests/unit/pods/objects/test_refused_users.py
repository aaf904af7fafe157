"""A Secret goes with the last pod that has it: what was refused keeps nothing below."""

from collections.abc import AsyncIterator

import pytest

from tests.builders import UID_2, make_key, make_pod, make_secret
from tests.unit.pods.acts import DEBUGGER, env_from, put_object, running
from tests.unit.pods.world import Agent, World
from vnode.backend import Rejected, Waiting
from vnode.kube.resources import PODS, SECRETS
from vnode.kube.types import ObjectKey, OwnerReference

pytestmark = pytest.mark.looptime

KEY = make_key()
KINDS = ["container", "pod", "waiting pod", "daemon"]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    put_object(world, make_secret())
    yield world
    await world.stop()


def refusing(agent: Agent, kind: str) -> Agent:
    """Job-0, or what it is given, is refused."""
    if kind == "container":
        agent.backend.holds_back = lambda request: (
            (DEBUGGER,) if request.pod.metadata.key == KEY else ()
        )
    elif kind != "daemon":
        error = Rejected("no") if kind == "pod" else Waiting("no", reason="VolumeNotSupported")
        agent.backend.refuses = lambda request: error if request.pod.metadata.key == KEY else None
    return agent


async def refer(world: World, kind: str) -> None:
    """Job-0 refers to the Secret in what is refused of it."""
    containers = env_from("secretRef", "login")
    if kind == "container":
        await running(world)
        debug(world)
    else:
        owner = OwnerReference(api_version="apps/v1", kind="DaemonSet", name="d", controller=True)
        world.create(make_pod(containers=containers, owners=[owner] if kind == "daemon" else []))
    await world.settle()


def debug(world: World) -> None:
    (container,) = env_from("secretRef", "login")
    debugger = {**container, "name": "dbg"}
    world.tenant.edit(PODS, KEY, lambda b: b["spec"].update(ephemeralContainers=[debugger]))


async def remove(world: World, key: ObjectKey) -> None:
    world.delete(key)
    await world.settle(2)
    world.below.finish_deletion(key)
    await world.settle()
    assert world.pod(key) is None


def login(world: World) -> list[str]:
    return [ref.name for ref in world.below.objects if ref.name == "login"]


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_although_something_refused_refers_to_it(world: World, kind: str) -> None:
    refusing(world.start(), kind)
    user = await running(world, name="user", uid=UID_2, containers=env_from("secretRef", "login"))
    await refer(world, kind)
    assert login(world)
    await remove(world, user)
    assert not login(world)
    world.tenant.put(SECRETS, make_secret(password="rotated"))
    await world.settle()
    assert not login(world)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_when_its_user_has_gone_while_no_agent_ran(world: World, kind: str) -> None:
    refusing(world.start(), kind)
    user = await running(world, name="user", uid=UID_2, containers=env_from("secretRef", "login"))
    await refer(world, kind)
    await world.stop()
    world.below.kill(user, grace_seconds=1)
    world.below.finish_deletion(user)
    world.delete(user, grace=0)
    refusing(world.start(), kind)
    await world.settle()
    assert not login(world)


async def test_a_container_that_was_let_in_keeps_it_over_a_restart(world: World) -> None:
    world.start()
    await running(world)
    debug(world)
    await world.settle()
    await world.restart()
    await world.settle()
    assert login(world)
    assert not world.below.called("drop_object")
    world.tenant.put(SECRETS, make_secret(password="rotated"))
    await world.settle()
    assert len([call for call in world.below.called("put_object") if "login" in str(call)]) == 2


async def test_a_pod_that_is_let_in_after_all_has_it(world: World) -> None:
    agent = refusing(world.start(), "waiting pod")
    user = await running(world, name="user", uid=UID_2, containers=env_from("secretRef", "login"))
    await refer(world, "waiting pod")
    agent.backend.refuses = lambda _: None
    world.tenant.edit(PODS, KEY, lambda b: b["metadata"].update(labels={"changed": "yes"}))
    await world.settle()
    await remove(world, user)
    assert login(world)
