"""How copies of ConfigMaps and Secrets are written, and what is never touched."""

import pytest

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.objects import RESOURCES, ObjectWriter, object_below
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_SOURCE_VERSION,
    LABEL_TENANT,
    NamespaceMapping,
)
from tests.builders import OWNER, make_config_map, make_error, make_key, make_secret
from tests.fakes.client import Body, RecordingClient
from vnode.backend import NameConflict, ObjectRef, ReferenceKind, Waiting
from vnode.kube.decode import decode
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.types import ConfigMap, PartialObject, Secret, encode
from vnode.runtime.store import Store

BELOW = "red--team-a"
NAMES = Names(BELOW, "team-a")


class World:
    """Objects of one kind in a compute namespace, a watch on them, and the writer."""

    def __init__(self, kind: ReferenceKind = ReferenceKind.CONFIG_MAP) -> None:
        self.kind = kind
        self.name = "login" if kind is ReferenceKind.SECRET else "settings"
        self.key = make_key(self.name, BELOW)
        self.resource = RESOURCES[kind]
        self.cluster = RecordingClient(name="compute")
        self.store: Store[PartialObject] = Store("copies")
        self.watching = True
        self.cluster.on_change.append(self._watch)
        self.writer = ObjectWriter(
            self.cluster.client, self.resource, self.store, OWNER, NamespaceMapping("red")
        )

    def _watch(self, _: str, body: Body, exists: bool) -> None:
        found = decode(encode(body), PartialObject)
        if not self.watching or found.metadata.labels.get(LABEL_TENANT) != OWNER.tenant:
            return
        if exists:
            self.store.upsert(found)
        else:
            self.store.remove(found.metadata.key, last=found)

    def built(self, body: ConfigMap | Secret) -> dict[str, object]:
        ref = ObjectRef("team-a", self.kind, body.metadata.name)
        return object_below(ref, body, owner=OWNER, namespace=BELOW)

    async def put(self, body: ConfigMap | Secret | None = None) -> None:
        await self.writer.put(self.key, self.built(body or make_config_map()), names=NAMES)

    async def delete(self) -> None:
        await self.writer.delete(self.key, names=NAMES)

    def body(self) -> Body:
        body = self.cluster.get_body(self.resource, self.key)
        assert body is not None
        return body

    def put_foreign(self, **change: dict[str, str]) -> Body:
        """An object of that name that is somebody else's."""
        body: Body = decode(encode(self.built(make_config_map(mode="theirs"))), dict)
        for field, values in change.items():
            body["metadata"][field].update(values)
        return self.cluster.put(self.resource, body)

    @property
    def names(self) -> list[str]:
        """Calls so far, without the resource."""
        return [name.split()[0] for name in self.cluster.names()]


FOREIGN = {
    "another cluster of our tenant": {"annotations": {ANNOTATION_CLUSTER_UID: "another"}},
    "another tenant": {"labels": {LABEL_TENANT: "blue"}},
    "nobody": {"labels": {LABEL_TENANT: ""}},
}
foreign = pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN.keys())


# --- what is ours -----------------------------------------------------------------------------


async def test_an_object_is_created_and_known_before_the_watch_brings_it() -> None:
    world = World()
    world.watching = False
    await world.put()
    assert world.body()["data"] == {"mode": "fast"}
    held = world.store.get(world.key)
    assert held is not None
    assert held.metadata.annotations[ANNOTATION_SOURCE_VERSION].endswith("/1")
    assert world.names == ["create"]


async def test_a_newer_version_replaces_exactly_the_object_that_was_known() -> None:
    world = World()
    await world.put()
    known = world.body()["metadata"]
    await world.put(make_config_map(version=2, mode="slow"))
    assert world.body()["data"] == {"mode": "slow"}
    sent = world.cluster.calls[-1]
    assert sent.verb == "replace"
    assert sent.body["metadata"]["uid"] == known["uid"]
    assert sent.body["metadata"]["resourceVersion"] == known["resourceVersion"]


async def test_our_object_that_the_watch_has_not_brought_yet_is_replaced() -> None:
    world = World()
    world.watching = False
    await world.put()
    forgetful = World()
    forgetful.cluster.objects = world.cluster.objects
    await forgetful.put(make_config_map(version=2, mode="slow"))
    assert forgetful.names == ["create", "get", "replace"]
    assert forgetful.body()["data"] == {"mode": "slow"}


async def test_an_object_that_changed_meanwhile_is_not_overwritten() -> None:
    world = World()
    await world.put()
    world.watching = False
    world.cluster.edit(
        world.resource, world.key, lambda body: body["metadata"]["labels"].update(new="label")
    )
    before = world.body()
    with pytest.raises(Waiting) as caught:
        await world.put(make_config_map(version=2, mode="slow"))
    assert caught.value.reason == "ComputeConflict"
    assert world.body() == before


async def test_an_object_that_somebody_made_anew_meanwhile_is_not_overwritten() -> None:
    world = World()
    await world.put()
    world.watching = False
    world.cluster.drop(world.resource, world.key)
    before = world.put_foreign(**FOREIGN["another tenant"])
    with pytest.raises(Waiting):
        await world.put(make_config_map(version=2, mode="slow"))
    with pytest.raises(Waiting):
        await world.delete()
    assert world.body() == before


async def test_an_immutable_object_is_made_anew() -> None:
    world = World()
    await world.put(make_config_map(immutable=True))
    first = world.body()["metadata"]["uid"]
    await world.put(make_config_map(version=2, mode="slow", immutable=True))
    assert world.names == ["create", "replace", "delete", "create"]
    assert world.cluster.named("delete configmaps")[0].uid == first
    assert world.body()["data"] == {"mode": "slow"}
    assert world.body()["metadata"]["uid"] != first


async def test_a_secret_of_another_type_is_made_anew() -> None:
    world = World(ReferenceKind.SECRET)
    await world.put(make_secret())
    await world.put(make_secret(version=2, type="kubernetes.io/basic-auth", username="ada"))
    assert world.names == ["create", "replace", "delete", "create"]
    assert world.body()["type"] == "kubernetes.io/basic-auth"


async def test_another_error_of_a_replacement_deletes_nothing() -> None:
    world = World()
    await world.put()
    world.cluster.fail(make_error(422, "data: Too long"), "replace configmaps")
    with pytest.raises(Waiting):
        await world.put(make_config_map(version=2))
    assert world.names == ["create", "replace"]


async def test_a_deletion_is_for_exactly_the_object_that_was_known() -> None:
    world = World()
    await world.put()
    uid = world.body()["metadata"]["uid"]
    await world.delete()
    assert world.cluster.named("delete configmaps")[0].uid == uid
    assert world.cluster.get_body(world.resource, world.key) is None
    await world.delete()
    assert world.names == ["create", "delete"]


async def test_deleting_what_is_gone_already_is_done() -> None:
    world = World()
    await world.put()
    world.watching = False
    world.cluster.drop(world.resource, world.key)
    await world.delete()
    assert world.names == ["create", "delete"]


# --- what is somebody else's ------------------------------------------------------------------


@foreign
async def test_an_object_of_somebody_else_is_a_conflict_and_stays_as_it_is(
    change: dict[str, dict[str, str]],
) -> None:
    world = World()
    before = world.put_foreign(**change)
    with pytest.raises(NameConflict) as caught:
        await world.put()
    assert "settings" in str(caught.value)
    assert BELOW not in str(caught.value)
    assert world.body() == before
    assert world.names == ["create", "get"]


@foreign
async def test_an_object_of_somebody_else_is_not_deleted(
    change: dict[str, dict[str, str]],
) -> None:
    world = World()
    before = world.put_foreign(**change)
    await world.delete()
    assert world.body() == before
    assert world.names == []


async def test_an_object_that_lost_our_marks_is_let_go() -> None:
    world = World()
    await world.put()
    uid = {ANNOTATION_CLUSTER_UID: "another"}
    world.cluster.edit(
        world.resource, world.key, lambda body: body["metadata"]["annotations"].update(uid)
    )
    before = world.body()
    with pytest.raises(NameConflict):
        await world.put(make_config_map(version=2, mode="slow"))
    await world.delete()
    assert world.body() == before


# --- what may pass ----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["create", "replace", "delete"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (make_error(403, f"no right in namespace {BELOW}"), "ComputeForbidden"),
        (make_error(429, "busy", retry_after=9), "ComputeBusy"),
        (make_error(500, "etcd"), "ComputeError"),
        (Unreachable("cut"), "ComputeUnreachable"),
    ],
    ids=["403", "429", "500", "unreachable"],
)
async def test_errors_are_reasons_to_wait(verb: str, error: KubeError, reason: str) -> None:
    world = World()
    if verb != "create":
        await world.put()
    world.cluster.fail(error, f"{verb} configmaps")
    with pytest.raises(Waiting) as caught:
        await (world.delete() if verb == "delete" else world.put(make_config_map(version=2)))
    assert caught.value.reason == reason
    assert caught.value.retry_after == (9 if reason == "ComputeBusy" else None)
    assert BELOW not in str(caught.value)


async def test_no_error_carries_a_value_of_a_secret() -> None:
    world = World(ReferenceKind.SECRET)
    world.cluster.fail(make_error(403, "exceeded quota"), "create secrets")
    with pytest.raises(Waiting) as caught:
        await world.put(make_secret(password="hunter2"))
    assert caught.value.reason == "QuotaExceeded"
    assert "hunter2" not in f"{caught.value!r} {caught.value} {world.writer}"
