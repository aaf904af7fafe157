"""Which claims of the tenant mean data that lies below."""

from typing import Any

import pytest

from federation.backends.kubernetes.claims import claim_names
from federation.claims.check import ClaimCheck
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from tests.builders import OWNER, make_error, make_pod
from tests.fakes.client import RecordingClient
from tests.unit.federation.claims.builders import make_claim, make_placeholder
from vnode.backend import Waiting
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import ObjectKey, Pod
from vnode.runtime.store import Store

HAND_MADE = {"nfs": {"server": "nas", "path": "/"}}


class World:
    """A tenant whose claims are watched."""

    def __init__(self) -> None:
        self.tenant = RecordingClient()
        self.claims: Store[Claim] = Store("claims")
        self.check = ClaimCheck(self.tenant.client, claim=self.claims.get, owner=OWNER)

    def add(self, claim: Claim, *, seen: bool = True) -> None:
        self.tenant.put(PERSISTENT_VOLUME_CLAIMS, claim)
        if seen:
            self.claims.upsert(claim)

    def add_volume(self, name: str, *, annotations: Any = None, **spec: Any) -> None:
        metadata = {"name": name, "annotations": annotations or {}}
        self.tenant.put(PERSISTENT_VOLUMES, {"metadata": metadata, "spec": spec})

    async def reason(self, pod: Pod | None = None) -> str:
        """Why the pod has to wait; empty: it may go."""
        try:
            pod = pod or make_using("data")
            await self.check.require(pod.metadata.namespace, claim_names(pod.spec))
        except Waiting as waiting:
            return waiting.reason
        return ""


@pytest.fixture
def world() -> World:
    return World()


def make_using(*claims: str) -> Pod:
    return make_pod(
        volumes=[
            {"name": f"v-{name}", "persistentVolumeClaim": {"claimName": name}} for name in claims
        ]
    )


async def test_a_pod_without_claims_asks_nothing(world: World) -> None:
    assert await world.reason(make_pod()) == ""
    assert not world.tenant.calls


async def test_a_claim_with_its_placeholder_is_good(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.add(make_claim(volumeName="vnode-c-1"))
    assert await world.reason() == ""


async def test_a_claim_that_is_good_is_not_asked_for_again(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.add(make_claim(volumeName="vnode-c-1"))
    for _ in range(3):
        assert await world.reason() == ""
    assert world.tenant.names() == ["get persistentvolumes"]


async def test_a_claim_that_the_watch_does_not_know_yet_is_asked_for(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.claims.upsert(make_claim())
    world.add(make_claim(volumeName="vnode-c-1"), seen=False)
    assert await world.reason() == ""


async def test_a_claim_that_is_pre_bound_to_a_volume_made_by_hand_is_good(world: World) -> None:
    world.add_volume("by-hand", **HAND_MADE)
    world.add(make_claim(volumeName="by-hand", storageClassName=""))
    assert await world.reason() == ""


@pytest.mark.parametrize(
    "volume",
    [
        {"annotations": {"pv.kubernetes.io/provisioned-by": "csi.example.com"}},
        {"nodeAffinity": {"required": {"nodeSelectorTerms": []}}},
    ],
    ids=["provisioned", "of certain nodes"],
)
async def test_a_claim_with_data_of_the_tenant_is_not_supported(
    world: World, volume: dict[str, Any]
) -> None:
    world.add_volume("theirs", **HAND_MADE, **volume)
    world.add(make_claim(volumeName="theirs", storageClassName="fast"))
    assert await world.reason() == "VolumeNotSupported"


@pytest.mark.parametrize("storage_class", ["fast", "", None])
async def test_a_claim_that_waits_for_another_class_is_not_supported(
    world: World, storage_class: str | None
) -> None:
    world.add(make_claim(storageClassName=storage_class))
    assert await world.reason() == "VolumeNotSupported"


@pytest.mark.parametrize("spec", [{}, {"dataSource": {"kind": "VolumeSnapshot"}}])
async def test_a_claim_of_our_class_is_waited_for(world: World, spec: dict[str, Any]) -> None:
    world.add(make_claim(**spec))
    assert await world.reason() == "PersistentVolumeClaimNotBound"


async def test_a_claim_whose_volume_is_gone_is_waited_for(world: World) -> None:
    world.add(make_claim(volumeName="gone"))
    assert await world.reason() == "PersistentVolumeClaimNotBound"


async def test_a_claim_that_does_not_exist_is_named(world: World) -> None:
    with pytest.raises(Waiting, match='PersistentVolumeClaim "data" not found') as waiting:
        await world.check.require("team-a", ["data"])
    assert waiting.value.reason == "PersistentVolumeClaimNotFound"


async def test_one_bad_claim_of_several_is_enough(world: World) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.add(make_claim(volumeName="vnode-c-1"))
    assert await world.reason(make_using("data", "missing")) == "PersistentVolumeClaimNotFound"


@pytest.mark.parametrize("call", ["get persistentvolumeclaims", "get persistentvolumes"])
async def test_what_cannot_be_read_is_waited_for(world: World, call: str) -> None:
    world.tenant.put(PERSISTENT_VOLUMES, make_placeholder())
    world.add(make_claim(volumeName="vnode-c-1"), seen=False)
    world.tenant.fail(make_error(500, "etcd"), call)
    assert await world.reason() == "PersistentVolumeClaimUnknown"
    assert await world.reason() == ""


async def test_a_claim_that_was_made_again_is_judged_again(world: World) -> None:
    world.add_volume("by-hand", **HAND_MADE)
    world.add(make_claim(volumeName="by-hand"))
    assert await world.reason() == ""
    world.claims.remove(ObjectKey("team-a", "data"))
    world.tenant.drop(PERSISTENT_VOLUME_CLAIMS, ObjectKey("team-a", "data"))
    world.add(make_claim(uid="c-2"))
    assert await world.reason() == "PersistentVolumeClaimNotBound"
