"""The place behind a virtual node changes while the agent runs."""

import asyncio
import copy

import pytest

from tests.builders import make_key
from tests.unit.federation.both_sides import BELOW, COPY, LONG, Sides
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

SYSTEM = ObjectKey("", "kube-system")


def exchange_cluster(sides: Sides, *, prepared: bool) -> None:
    """Another cluster answers from now on; `prepared`: it has a compute namespace for us."""
    body = copy.deepcopy(sides.namespace())
    sides.compute.edit(NAMESPACES, SYSTEM, lambda body: body["metadata"].update(uid="another"))
    sides.compute.drop(NAMESPACES, ObjectKey("", BELOW))
    if prepared:
        body["metadata"]["uid"] = "9e3779b1-0000-4000-8000-00000000beef"
        sides.compute.put(NAMESPACES, body)
    sides.compute.drop(PODS, COPY)  # The watch lists again, and that cluster does not have it.


def lose_namespace(sides: Sides) -> None:
    """The compute namespace goes while no watch tells of it, as in a cut."""
    sides.compute.drop(NAMESPACES, ObjectKey("", BELOW))
    sides.compute.drop(PODS, COPY)


@pytest.mark.parametrize("prepared", [True, False], ids=["prepared", "empty"])
class TestAnotherCluster:
    async def test_a_running_pod_stays_as_it_is(self, sides: Sides, prepared: bool) -> None:
        await sides.run_a_pod()
        exchange_cluster(sides, prepared=prepared)
        await asyncio.sleep(LONG)
        assert sides.pod()["status"]["phase"] == "Running"
        assert "ComputeReplaced" in sides.events()

    async def test_a_pod_that_is_deleted_then_stays(self, sides: Sides, prepared: bool) -> None:
        await sides.run_a_pod()
        exchange_cluster(sides, prepared=prepared)
        await asyncio.sleep(60)
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None

    async def test_a_stranger_of_the_copy_s_name_is_no_proof(
        self, sides: Sides, prepared: bool
    ) -> None:
        await sides.run_a_pod()
        exchange_cluster(sides, prepared=prepared)
        metadata = {"name": COPY.name, "namespace": COPY.namespace}
        sides.compute.put(PODS, {"metadata": metadata, "spec": {}, "status": {}})
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(LONG)
        assert sides.pod() is not None


class TestAVanishedNamespace:
    async def test_a_running_pod_becomes_failed_within_minutes(self, sides: Sides) -> None:
        await sides.run_a_pod()
        lose_namespace(sides)
        await asyncio.sleep(170)
        assert sides.pod()["status"]["phase"] == "Running"
        await asyncio.sleep(100)
        assert sides.pod()["status"]["phase"] == "Failed"

    async def test_a_pod_that_is_deleted_goes_within_minutes(self, sides: Sides) -> None:
        await sides.run_a_pod()
        lose_namespace(sides)
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(170)
        assert sides.pod() is not None
        await asyncio.sleep(100)
        assert sides.pod() is None

    async def test_one_that_comes_back_in_time_was_only_not_found(self, sides: Sides) -> None:
        await sides.run_a_pod()
        namespace, pod = copy.deepcopy(sides.namespace()), copy.deepcopy(sides.copy())
        lose_namespace(sides)
        await asyncio.sleep(120)
        sides.compute.put(NAMESPACES, namespace)
        sides.compute.put(PODS, pod)
        await asyncio.sleep(LONG)
        assert sides.pod()["status"]["phase"] == "Running"
