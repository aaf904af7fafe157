"""One tenant namespace fills its own share and no other's."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from tests.builders import make_key, make_pod, make_secret, make_uid
from tests.unit.pods.acts import put_object
from tests.unit.pods.world import World
from vnode.backend import Sight, Waiting
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey
from vnode.pods.limits import Limits, Line
from vnode.pods.objects.references import references, token_requests

pytestmark = pytest.mark.looptime


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    world.limits = Limits(pods=2, objects=3, references=4)
    yield world
    await world.stop()


def create(
    world: World, name: str, *, secrets: int = 0, namespace: str = make_key().namespace
) -> ObjectKey:
    """A pod that refers to so many Secrets of its own."""
    own = [f"{name}-{number}" for number in range(secrets)]
    for each in own:
        put_object(world, make_secret(each))
    sources = [{"secretRef": {"name": each}} for each in own]
    container = {"name": "main", "image": "i", "envFrom": sources}
    uid = make_uid(int.from_bytes((namespace[-1] + name).encode()) % 2**48)
    return world.create(
        make_pod(name=name, namespace=namespace, uid=uid, containers=[container], volumes=[])
    )


def names_below(world: World) -> set[str]:
    return {copy.key.name for copy in world.below.copies.values()}


async def test_a_pod_above_the_limit_of_its_namespace_waits_until_another_has_gone(
    world: World,
) -> None:
    world.start()
    first = create(world, "a")
    create(world, "b")
    await world.settle(5)
    late = create(world, "c")
    other = create(world, "d", namespace="team-b")
    await world.settle(5)
    assert names_below(world) == {"a", "b", "d"}
    assert world.status(late)["reason"] == "TooManyPods"
    assert "TooManyPods" in world.events()
    assert world.status(other).get("reason") != "TooManyPods"
    world.delete(first)
    await world.settle(2)
    world.below.finish_deletion(first)
    await world.settle()
    assert names_below(world) == {"b", "c", "d"}


async def test_a_restarted_agent_counts_what_is_there(world: World) -> None:
    world.start()
    create(world, "a")
    create(world, "b")
    await world.settle(5)
    await world.restart()
    await world.settle(5)
    late = create(world, "c")
    await world.settle(5)
    assert world.status(late)["reason"] == "TooManyPods"
    assert names_below(world) == {"a", "b"}


async def test_a_pod_whose_objects_have_no_room_waits_and_none_of_them_travels(
    world: World,
) -> None:
    world.start()
    create(world, "a", secrets=2)  # and the service variables
    await world.settle(5)
    late = create(world, "b", secrets=1)
    await world.settle(5)
    assert world.status(late)["reason"] == "TooManyObjects"
    assert "b-0" not in {ref.name for ref in world.below.objects}
    assert names_below(world) == {"a"}


async def test_objects_of_a_pod_that_has_gone_make_room(world: World) -> None:
    world.start()
    first = create(world, "a", secrets=2)
    await world.settle(5)
    create(world, "b", secrets=1)
    await world.settle(5)
    world.delete(first)
    await world.settle(2)
    world.below.finish_deletion(first)
    await world.settle()
    assert names_below(world) == {"b"}
    assert {"b-0"} == {ref.name for ref in world.below.objects if ref.name.endswith("-0")}


async def test_a_restarted_agent_counts_the_objects_that_are_there(world: World) -> None:
    world.start()
    create(world, "a", secrets=2)
    await world.settle(5)
    await world.restart()
    await world.settle(5)
    late = create(world, "b", secrets=1)
    await world.settle(5)
    assert world.status(late)["reason"] == "TooManyObjects"


@pytest.mark.parametrize("sight", [Sight.NOWHERE, Sight.BARRED])
async def test_objects_that_went_with_their_namespace_below_make_room(
    world: World, sight: Sight
) -> None:
    agent = world.start()
    first = create(world, "a", secrets=2)
    await world.settle(5)
    world.sights[first.namespace] = sight
    refs = list(world.below.objects)
    world.below.copies.clear()
    world.below.objects.clear()
    agent.backend._known.clear()
    for ref in refs:
        agent.backend._notify_object(ref)
    await world.settle(5)
    world.delete(first, grace=0)
    await world.settle(120)
    world.sights[first.namespace] = Sight.COMPLETE
    for listener in agent.backend.place_listeners:
        listener(first.namespace)
    create(world, "b", secrets=2)
    await world.settle(5)
    assert names_below(world) == {"b"}


@pytest.mark.parametrize("restarted", [False, True])
async def test_objects_that_are_kept_while_a_copy_has_no_pod_count(
    world: World, restarted: bool
) -> None:
    """Also those that nobody had counted when they could be seen again."""
    agent = world.start()
    first = create(world, "a", secrets=2)
    await world.settle(5)
    world.sights[first.namespace] = Sight.BARRED
    world.delete(first, grace=0)
    await world.settle(5)
    world.sights[first.namespace] = Sight.COMPLETE
    if restarted:
        await world.restart()
    else:
        for ref in list(world.below.objects):
            agent.backend._notify_object(ref)
        await world.settle(0.1)
    late = create(world, "b", secrets=1)
    await world.settle(0.5)
    assert world.status(late)["reason"] == "TooManyObjects"


async def test_a_pod_that_refers_to_too_much_is_rejected(world: World) -> None:
    world.start()
    key = create(world, "a", secrets=4)  # and the service variables
    await world.settle(5)
    assert world.status(key)["reason"] == "PodRejected"
    assert "refers to 5 ConfigMaps, Secrets" in world.status(key)["message"]
    assert world.below.objects == {}


async def test_a_debug_container_that_refers_to_too_much_is_held_back(world: World) -> None:
    world.start()
    key = create(world, "a", secrets=2)
    await world.settle(5)
    debugger = {
        "name": "dbg",
        "envFrom": [{"secretRef": {"name": f"more-{number}"}} for number in range(3)],
    }
    world.tenant.edit(PODS, key, lambda b: b["spec"].update(ephemeralContainers=[debugger]))
    await world.settle(5)
    assert "UpdateRejected" in world.events()
    assert names_below(world) == {"a"}


async def test_a_pod_that_was_made_under_a_higher_limit_still_gets_its_changes(
    world: World,
) -> None:
    world.limits = Limits(references=10)
    world.start()
    key = create(world, "a", secrets=6)
    await world.settle(5)
    world.limits = Limits(references=4)
    await world.restart()
    world.tenant.edit(PODS, key, lambda b: b["metadata"].update(labels={"new": "yes"}))
    await world.settle(5)
    assert world.below.called("update")
    assert "UpdateRejected" not in world.events()


async def test_a_secret_whose_name_nothing_can_have_is_said_to_be_missing(world: World) -> None:
    world.start()
    source = {"secretRef": {"name": "n" * 500_000}}
    container = {"name": "main", "image": "i", "envFrom": [source]}
    key = world.create(make_pod("a", containers=[container], volumes=[]))
    await world.settle(5)
    assert world.status(key)["reason"] == "MandatorySecretNotFound"
    assert len(world.status(key)["message"]) < 400


async def test_a_pod_of_another_namespace_is_made_while_hundreds_wait() -> None:
    world = World(latency=0.2)
    world.start()
    for number in range(400):
        create(world, f"flood-{number:03}")
    await world.settle(2)
    create(world, "quick", namespace="team-b")
    await world.settle(3)
    assert "quick" in names_below(world)
    assert len(world.below.copies) < 200  # The others are still at it.
    await world.stop()


def test_the_same_object_counts_once_and_each_token_counts() -> None:
    def spec(audiences: int) -> msgspec.Raw:
        source = {"secretRef": {"name": "s"}}
        tokens = [
            {"serviceAccountToken": {"path": f"t{n}", "audience": f"a{n}"}}
            for n in range(audiences)
        ]
        volume = {"name": "t", "projected": {"sources": tokens}}
        container = {"name": "c", "envFrom": [source] * 50}
        return msgspec.Raw(msgspec.json.encode({"containers": [container], "volumes": [volume]}))

    limits = Limits(references=10)
    assert limits.refusal(references(spec(8)), token_requests(spec(8))) is None
    assert limits.refusal(references(spec(9)), token_requests(spec(9))) is not None


def test_words_name_the_namespace_and_the_limit() -> None:
    with pytest.raises(Waiting, match="namespace team-a may have 7 pods") as raised:
        Limits(pods=7).require_room_for_pod(make_key().namespace, copies=7)
    assert raised.value.not_done


def test_words_are_the_same_however_much_there_is() -> None:
    words = set()
    for copies in (7, 8):
        with pytest.raises(Waiting) as raised:
            Limits(pods=7).require_room_for_pod("team-a", copies=copies)
        words.add(str(raised.value))
    assert len(words) == 1


def test_a_line_gives_everybody_a_turn() -> None:
    line = Line()
    a, b, c = (ObjectKey("team-a", name) for name in "abc")
    for key in (a, b, c, ObjectKey("team-b", "a")):
        line.join(key)
    assert line.first("team-a", 2) == [a, b]
    line.join(a)
    assert line.first("team-a", 9) == [c, a]
    assert line.first("team-a", -1) == []


async def test_those_that_wait_write_nothing_while_nothing_changes_for_them(world: World) -> None:
    world.limits = Limits(pods=20, objects=20, references=50)
    world.start()
    create(world, "base", secrets=10)
    await world.settle(5)
    waiting = [create(world, f"big{number}", secrets=15) for number in range(5)]
    await world.settle(300)
    texts = {world.status(key)["message"] for key in waiting}
    world.tenant.calls.clear()
    for number in range(4):
        key = create(world, f"small{number}", secrets=1 + number)
        await world.settle(40)
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle(40)
    assert {world.status(key)["message"] for key in waiting} == texts
    names = {key.name for key in waiting}
    written = [call for call in world.tenant.named("patch pods/status") if call.key.name in names]
    assert not written
    assert len(texts) == 1
    assert not [
        call
        for call in world.tenant.named("create events")
        if call.body["reason"] == "TooManyObjects"
    ]


async def test_a_pod_that_waits_for_room_is_tried_when_there_is_some_and_rarely_else(
    world: World,
) -> None:
    agent = world.start()
    first = create(world, "a")
    create(world, "b")
    await world.settle(5)
    create(world, "c")
    await world.settle(2000)
    tries = 0
    real = agent.objects.require_room

    def counted(key: ObjectKey) -> None:
        nonlocal tries
        tries += 1
        real(key)

    agent.objects.require_room = counted  # type: ignore[method-assign]
    await world.settle(1200)
    assert 1 <= tries <= 4
    world.delete(first)
    await world.settle(2)
    world.below.finish_deletion(first)
    await world.settle(1)
    assert names_below(world) == {"b", "c"}


async def test_a_pod_that_waits_for_objects_is_tried_when_one_has_gone(world: World) -> None:
    world.start()
    first = create(world, "a", secrets=2)
    await world.settle(5)
    create(world, "b", secrets=1)
    await world.settle(2000)
    world.delete(first)
    await world.settle(2)
    world.below.finish_deletion(first)
    await world.settle(2)
    assert names_below(world) == {"b"}
