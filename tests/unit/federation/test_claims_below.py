"""Pods with claims, before their copies are made."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from tests.builders import OWNER, make_error, make_metadata, make_pod, make_request
from tests.unit.federation.compute import BELOW, Compute
from vnode.backend import Waiting
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import ObjectKey, Pod

pytestmark = pytest.mark.looptime

CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}


def make_using(*volumes: Any, name: str = "job-0", **spec: Any) -> Pod:
    return make_pod(name, volumes=list(volumes), **spec)


@pytest.fixture
async def compute() -> Compute:
    return Compute(policy=TranslationPolicy(pvc=PvcMode.SHARED))


def share(compute: Compute) -> None:
    compute.client.put(PERSISTENT_VOLUME_CLAIMS, make_metadata("data", namespace=BELOW))


async def apply(compute: Compute, *volumes: Any, name: str = "job-0", **spec: Any) -> str:
    """Send a pod; the reason why it waits, or nothing."""
    try:
        await compute.backend.apply(make_request(make_using(*volumes, name=name, **spec)))
    except Waiting as waiting:
        return waiting.reason if BELOW not in str(waiting) else "tells a name of the cluster"
    return ""


async def test_a_pod_waits_for_the_claim_below_and_goes_when_it_is_there(compute: Compute) -> None:
    await compute.open()
    assert await apply(compute, CLAIM) == "PersistentVolumeClaimNotFound"
    assert not compute.client.named("create pods")
    share(compute)
    assert await apply(compute, CLAIM) == ""
    assert compute.pod()["spec"]["volumes"] == [CLAIM]


async def test_a_claim_of_another_namespace_does_not_count(compute: Compute) -> None:
    await compute.open()
    await compute.open("team-b")
    compute.client.put(PERSISTENT_VOLUME_CLAIMS, make_metadata("data", namespace="red--team-b"))
    assert await apply(compute, CLAIM, namespace="team-b") == ""
    assert await apply(compute, CLAIM) == "PersistentVolumeClaimNotFound"


async def test_many_pods_of_one_claim_ask_once_a_minute(compute: Compute) -> None:
    await compute.open()
    share(compute)
    for number in range(3):
        assert await apply(compute, CLAIM, name=f"job-{number}") == ""
    assert len(compute.client.named("get persistentvolumeclaims")) == 1
    compute.client.drop(PERSISTENT_VOLUME_CLAIMS, ObjectKey(BELOW, "data"))
    await asyncio.sleep(61)
    assert await apply(compute, CLAIM, name="late") == "PersistentVolumeClaimNotFound"


async def test_a_copy_that_exists_is_not_held_up(compute: Compute) -> None:
    await compute.open()
    share(compute)
    await apply(compute, CLAIM)
    compute.client.drop(PERSISTENT_VOLUME_CLAIMS, ObjectKey(BELOW, "data"))
    await asyncio.sleep(61)
    assert await apply(compute, CLAIM) == ""


async def test_a_look_up_that_fails_is_a_reason_to_wait(compute: Compute) -> None:
    await compute.open()
    compute.client.fail(make_error(403, "no"), "get persistentvolumeclaims")
    assert await apply(compute, CLAIM) == "ComputeForbidden"


async def test_a_claim_that_we_made_for_pods_with_sidecars_is_none_for_others(
    compute: Compute,
) -> None:
    await compute.open()
    labels, annotations = OWNER.marks(namespace="team-a", name="data", uid="c-1")
    metadata = {"name": "data", "namespace": BELOW, "labels": labels, "annotations": annotations}
    compute.client.put(PERSISTENT_VOLUME_CLAIMS, {"metadata": metadata})
    assert await apply(compute, CLAIM) == "PersistentVolumeClaimNotFound"


async def test_a_claim_by_a_name_of_ours_is_never_mounted(compute: Compute) -> None:
    await compute.open()
    name = "vnode-756147115e4dcc72"
    compute.client.put(PERSISTENT_VOLUME_CLAIMS, make_metadata(name, namespace=BELOW))
    mount = {"name": "v", "persistentVolumeClaim": {"claimName": name}}
    assert await apply(compute, mount) == "VolumeNotSupported"


async def test_what_the_tenant_says_of_its_claims_comes_first() -> None:
    asked: list[tuple[str, list[str]]] = []

    async def check(namespace: str, names: Iterable[str]) -> None:
        asked.append((namespace, list(names)))
        raise Waiting("not this one", reason="VolumeNotSupported")

    compute = Compute(policy=TranslationPolicy(pvc=PvcMode.SHARED), claim_check=check)
    await compute.open()
    share(compute)
    assert await apply(compute, CLAIM) == "VolumeNotSupported"
    assert await apply(compute) == ""
    assert asked == [("team-a", ["data"])]


async def test_without_shared_claims_a_pod_with_one_waits() -> None:
    compute = Compute()
    await compute.open()
    share(compute)
    assert await apply(compute, CLAIM) == "VolumeNotSupported"
    assert not compute.client.named("get persistentvolumeclaims")
