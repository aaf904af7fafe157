"""Copies that no watch brings, and pods of which nobody knows whether they have one."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from federation.backends.kubernetes.backend import KubernetesBackend
from tests.builders import make_error, make_key, make_pod
from tests.unit.federation import both_sides
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime


def delete(sides: Sides) -> None:
    sides.tenant.delete_gracefully(PODS, make_key(), 30)


def messages(sides: Sides) -> str:
    """What users read, in one text."""
    bodies = [body for (kind, _), body in sides.tenant.objects.items() if kind == "events"]
    return "\n".join(body["message"] for body in bodies)


class TestACopyWhoseLabelWasTakenWhileTheAgentWasDown:
    @staticmethod
    async def take_label(sides: Sides) -> None:
        await sides.run_a_pod()
        await sides.stop()
        sides.compute.edit(
            PODS, COPY, lambda body: body["metadata"]["labels"].pop("vnode.dev/tenant")
        )

    async def test_is_not_lost(self, sides: Sides) -> None:
        await self.take_label(sides)
        await sides.begin_again()
        await asyncio.sleep(LONG)
        assert sides.pod()["status"]["phase"] == "Running"
        assert "CopyNotSeen" in sides.events()

    async def test_keeps_its_pod_although_that_is_deleted(self, sides: Sides) -> None:
        await self.take_label(sides)
        delete(sides)
        await sides.begin_again()
        await asyncio.sleep(LONG)
        assert sides.copy() is not None
        assert sides.pod() is not None
        assert "CopyNotSeen" in sides.events()

    async def test_is_another_one_s_if_it_was_made_for_another_uid(self, sides: Sides) -> None:
        await self.take_label(sides)
        sides.compute.edit(
            PODS, COPY, lambda body: body["metadata"]["annotations"].update({"vnode.dev/uid": "x"})
        )
        delete(sides)
        await sides.begin_again()
        await asyncio.sleep(LONG)
        assert sides.pod() is None


class TestAPodBoundWhileNoAgentRanInANamespaceOfSomebodyElse:
    async def test_goes_since_there_is_no_copy_of_it(self, sides: Sides) -> None:
        sides.compute.put(NAMESPACES, {"metadata": {"name": BELOW, "labels": {}}})
        sides.tenant.put(PODS, make_pod())
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(60)
        assert sides.pod() is None

    async def test_stays_while_there_is_one(self, sides: Sides) -> None:
        await sides.run_a_pod()
        await sides.stop()

        def forget(body: Any) -> None:  # The agent died before it wrote a status.
            body["status"] = {}

        sides.tenant.edit(PODS, make_key(), forget)
        sides.compute.edit(
            NAMESPACES, ObjectKey("", BELOW), lambda body: body["metadata"].update(labels={})
        )
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None
        assert "ComputeNamespaceUnavailable" in sides.events()


class TestAPreparedNamespaceThatIsDeletedWhileTheAgentIsDown:
    """Looks for it are refused then: the rights in it went with it."""

    @pytest.fixture
    async def sides(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sides]:
        real: Callable[..., KubernetesBackend] = KubernetesBackend

        def without_making(*args: Any, **named: Any) -> KubernetesBackend:
            return real(*args, **{**named, "on_demand": None})

        monkeypatch.setattr(both_sides, "KubernetesBackend", without_making)
        sides = Sides()
        self.prepare(sides)
        yield sides
        await sides.stop()

    @staticmethod
    def prepare(sides: Sides) -> None:
        labels = {"vnode.dev/tenant": "red"}
        sides.compute.put(NAMESPACES, {"metadata": {"name": BELOW, "labels": labels}})

    @staticmethod
    async def vanish(sides: Sides) -> None:
        await sides.run_a_pod()
        await sides.stop()
        sides.vanish()

    @pytest.mark.parametrize("deleted", [True, False])
    async def test_its_pods_wait_and_say_what_to_do(self, sides: Sides, *, deleted: bool) -> None:
        await self.vanish(sides)
        await sides.begin_again()
        if deleted:
            delete(sides)
        await asyncio.sleep(LONG)
        assert sides.pod()["status"]["phase"] == "Running"
        assert "prepare it (again)" in messages(sides)
        assert "delete the pod with --force" in messages(sides)
        assert BELOW not in messages(sides)

    async def test_its_pods_are_judged_once_it_is_prepared_again(self, sides: Sides) -> None:
        await self.vanish(sides)
        await sides.begin_again()
        self.prepare(sides)
        await asyncio.sleep(400)
        assert sides.pod()["status"]["phase"] == "Failed"

    async def test_a_listed_pod_that_may_have_a_copy_says_what_to_do(self, sides: Sides) -> None:
        sides.vanish()
        forbidden = make_error(403, "no", reason="Forbidden")
        sides.compute.fail(forbidden, "get namespaces", times=10**6)
        sides.tenant.put(PODS, make_pod())
        await sides.begin_again()
        delete(sides)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None
        assert "delete the pod with --force" in messages(sides)
