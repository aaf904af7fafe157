"""A copy that is not seen in another place than it was made in."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from federation.backends.kubernetes.places import Mark
from tests.builders import UID_2, make_error, make_key, make_pod
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.kube.errors import Unreachable
from vnode.kube.resources import NAMESPACES, PODS, Resource
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

SYSTEM = ObjectKey("", "kube-system")


async def vanish(sides: Sides) -> None:
    """Somebody deletes the compute namespace while the agent is down."""
    await sides.stop()
    sides.vanish()
    await sides.begin_again()


def exchange_cluster(sides: Sides) -> None:
    """The kubeconfig leads to another cluster, in which there is nothing of ours."""
    sides.compute.edit(NAMESPACES, SYSTEM, lambda body: body["metadata"].update(uid="another"))
    sides.vanish()


def mark(sides: Sides) -> Any:
    """The condition that says where the copy was made."""
    conditions = sides.pod()["status"]["conditions"]
    return next(c for c in conditions if c["type"] == "vnode.dev/Forwarded")


def phase(sides: Sides) -> str:
    return str(sides.pod()["status"]["phase"])


def delete(sides: Sides) -> None:
    sides.tenant.delete_gracefully(PODS, make_key(), 30)


def events(sides: Sides) -> str:
    """What users read, in one text."""
    bodies = [body for (kind, _), body in sides.tenant.objects.items() if kind == "events"]
    return "\n".join(body["message"] for body in bodies)


async def test_a_mark_names_place_and_cluster_by_fingerprints(sides: Sides) -> None:
    await sides.run_a_pod()
    message = mark(sides)["message"]
    word, made_in, copy, made = message.split()
    place = Mark.parse(made_in)
    assert (word, copy, len(made)) == ("place", "copy", 8)
    assert (len(place.namespace), len(place.cluster)) == (8, 16)
    assert BELOW not in message
    assert "compute" not in message


async def test_a_mark_without_cluster_gets_it_later(sides: Sides) -> None:
    sides.compute.drop(NAMESPACES, SYSTEM)
    await sides.run_a_pod()
    before = mark(sides)["message"]
    assert "." not in before
    sides.compute.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": "it"}})
    await sides.begin_again()
    assert mark(sides)["message"].startswith(before.partition(" copy ")[0] + ".")


async def test_without_right_to_kube_system_a_mark_names_no_cluster(sides: Sides) -> None:
    real = sides.compute.get

    async def get(resource: Resource, kind: type[Any], *, name: str, **more: Any) -> Any:
        if resource is NAMESPACES and name == SYSTEM.name:
            raise make_error(403, "no", reason="Forbidden")
        return await real(resource, kind, name=name, **more)

    sides.compute.get = get  # type: ignore[method-assign]
    await sides.run_a_pod()
    assert mark(sides)["message"].startswith("place ")
    assert "." not in mark(sides)["message"]


class TestTheNamespaceIsGone:
    async def test_a_running_pod_becomes_failed_after_some_minutes(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await vanish(sides)
        assert phase(sides) == "Running"
        assert "ComputeReplaced" in sides.events()
        await asyncio.sleep(300)
        assert (phase(sides), sides.pod()["status"]["reason"]) == ("Failed", "Evicted")

    async def test_a_running_pod_that_its_user_deletes_goes(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await vanish(sides)
        delete(sides)
        await asyncio.sleep(60)
        assert sides.pod() is not None
        await asyncio.sleep(300)
        assert sides.pod() is None

    async def test_it_may_have_been_made_again(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await vanish(sides)
        sides.tenant.put(PODS, make_pod("next", uid=UID_2))
        await asyncio.sleep(60)
        assert sides.compute.get_body(PODS, ObjectKey(BELOW, "next"))
        assert phase(sides) == "Running"
        await asyncio.sleep(300)
        assert phase(sides) == "Failed"

    async def test_it_is_made_again_and_the_lost_pod_is_not(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await vanish(sides)
        sides.tenant.put(PODS, make_pod("next", uid=UID_2))
        await asyncio.sleep(LONG)
        assert sides.copy() is None


def lose_cluster(sides: Sides) -> None:
    sides.compute.drop(NAMESPACES, SYSTEM)
    sides.vanish()


def forbid_cluster(sides: Sides) -> None:
    sides.vanish()
    # Looks for BELOW are refused too: nothing is known of either.
    forbidden = make_error(403, "no", reason="Forbidden")
    sides.compute.fail(forbidden, "get namespaces", times=10**6)


def cut(sides: Sides) -> None:
    sides.vanish()
    sides.compute.fail(Unreachable("cut"), "get namespaces", times=10**6)


@pytest.mark.parametrize("happens", [exchange_cluster, lose_cluster, forbid_cluster, cut])
class TestNothingIsProven:
    async def test_a_running_pod_stays_as_it_is(
        self, sides: Sides, happens: Callable[[Sides], None]
    ) -> None:
        await sides.run_a_pod()
        await sides.stop()
        happens(sides)
        await sides.begin_again()
        await asyncio.sleep(LONG)
        assert phase(sides) == "Running"
        assert sides.copy() is None

    async def test_a_running_pod_that_is_deleted_stays(
        self, sides: Sides, happens: Callable[[Sides], None]
    ) -> None:
        await sides.run_a_pod()
        await sides.stop()
        happens(sides)
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None


async def test_users_hear_that_the_cluster_is_another_one_and_what_to_do(sides: Sides) -> None:
    await sides.run_a_pod()
    await sides.stop()
    exchange_cluster(sides)
    await sides.begin_again()
    assert "the compute cluster is another one too" in events(sides)
    assert "delete the pod with --force" in events(sides)
    assert BELOW not in events(sides)


async def test_users_hear_that_a_right_is_missing(sides: Sides) -> None:
    await sides.run_a_pod()
    await sides.stop()
    lose_cluster(sides)
    await sides.begin_again()
    assert "grant it the right to get namespace kube-system" in events(sides)


async def test_a_pod_whose_mark_names_no_cluster_is_not_judged(sides: Sides) -> None:
    def shorten(body: Any) -> None:
        found = next(c for c in body["status"]["conditions"] if c["type"] == "vnode.dev/Forwarded")
        found["message"] = found["message"].partition(".")[0]

    await sides.run_a_pod()
    await sides.stop()
    sides.vanish()
    sides.tenant.edit(PODS, make_key(), shorten)
    await sides.begin_again()
    await asyncio.sleep(LONG)
    assert phase(sides) == "Running"
    assert "not known in which compute cluster" in events(sides)


async def test_a_cluster_that_comes_back_has_its_copies(sides: Sides) -> None:
    await sides.run_a_pod()
    await sides.stop()
    here = dict(sides.compute.objects)
    exchange_cluster(sides)
    await sides.begin_again()
    await asyncio.sleep(LONG)
    await sides.stop()
    for (kind, key), body in here.items():
        sides.compute.objects[kind, key] = body
    sides.compute.edit(
        NAMESPACES, SYSTEM, lambda body: body["metadata"].update(uid="the-compute-cluster")
    )
    await sides.begin_again()
    assert phase(sides) == "Running"
    status = {"phase": "Succeeded"}
    sides.compute.edit(PODS, COPY, lambda body: body["status"].update(status))
    await asyncio.sleep(20)
    assert phase(sides) == "Succeeded"


class TestPodsThatEnded:
    @pytest.mark.parametrize("happens", [Sides.vanish, exchange_cluster, forbid_cluster])
    async def test_they_go_when_they_are_deleted(
        self, sides: Sides, happens: Callable[[Sides], None]
    ) -> None:
        await sides.run_a_pod(phase="Succeeded")
        assert mark(sides)["reason"] == "CopyEnded"
        await sides.stop()
        happens(sides)
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(400)
        assert sides.pod() is None
        assert not {"ComputeReplaced", "ComputeNamespaceUnavailable"} & set(sides.events())

    async def test_they_stay_until_then(self, sides: Sides) -> None:
        await sides.run_a_pod(phase="Succeeded")
        await vanish(sides)
        await asyncio.sleep(LONG)
        assert phase(sides) == "Succeeded"

    async def test_what_others_called_failed_is_no_proof(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await sides.stop()
        exchange_cluster(sides)
        sides.tenant.edit(PODS, make_key(), lambda body: body["status"].update(phase="Failed"))
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None
