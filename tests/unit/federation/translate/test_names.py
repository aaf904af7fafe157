"""Names of tenant objects below are valid and never shared."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_TENANT,
    NamespaceMapping,
    NamespaceMode,
    Owner,
    object_name_below,
    token_secret_name,
    validate_tenant_name,
)
from vnode.backend import API_SERVER_VARIABLES, SERVICE_VARIABLES, ReferenceKind
from vnode.kube.types import ObjectMeta

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
tenants = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,9}", fullmatch=True).filter(lambda t: len(t) <= 20)
object_names = st.one_of(
    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", fullmatch=True),
    st.builds(
        lambda times, name: "vnode-" * times + name,
        st.integers(0, 41),
        st.sampled_from(["kube-root-ca.crt", "a-check-mount", "app", "token-1", "hash-1"]),
    ).filter(lambda name: len(name) <= 253),
)


@given(tenants, labels, tenants, labels)
@example("a", "b--c", "a", "b--c")
@example("a", "a--b", "a-a", "b")
def test_namespaces_of_different_tenants_or_names_never_meet(
    one: str, namespace: str, other: str, second: str
) -> None:
    below = NamespaceMapping(one).below(namespace)
    assert (below == NamespaceMapping(other).below(second)) == ((one, namespace) == (other, second))


@given(tenants, labels)
@example("t" * 20, "n" * 63)
def test_a_namespace_below_is_a_dns_label(tenant: str, namespace: str) -> None:
    below = NamespaceMapping(tenant).below(namespace)
    assert below is not None
    assert LABEL.fullmatch(below)


def test_a_short_namespace_is_tenant_and_name() -> None:
    assert NamespaceMapping("red").below("team-a") == "red--team-a"


@given(tenants, st.from_regex(r"[a-z0-9]{63}", fullmatch=True))
def test_a_namespace_that_looks_like_a_cut_one_does_not_take_its_place(
    tenant: str, namespace: str
) -> None:
    mapping = NamespaceMapping(tenant)
    cut = mapping.below(namespace)
    assert cut is not None
    imitation = cut.removeprefix(f"{tenant}--")
    assert mapping.below(imitation) != cut


def test_mode_same_keeps_names_but_not_those_of_kubernetes() -> None:
    mapping = NamespaceMapping("red", NamespaceMode.SAME)
    assert mapping.below("team-a") == "team-a"
    assert mapping.below("kube-system") is None


def test_mode_map_knows_only_its_table() -> None:
    mapping = NamespaceMapping("red", NamespaceMode.MAP, {"team-a": "gpu-7"})
    assert mapping.below("team-a") == "gpu-7"
    assert mapping.below("team-b") is None


@pytest.mark.parametrize("table", [{"a": "x", "b": "x"}, {"a": "Not-A-Label"}, {"a": "x" * 64}])
def test_a_table_that_is_ambiguous_or_invalid_is_refused(table: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="map"):
        NamespaceMapping("red", NamespaceMode.MAP, table)


@pytest.mark.parametrize("name", ["", "a--b", "-a", "a-", "A", "a.b", "a" * 21, "a\n"])
def test_a_tenant_name_that_could_confuse_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="tenant name"):
        validate_tenant_name(name)


def test_a_mapping_checks_its_tenant_name() -> None:
    with pytest.raises(ValueError, match="tenant name"):
        NamespaceMapping("a--b")


@given(st.sampled_from(ReferenceKind), object_names, object_names)
@example(ReferenceKind.CONFIG_MAP, "kube-root-ca.crt", "vnode-kube-root-ca.crt")
@example(ReferenceKind.SECRET, "vnode-a", "vnode-vnode-a")
def test_objects_of_different_names_never_meet(kind: ReferenceKind, one: str, other: str) -> None:
    assert (object_name_below(kind, one) == object_name_below(kind, other)) == (one == other)


@given(st.sampled_from(ReferenceKind), object_names)
def test_an_object_name_below_is_valid(kind: ReferenceKind, name: str) -> None:
    below = object_name_below(kind, name)
    assert len(below) <= 253
    assert SUBDOMAIN.fullmatch(below)


@given(object_names, st.uuids())
def test_no_tenant_secret_takes_the_name_of_a_token_secret(name: str, uid: object) -> None:
    token = token_secret_name(str(uid))
    assert object_name_below(ReferenceKind.SECRET, name) != token
    assert object_name_below(ReferenceKind.SECRET, token) != token


def test_the_root_ca_of_the_tenant_does_not_replace_the_one_below() -> None:
    below = object_name_below(ReferenceKind.CONFIG_MAP, "kube-root-ca.crt")
    assert below == "vnode-kube-root-ca.crt"


@pytest.mark.parametrize("kind", list(ReferenceKind))
@pytest.mark.parametrize(
    "name",
    [
        "check-fluid-mount-ready",
        "thin-default-check-mount",
        "fuse.starfs-default-check-mount",
        "thin-check-mount-unprivileged",
        "sh.helm.release.v1.vnode-0123456789abcdef.v1",
        "data-fuse-conf",
    ],
)
def test_no_tenant_object_takes_or_reads_the_place_of_one_that_fluid_makes(
    kind: ReferenceKind, name: str
) -> None:
    assert object_name_below(kind, name) == f"vnode-{name}"


@given(st.sampled_from(ReferenceKind), object_names)
@example(ReferenceKind.CONFIG_MAP, "services")
@example(ReferenceKind.CONFIG_MAP, "api-server")
@example(ReferenceKind.CONFIG_MAP, "vnode-services")
def test_no_tenant_object_takes_the_place_of_service_variables(
    kind: ReferenceKind, name: str
) -> None:
    taken = {object_name_below(*SERVICE_VARIABLES), object_name_below(*API_SERVER_VARIABLES)}
    assert taken == {"vnode-services", "vnode-api-server"}
    assert object_name_below(kind, name) not in taken


def test_marks_make_an_object_ours() -> None:
    owner = Owner("red", "c-1")
    marked, annotated = owner.marks(namespace="team-a", name="x", uid="u")
    assert owner.owns(ObjectMeta(labels=marked, annotations=annotated))


@pytest.mark.parametrize(
    "metadata",
    [
        ObjectMeta(labels={LABEL_TENANT: "red"}),
        ObjectMeta(annotations={ANNOTATION_CLUSTER_UID: "c-1"}),
        ObjectMeta(labels={LABEL_TENANT: "blue"}, annotations={ANNOTATION_CLUSTER_UID: "c-1"}),
        ObjectMeta(labels={LABEL_TENANT: "red"}, annotations={ANNOTATION_CLUSTER_UID: "c-2"}),
    ],
)
def test_an_object_with_only_some_of_our_marks_is_not_ours(metadata: ObjectMeta) -> None:
    assert not Owner("red", "c-1").owns(metadata)
