"""What is made below for claims, when, and when it goes."""

import asyncio
from typing import Any

import msgspec
import pytest

from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.claims.objects import PERSISTENT_VOLUMES, Claim
from federation.claims.placeholder import placeholder, placeholder_name
from federation.fluid import build
from federation.fluid.objects import DATA_LOADS, DATASETS, THIN_RUNTIMES
from tests.builders import NODE, OWNER, make_error, make_pod, make_request
from tests.unit.federation.fluid.builders import (
    BELOW,
    PROFILE,
    make_claim,
    make_volume,
    make_wish,
)
from tests.unit.federation.fluid.world import (
    CONFIG,
    CUT,
    DS,
    KEY,
    MAIN,
    MOUNT,
    PV,
    World,
    inject,
)
from vnode.backend import Waiting
from vnode.kube.errors import KubeError
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, PODS, Resource
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime


async def test_everything_is_made_in_order_and_then_pods_may_go(world: World) -> None:
    world.have(make_claim())
    world.want()
    assert await world.settle() is not None
    assert world.compute.client.names() == [
        "create persistentvolumeclaims",
        "create persistentvolumes",
    ]
    assert world.why() == "DatasetNotReady"
    world.bind()
    await world.settle()
    assert world.compute.client.names()[2:] == ["create datasets", "create thinruntimes"]
    assert world.why() == "DatasetNotReady"
    world.serve()
    await world.settle()
    assert world.why() == ""
    assert world.opened


async def test_a_ready_claim_costs_pods_no_call(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    world.compute.client.calls.clear()
    await world.settle()
    assert world.why() == ""
    assert world.compute.client.names() == []


async def test_nothing_is_made_or_asked_for_a_claim_that_nobody_uses(world: World) -> None:
    world.have(make_claim())
    await world.settle()
    assert world.compute.client.names() == []
    assert world.tenant.names() == []


async def test_the_volume_of_a_claim_is_asked_for_once_while_it_is_used_and_forgotten_then(
    world: World,
) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    assert world.tenant.names() == ["get persistentvolumes"]
    world.pods.remove(pod.metadata.key, last=pod)
    await world.settle()
    await asyncio.sleep(61)
    for _ in range(3):
        await world.settle()
    assert world.there() == set()
    world.want(make_pod("second", volumes=[MOUNT], containers=[MAIN], nodeName=NODE))
    await world.settle()
    assert world.tenant.names() == ["get persistentvolumes"] * 2


async def test_what_is_unused_goes_after_a_while_fluids_part_first(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.pods.remove(pod.metadata.key, last=pod)
    assert await world.settle() == pytest.approx(60)
    await asyncio.sleep(61)
    await world.settle()
    assert world.there() == {"PersistentVolumeClaim", "PersistentVolume"}
    await world.settle()
    assert world.there() == set()


async def test_what_a_copy_uses_stays_even_when_the_claim_has_gone(world: World) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.client.webhook = inject
    await world.compute.backend.apply(make_request(pod))
    world.compute.deliver()
    world.claims.remove(KEY, last=make_claim())
    world.pods.remove(pod.metadata.key, last=pod)
    await world.settle()
    assert world.there() >= {"Dataset", "ThinRuntime", "PersistentVolume"}
    world.compute.client.drop(PODS, ObjectKey(BELOW, "job-0"))
    world.compute.deliver()
    await world.settle()
    await world.settle()
    assert world.there() == set()


async def test_a_claim_made_again_has_nothing_of_the_old_one(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    world.have(make_claim(uid="c-2"), make_volume(uid="c-2"))
    await world.settle()
    assert world.why() == "DatasetNotReady"
    await world.settle()
    assert world.there() == set()
    await world.settle()
    (claim,) = world.below.claims.values()
    assert claim.metadata.annotations["vnode.dev/uid"] == "c-2"


@pytest.mark.parametrize(
    ("claim", "volume", "reason"),
    [
        (make_claim(profile="other"), make_volume(), "RuntimeProfileNotAllowed"),
        (make_claim(), make_volume(csi={"volumeHandle": "team-b/x"}), "VolumeNotSupported"),
        (make_claim(), make_volume(uid="c-2"), "VolumeNotSupported"),
    ],
)
async def test_what_is_not_allowed_makes_nothing_and_says_so(
    world: World, claim: Claim, volume: Any, reason: str
) -> None:
    world.have(claim, volume)
    world.want()
    await world.settle()
    assert world.why() == reason
    assert world.compute.client.names() == []


async def test_a_claim_of_somebody_else_below_is_never_touched(world: World) -> None:
    theirs = {"metadata": {"name": "data", "namespace": BELOW}}
    world.compute.client.put(PERSISTENT_VOLUME_CLAIMS, theirs)
    world.have(make_claim())
    world.want()
    with pytest.raises(Waiting):
        await world.settle()
    assert world.why() == "NameConflict"
    assert not [
        name for name in world.compute.client.names() if name.startswith(("delete", "patch"))
    ]


async def test_a_volume_of_somebody_else_below_is_never_touched(world: World) -> None:
    world.compute.client.put(PERSISTENT_VOLUMES, {"metadata": {"name": PV, "uid": "x"}, "spec": {}})
    world.have(make_claim())
    world.want()
    with pytest.raises(Waiting):
        await world.settle()
    assert world.why() == "NameConflict"
    assert "delete persistentvolumes" not in world.compute.client.names()


async def test_a_claim_that_got_a_volume_of_the_platform_is_for_no_pod(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.settle()
    world.bind("kept-for-data")
    with pytest.raises(Waiting):
        await world.settle()
    assert world.why() == "NameConflict"
    assert "create datasets" not in world.compute.client.names()


SECRET = {"nodePublishSecretRef": {"name": "key", "namespace": "team-a"}}


def copied_secrets(world: World) -> list[Any]:
    return [call.body for call in world.compute.client.calls if call.plural == "secrets"]


async def test_the_secret_of_a_volume_is_copied_before_it_and_follows_changes(world: World) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.want()
    await world.settle()
    assert world.why() == "MandatorySecretNotFound"
    assert world.compute.client.names() == ["create persistentvolumeclaims"]
    world.have_secret("b25l")
    await world.ready()
    assert world.compute.client.names()[:3] == [
        "create persistentvolumeclaims",
        "create secrets",
        "create persistentvolumes",
    ]
    assert world.why() == ""
    world.compute.client.calls.clear()
    world.have_secret("dHdv")
    await world.settle()
    (body,) = copied_secrets(world)
    assert body["data"] == {"key": "dHdv"}


async def test_no_secret_is_copied_that_nobody_would_find_again(world: World) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.have_secret("b25l")
    world.want()
    world.compute.client.fail(make_error(403, "exceeded quota"), "create persistentvolumeclaims")
    with pytest.raises(Waiting):
        await world.settle()
    assert copied_secrets(world) == []


async def test_the_copied_secret_goes_with_the_claim(world: World) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.have_secret("b25l")
    pod = world.want()
    await world.ready()
    world.pods.remove(pod.metadata.key, last=pod)
    world.claims.remove(KEY, last=make_claim())
    await world.settle()
    assert "delete secrets" not in world.compute.client.names()
    await world.settle()
    assert len(world.compute.client.named("delete secrets")) == 1


async def test_what_a_claim_had_goes_although_others_removed_its_copy(world: World) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.have_secret("b25l")
    pod = world.want()
    await world.ready()
    world.compute.client.drop(PERSISTENT_VOLUME_CLAIMS, ObjectKey(BELOW, "data"))
    world.pods.remove(pod.metadata.key, last=pod)
    world.claims.remove(KEY, last=make_claim())
    world.compute.client.fail(CUT, "delete persistentvolumes")
    with pytest.raises(Waiting):
        await world.settle()
    await world.settle()
    assert world.there() == set()
    assert [key for plural, key in world.compute.client.objects if plural == "secrets"] == []
    world.compute.client.calls.clear()
    await world.settle()
    assert world.compute.client.names() == []


async def test_a_copy_that_others_removed_before_a_restart_is_no_reason_to_forget_its_volume(
    world: World,
) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    restarted = World()
    await restarted.open()
    for resource in (PERSISTENT_VOLUMES, DATASETS, THIN_RUNTIMES):
        for (plural, _), body in world.compute.client.objects.items():
            if plural == resource.plural:
                restarted.compute.client.put(resource, body)
    assert restarted.there() == {"PersistentVolume", "Dataset", "ThinRuntime"}
    await restarted.settle()
    assert restarted.there() == set()


async def test_what_is_left_of_a_claim_is_looked_at_again_until_all_is_listed() -> None:
    world = World()
    assert await world.settle() is None
    world.compute.client.put(DATASETS, build.dataset(make_wish()))
    assert await world.settle() is not None  # No event may come once all is listed.
    await world.open()
    await world.settle()
    assert world.there() == set()


async def test_copies_that_are_no_longer_watched_are_not_taken_for_removed(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    world.below.claims.drop_scope(BELOW)
    assert world.below.bereft(KEY) == {make_claim().metadata.uid}  # by its Dataset
    world.below.datasets.drop_scope(BELOW)
    world.below.runtimes.drop_scope(BELOW)
    assert world.below.bereft(KEY) == set()


async def test_what_a_running_pod_reads_stays_although_others_removed_its_claim(
    world: World,
) -> None:
    world.have(make_claim())
    pod = world.want()
    await world.ready()
    world.compute.client.webhook = inject
    await world.compute.backend.apply(make_request(pod))
    world.compute.deliver()
    world.claims.remove(KEY, last=make_claim())
    world.compute.client.drop(PERSISTENT_VOLUME_CLAIMS, ObjectKey(BELOW, "data"))
    await world.settle()
    assert world.there() == {"PersistentVolume", "Dataset", "ThinRuntime"}


async def test_with_a_wrapper_there_only_claim_and_volume_are_made() -> None:
    world = World(CONFIG.model_copy(update={"dialect": FluidDialect.ACK}))
    await world.open()
    world.have(make_claim())
    world.want()
    await world.settle()
    world.bind()
    await world.settle()
    assert world.why() == ""
    assert world.compute.client.names() == [
        "create persistentvolumeclaims",
        "create persistentvolumes",
    ]
    (claim,) = world.below.claims.values()
    assert claim.metadata.labels["fluid.io/runtime-profile"] == PROFILE


async def test_data_that_the_platform_prepared_is_not_copied(world: World) -> None:
    claim = make_claim()
    name = placeholder_name(claim.metadata.uid)
    claim = msgspec.structs.replace(
        claim, spec=msgspec.structs.replace(claim.spec, volume_name=name)
    )
    world.have(claim, placeholder(claim, owner=OWNER))
    world.want()
    await world.settle()
    assert world.why() == "PersistentVolumeClaimNotFound"
    theirs = {"metadata": {"name": "data", "namespace": BELOW}}
    world.compute.client.put(PERSISTENT_VOLUME_CLAIMS, theirs)
    await world.settle()
    world.serve()
    await world.settle()
    assert world.why() == ""
    made = [name for name in world.compute.client.names() if name.startswith("create")]
    assert made == ["create datasets", "create thinruntimes"]
    world.compute.client.calls.clear()
    await world.settle()
    assert world.compute.client.names() == []


async def test_a_claim_that_is_being_deleted_is_for_no_new_pod(world: World) -> None:
    world.have(make_claim(deletionTimestamp="2026-01-01T00:00:00Z"))
    world.want()
    await world.settle()
    assert world.why() == "PersistentVolumeClaimNotFound"
    assert world.compute.client.names() == []


async def test_reading_ahead_is_asked_for_once_and_its_end_is_told_once(world: World) -> None:
    world.have(make_claim(annotations={"vnode.dev/warm-up": "/a"}))
    world.want()
    await world.ready()
    await world.settle()
    (load,) = world.compute.client.named("create dataloads")
    assert load.body is not None
    key = ObjectKey(BELOW, load.body["metadata"]["name"])
    world.compute.client.edit(DATA_LOADS, key, lambda body: body.update(status=FAILED))
    await world.settle()
    await world.settle()
    assert world.event() == ["WarmUpFailed"]
    assert world.why() == ""


@pytest.mark.parametrize("error", [make_error(403, "exceeded quota"), CUT])
async def test_reading_ahead_that_is_refused_holds_up_no_pod_and_is_told_once(
    world: World, error: KubeError
) -> None:
    world.have(make_claim(annotations={"vnode.dev/warm-up": "/a"}))
    world.want()
    world.compute.client.fail(error, "create dataloads", times=2)
    await world.ready()
    assert await world.settle() is not None  # It is tried again.
    assert world.why() == ""
    assert world.event() == ["WarmUpFailed"]
    assert await world.settle() is None
    assert len(world.compute.client.named("create dataloads")) == 3


def asked(world: World, paths: str) -> None:
    """The user sets the annotation; empty: takes it away."""
    notes = {"vnode.dev/warm-up": paths} if paths else {}
    world.claims.upsert(make_claim(annotations=notes))


def loads(world: World) -> list[list[str]]:
    """What the DataLoads below read."""
    found = [b for (plural, _), b in world.compute.client.objects.items() if plural == "dataloads"]
    return [[target["path"] for target in body["spec"]["target"]] for body in found]


async def test_a_new_value_replaces_the_load_of_the_old_one(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    for value, expected in (("/a", ["/a"]), ("/a,/b", ["/a", "/b"]), ("/a", ["/a"])):
        asked(world, value)
        await world.settle()
        assert loads(world) == [expected]
    asked(world, "")
    await world.settle()
    assert loads(world) == []
    assert world.why() == ""


async def test_no_pod_waits_while_an_older_load_is_being_deleted(world: World) -> None:
    world.have(make_claim(annotations={"vnode.dev/warm-up": "/a"}))
    world.want()
    await world.ready()
    (load,) = world.below.loads.values()
    key = load.metadata.key
    world.compute.client.edit(DATA_LOADS, key, lambda b: b["metadata"].update(LEAVING))
    asked(world, "/b")
    await world.settle()
    assert world.why() == ""
    assert loads(world) == [["/a"], ["/b"]]
    assert "delete dataloads" not in world.compute.client.names()


FAILED = {"phase": "Failed"}


async def test_a_cluster_without_fluid_is_the_reason(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.settle()
    world.bind()
    world.compute.client.fail(make_error(404, "404 page not found"), "create datasets")
    with pytest.raises(Waiting):
        await world.settle()
    assert world.why() == "FluidMissing"


async def test_the_namespace_is_not_vacant_while_anything_of_a_claim_is_left(
    world: World,
) -> None:
    assert not world.fluid.any_in(BELOW)
    world.have(make_claim())
    world.want()
    await world.settle()
    assert world.fluid.any_in(BELOW)
    assert not world.fluid.any_in("red--other")


async def test_a_label_that_comes_back_is_judged_anew(world: World) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    assert world.why() == ""
    world.claims.upsert(make_claim(profile="", resourceVersion="2"))
    await world.settle()
    await world.settle()
    assert world.there() == set()
    world.claims.upsert(make_claim(resourceVersion="3"))
    assert world.why() == "DatasetNotReady"


@pytest.mark.parametrize(("resource", "name"), [(DATASETS, DS), (PERSISTENT_VOLUME_CLAIMS, "data")])
async def test_a_pod_waits_until_what_is_being_deleted_is_gone_and_made_again(
    world: World, resource: Resource, name: str
) -> None:
    world.have(make_claim())
    world.want()
    await world.ready()
    assert world.why() == ""
    place = ObjectKey(BELOW, name)
    world.compute.client.edit(resource, place, lambda b: b["metadata"].update(LEAVING))
    await world.settle()
    assert world.why() == "DatasetNotReady"
    world.compute.client.drop(resource, place)
    world.compute.client.calls.clear()
    await world.settle()
    assert f"create {resource.plural}" in world.compute.client.names()


LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize("answered", [False, True], ids=["never sent", "answer lost"])
@pytest.mark.parametrize(
    "call",
    ["secrets", "persistentvolumeclaims", "persistentvolumes", "datasets", "thinruntimes"],
)
async def test_a_write_that_is_cut_off_is_made_up_for_and_nothing_is_made_twice(
    world: World, call: str, answered: bool
) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.have_secret("b25l")
    world.want()
    world.compute.client.fail(CUT, f"create {call}", after=answered)
    cuts = 0
    for step in (None, world.bind, None, world.serve, None):
        if step is not None:
            step()
            continue
        for _ in range(3):
            try:
                await world.settle()
            except Waiting:
                cuts += 1
            world.compute.deliver()
    assert cuts == 1
    assert world.why() == ""
    kept = {"PersistentVolumeClaim", "PersistentVolume", "Dataset", "ThinRuntime"}
    assert world.there() == kept
    assert len(world.below.of(KEY)) == len(kept) - 1


@pytest.mark.parametrize("answered", [False, True], ids=["never sent", "answer lost"])
@pytest.mark.parametrize(
    "call", ["persistentvolumeclaims", "persistentvolumes", "datasets", "thinruntimes", "secrets"]
)
async def test_a_deletion_that_is_cut_off_is_made_up_for(
    world: World, call: str, answered: bool
) -> None:
    world.have(make_claim(), make_volume(csi=SECRET))
    world.have_secret("b25l")
    pod = world.want()
    await world.ready()
    world.pods.remove(pod.metadata.key, last=pod)
    world.claims.remove(KEY, last=make_claim())
    world.compute.client.fail(CUT, f"delete {call}", after=answered)
    cuts = 0
    for _ in range(6):
        try:
            await world.settle()
        except Waiting:
            cuts += 1
        world.compute.deliver()
    assert cuts == 1
    assert world.there() == set()
    assert [key for plural, key in world.compute.client.objects if plural == "secrets"] == []
