"""Which objects and tokens a pod needs."""

from typing import Any

import msgspec
import pytest

from vnode.backend import (
    API_SERVER_VARIABLES,
    SERVICE_VARIABLES,
    Reference,
    ReferenceKind,
    TokenKey,
)
from vnode.pods.objects.references import ReferenceUse, references, token_requests

CONFIG_MAP = ReferenceKind.CONFIG_MAP
SECRET = ReferenceKind.SECRET


def use(
    kind: ReferenceKind, name: str, where: str, *keys: str, optional: bool = False
) -> ReferenceUse:
    return ReferenceUse(Reference(kind, name), optional, frozenset(keys), where)


def token_volume(name: str = "v", **source: Any) -> dict[str, Any]:
    return {
        "volumes": [{"name": name, "projected": {"sources": [{"serviceAccountToken": source}]}}]
    }


def of_the_tenant(spec: Any) -> set[ReferenceUse]:
    """Without the service variables, which every pod needs."""
    return {use for use in references(spec) if use.where != "spec.enableServiceLinks"}


@pytest.mark.parametrize(
    ("spec", "variables"),
    [
        ({}, SERVICE_VARIABLES),
        ({"enableServiceLinks": True}, SERVICE_VARIABLES),
        ({"enableServiceLinks": False}, API_SERVER_VARIABLES),
    ],
)
def test_every_pod_needs_service_variables(spec: Any, variables: Reference) -> None:
    assert references(spec) == {
        ReferenceUse(variables, optional=False, keys=frozenset(), where="spec.enableServiceLinks")
    }


def test_a_pod_that_refers_to_nothing_needs_nothing_else() -> None:
    spec = {"containers": [{"name": "a", "env": [{"name": "x", "value": "y"}]}]}
    assert of_the_tenant(spec) == set()


def test_what_an_ephemeral_container_refers_to_is_told_from_what_the_pod_needs() -> None:
    source = {"envFrom": [{"secretRef": {"name": "s"}}]}
    spec = {
        "containers": [{"name": "main", **source}],
        "ephemeralContainers": [{"name": "debug", **source}],
    }
    found = {(use.where, use.ephemeral) for use in of_the_tenant(spec)}
    assert found == {
        ("spec.containers[0].envFrom[0]", ""),
        ("spec.ephemeralContainers[0].envFrom[0]", "debug"),
    }


def test_variables_need_their_key() -> None:
    env = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "p", "optional": True}}},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    assert of_the_tenant({"containers": [{"name": "a", "env": env}]}) == {
        use(CONFIG_MAP, "c", "spec.containers[0].env[0]", "k"),
        use(SECRET, "s", "spec.containers[0].env[1]", "p", optional=True),
    }


def test_env_from_needs_the_object_alone() -> None:
    env_from = [{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s", "optional": True}}]
    assert of_the_tenant({"containers": [{}, {"envFrom": env_from}]}) == {
        use(CONFIG_MAP, "c", "spec.containers[1].envFrom[0]"),
        use(SECRET, "s", "spec.containers[1].envFrom[1]", optional=True),
    }


@pytest.mark.parametrize("kind", ["initContainers", "ephemeralContainers"])
def test_every_kind_of_container_is_searched(kind: str) -> None:
    container = {"envFrom": [{"secretRef": {"name": "s"}}]}
    assert of_the_tenant({kind: [container]}) == {use(SECRET, "s", f"spec.{kind}[0].envFrom[0]")}


def test_volumes_need_the_keys_of_their_items() -> None:
    items = [{"key": "a", "path": "x"}, {"key": "b", "path": "y"}]
    volumes = [
        {"name": "v", "configMap": {"name": "c", "items": items}},
        {"name": "w", "secret": {"secretName": "s", "optional": True}},
        {"name": "x", "emptyDir": {}},
    ]
    assert of_the_tenant({"volumes": volumes}) == {
        use(CONFIG_MAP, "c", "spec.volumes[0].configMap", "a", "b"),
        use(SECRET, "s", "spec.volumes[1].secret", optional=True),
    }


def test_projected_sources_are_searched() -> None:
    sources = [
        {"serviceAccountToken": {"path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"secret": {"name": "s"}},
    ]
    assert of_the_tenant({"volumes": [{"name": "v", "projected": {"sources": sources}}]}) == {
        use(
            CONFIG_MAP,
            "kube-root-ca.crt",
            "spec.volumes[0].projected.sources[1].configMap",
            "ca.crt",
        ),
        use(SECRET, "s", "spec.volumes[0].projected.sources[2].secret"),
    }


def test_a_pod_starts_without_its_pull_secrets() -> None:
    assert of_the_tenant({"imagePullSecrets": [{"name": "r"}, {"name": ""}, {}]}) == {
        use(SECRET, "r", "spec.imagePullSecrets[0]", optional=True)
    }


def test_bytes_and_decoded_specs_give_the_same() -> None:
    spec = {
        "containers": [{"name": "a", "env": None, "envFrom": [{"configMapRef": {"name": "c"}}]}],
        **token_volume(path="token"),
    }
    raw = msgspec.Raw(msgspec.json.encode(spec))
    assert references(raw) == references(spec)
    assert token_requests(raw) == token_requests(spec)


@pytest.mark.parametrize("spec", [b"{", b"[]", b'{"volumes": 1}'])
def test_what_is_no_pod_spec_is_an_error_by_name(spec: bytes) -> None:
    with pytest.raises(ValueError, match="not a PodSpec"):
        references(spec)


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ({"path": "t"}, TokenKey("", 3600)),
        ({"path": "t", "expirationSeconds": 3607}, TokenKey("", 3607)),
        ({"path": "t", "audience": "vault", "expirationSeconds": 600}, TokenKey("vault", 600)),
    ],
)
def test_a_token_lives_as_long_as_asked(source: dict[str, Any], key: TokenKey) -> None:
    assert token_requests(token_volume(**source)) == {key}


def test_the_admission_plugins_default_life_means_nothing_was_asked() -> None:
    spec = token_volume("kube-api-access-x7k2p", path="token", expirationSeconds=3607)
    assert token_requests(spec) == {TokenKey("", 43200)}


def test_a_token_for_somebody_else_keeps_its_life_in_that_volume_too() -> None:
    spec = token_volume("kube-api-access-x7k2p", audience="vault", expirationSeconds=3607)
    assert token_requests(spec) == {TokenKey("vault", 3607)}


@pytest.mark.parametrize("source", [{"expirationSeconds": 600}, {"expirationSeconds": 7200}])
def test_a_life_that_was_asked_for_counts_in_that_volume_too(source: dict[str, Any]) -> None:
    spec = token_volume("kube-api-access-x7k2p", path="token", **source)
    assert token_requests(spec) == {TokenKey("", source["expirationSeconds"])}
