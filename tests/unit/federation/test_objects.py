"""Copies of ConfigMaps, Secrets and token sets, and how they are written."""

import pytest

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.objects import (
    ANNOTATION_TOKENS_REFRESH,
    RESOURCES,
    ObjectWriter,
    object_below,
    token_set,
    tokens_refresh_at,
)
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_NAME,
    ANNOTATION_NAMESPACE,
    ANNOTATION_SOURCE_VERSION,
    ANNOTATION_UID,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
    token_secret_name,
)
from tests.builders import (
    OWNER,
    UID_1,
    make_config_map,
    make_copy,
    make_error,
    make_metadata,
    make_secret,
)
from tests.fakes.client import Body, RecordingClient
from vnode.backend import NameConflict, ObjectRef, ReferenceKind, Token, TokenKey, Waiting
from vnode.kube.types import ConfigMap, ObjectKey, PartialObject, encode_base64
from vnode.runtime.store import Store

BELOW = "red--team-a"
NAMES = Names(BELOW, "team-a")
SETTINGS = ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "settings")
LOGIN = ObjectRef("team-a", ReferenceKind.SECRET, "login")
OTHER_CLUSTER = Owner(tenant="red", cluster_uid="another-cluster-of-the-same-tenant-name")


class Written:
    """One writer and the compute cluster that it writes to."""

    def __init__(self, kind: ReferenceKind = ReferenceKind.CONFIG_MAP) -> None:
        self.client = RecordingClient(name="gpu")
        self.resource = RESOURCES[kind]
        self.store: Store[PartialObject] = Store("objects")
        self.writer = ObjectWriter(
            self.client.client, self.resource, self.store, OWNER, NamespaceMapping("red")
        )

    async def put(self, body: ConfigMap) -> None:
        built = object_below(SETTINGS, body, owner=OWNER, namespace=BELOW)
        await self.writer.put(ObjectKey(BELOW, "settings"), built, names=NAMES)

    @property
    def body(self) -> Body:
        found = self.client.get_body(self.resource, ObjectKey(BELOW, "settings"))
        assert found is not None
        return found


def foreign(owner: Owner = OTHER_CLUSTER) -> Body:
    labels, annotations = owner.marks(namespace="team-a", name="settings", uid="x")
    metadata = {"name": "settings", "namespace": BELOW}
    return {
        "metadata": {**metadata, "labels": labels, "annotations": annotations},
        "data": {"theirs": "1"},
    }


class TestBodies:
    def test_a_copy_carries_marks_and_the_version_that_it_was_made_from(self) -> None:
        source = make_config_map(version=7, mode="fast")
        built = object_below(SETTINGS, source, owner=OWNER, namespace=BELOW)
        metadata = built["metadata"]
        assert isinstance(metadata, dict)
        assert (metadata["name"], metadata["namespace"]) == ("settings", BELOW)
        assert metadata["labels"][LABEL_TENANT] == "red"
        marks = metadata["annotations"]
        assert marks[ANNOTATION_CLUSTER_UID] == OWNER.cluster_uid
        assert (marks[ANNOTATION_NAMESPACE], marks[ANNOTATION_NAME]) == ("team-a", "settings")
        assert marks[ANNOTATION_UID] == source.metadata.uid
        assert marks[ANNOTATION_SOURCE_VERSION] == f"{source.metadata.uid}/7"
        assert built["data"] == {"mode": "fast"}

    def test_the_tenant_s_own_metadata_stays_with_the_tenant(self) -> None:
        source = ConfigMap(
            metadata=make_metadata(labels={"app": "x"}, annotations={"note": "y"}).metadata
        )
        metadata = object_below(SETTINGS, source, owner=OWNER, namespace=BELOW)["metadata"]
        assert isinstance(metadata, dict)
        assert set(metadata) == {"name", "namespace", "labels", "annotations"}
        assert "app" not in metadata["labels"]
        assert "note" not in metadata["annotations"]

    @pytest.mark.parametrize("immutable", [True, False])
    def test_immutability_is_kept(self, immutable: bool) -> None:
        source = make_config_map(immutable=immutable)
        built = object_below(SETTINGS, source, owner=OWNER, namespace=BELOW)
        assert built["immutable"] is immutable

    @pytest.mark.parametrize(
        ("kind", "below"),
        [
            ("Opaque", "Opaque"),
            ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockerconfigjson"),
            ("kubernetes.io/service-account-token", "Opaque"),
            ("bootstrap.kubernetes.io/token", "Opaque"),
        ],
    )
    def test_a_secret_keeps_its_type_unless_it_is_a_credential_of_its_cluster(
        self, kind: str, below: str
    ) -> None:
        built = object_below(LOGIN, make_secret(type=kind), owner=OWNER, namespace=BELOW)
        assert built["type"] == below
        assert built["data"] == {"password": encode_base64("hunter2")}

    def test_a_name_that_the_compute_cluster_needs_is_another_below(self) -> None:
        ref = ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "kube-root-ca.crt")
        built = object_below(ref, make_config_map(), owner=OWNER, namespace=BELOW)
        metadata = built["metadata"]
        assert isinstance(metadata, dict)
        assert metadata["name"] == "vnode-kube-root-ca.crt"
        assert metadata["annotations"][ANNOTATION_NAME] == "kube-root-ca.crt"

    def test_tokens_go_with_the_copy_and_are_renewed_by_the_first_of_them(self) -> None:
        tokens = {
            TokenKey("", 3600): Token("a", refresh_at=2000.0),
            TokenKey("vault", 600): Token("b", refresh_at=1000.4),
        }
        built = token_set(make_copy(handle="h"), tokens, owner=OWNER, namespace=BELOW)
        metadata = built["metadata"]
        assert isinstance(metadata, dict)
        assert metadata["name"] == token_secret_name(UID_1)
        assert metadata["annotations"][ANNOTATION_TOKENS_REFRESH] == "1000"
        assert [o.uid for o in metadata["ownerReferences"]] == ["h"]
        assert built["data"] == {key.data_key: encode_base64(t.value) for key, t in tokens.items()}
        assert ANNOTATION_SOURCE_VERSION not in metadata["annotations"]

    @pytest.mark.parametrize(
        ("mark", "due"), [("1000", 1000.0), ("", None), ("nan", None), ("inf", None), ("x", None)]
    )
    def test_a_spoilt_time_of_renewal_is_none(self, mark: str, due: float | None) -> None:
        marked = make_metadata(annotations={ANNOTATION_TOKENS_REFRESH: mark})
        assert tokens_refresh_at(marked.metadata) == due


class TestPut:
    async def test_a_new_object_is_created_and_known(self) -> None:
        written = Written()
        await written.put(make_config_map())
        assert written.client.names() == ["create configmaps"]
        assert written.store.get(ObjectKey(BELOW, "settings")) is not None

    async def test_ours_is_replaced_under_preconditions(self) -> None:
        written = Written()
        await written.put(make_config_map(mode="old"))
        before = written.body["metadata"]
        await written.put(make_config_map(mode="new", version=2))
        call = written.client.calls[-1]
        assert call.name == "replace configmaps"
        assert call.body["metadata"]["uid"] == before["uid"]
        assert call.body["metadata"]["resourceVersion"] == before["resourceVersion"]
        assert written.body["data"] == {"mode": "new"}

    async def test_ours_that_the_watch_has_not_shown_yet_is_replaced(self) -> None:
        written = Written()
        await written.put(make_config_map(mode="old"))
        fresh = Written()
        fresh.client.objects = written.client.objects
        await fresh.put(make_config_map(mode="new"))
        assert fresh.client.names() == ["create configmaps", "get configmaps", "replace configmaps"]
        assert fresh.body["data"] == {"mode": "new"}

    @pytest.mark.parametrize("owner", [OTHER_CLUSTER, Owner("blue", OWNER.cluster_uid)])
    @pytest.mark.parametrize("shown", [True, False], ids=["seen", "not seen"])
    async def test_somebody_else_s_is_never_changed(self, owner: Owner, shown: bool) -> None:
        written = Written()
        theirs = written.client.put(written.resource, foreign(owner))
        if shown:
            labels, annotations = theirs["metadata"]["labels"], theirs["metadata"]["annotations"]
            written.store.upsert(
                make_metadata(namespace=BELOW, labels=labels, annotations=annotations)
            )
        with pytest.raises(NameConflict):
            await written.put(make_config_map())
        assert written.body == theirs

    async def test_a_stale_view_changes_nothing(self) -> None:
        written = Written()
        await written.put(make_config_map(mode="old"))
        written.client.edit(
            written.resource, ObjectKey(BELOW, "settings"), lambda b: b["data"].update(mode="edit")
        )
        with pytest.raises(Waiting) as caught:
            await written.put(make_config_map(mode="new"))
        assert caught.value.reason == "ComputeConflict"
        assert written.body["data"] == {"mode": "edit"}

    async def test_immutable_data_makes_a_new_object(self) -> None:
        written = Written()
        await written.put(make_config_map(immutable=True, mode="old"))
        before = written.body["metadata"]["uid"]
        await written.put(make_config_map(immutable=True, mode="new"))
        assert written.body["data"] == {"mode": "new"}
        assert written.body["metadata"]["uid"] != before
        delete = written.client.named("delete configmaps")
        assert [call.uid for call in delete] == [before]

    async def test_an_object_that_is_mutable_again_is_a_new_one(self) -> None:
        written = Written()
        await written.put(make_config_map(immutable=True, mode="same"))
        await written.put(make_config_map(mode="same"))
        assert "immutable" not in written.body

    async def test_another_type_makes_a_new_secret(self) -> None:
        written = Written(ReferenceKind.SECRET)
        for kind in ("Opaque", "kubernetes.io/dockerconfigjson"):
            built = object_below(LOGIN, make_secret(type=kind), owner=OWNER, namespace=BELOW)
            await written.writer.put(ObjectKey(BELOW, "login"), built, names=NAMES)
        body = written.client.get_body(written.resource, ObjectKey(BELOW, "login"))
        assert body is not None
        assert body["type"] == "kubernetes.io/dockerconfigjson"

    @pytest.mark.parametrize("code", [400, 403, 413, 422, 429, 500])
    async def test_a_refusal_may_pass_and_shows_no_names_and_no_values(self, code: int) -> None:
        written = Written(ReferenceKind.SECRET)
        error = make_error(code, "data of red--team-a: too long")
        written.client.fail(error, "create secrets")
        built = object_below(LOGIN, make_secret(), owner=OWNER, namespace=BELOW)
        with pytest.raises(Waiting) as caught:
            await written.writer.put(ObjectKey(BELOW, "login"), built, names=NAMES)
        assert BELOW not in str(caught.value)
        assert "hunter2" not in repr(caught.value)
        assert encode_base64("hunter2") not in repr(caught.value)


class TestDelete:
    KEY = ObjectKey(BELOW, "settings")

    async def test_ours_goes(self) -> None:
        written = Written()
        await written.put(make_config_map())
        uid = written.body["metadata"]["uid"]
        await written.writer.delete(self.KEY, names=NAMES)
        assert [call.uid for call in written.client.named("delete configmaps")] == [uid]

    async def test_what_is_not_known_is_not_asked_for(self) -> None:
        written = Written()
        await written.writer.delete(self.KEY, names=NAMES)
        assert not written.client.calls

    async def test_somebody_else_s_stays(self) -> None:
        written = Written()
        theirs = written.client.put(written.resource, foreign())
        labels, annotations = theirs["metadata"]["labels"], theirs["metadata"]["annotations"]
        written.store.upsert(make_metadata(namespace=BELOW, labels=labels, annotations=annotations))
        await written.writer.delete(self.KEY, names=NAMES)
        assert written.body == theirs

    async def test_gone_already_is_success(self) -> None:
        written = Written()
        await written.put(make_config_map())
        written.client.drop(written.resource, self.KEY)
        await written.writer.delete(self.KEY, names=NAMES)

    async def test_a_successor_of_that_name_stays_and_is_looked_at_again(self) -> None:
        written = Written()
        await written.put(make_config_map())
        written.client.drop(written.resource, self.KEY)
        theirs = written.client.put(written.resource, foreign())
        with pytest.raises(Waiting):
            await written.writer.delete(self.KEY, names=NAMES)
        assert written.body == theirs
