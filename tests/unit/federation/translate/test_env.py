"""What containers see in their environment. FieldRefs: `test_downward`."""

from typing import Any

import pytest

from tests.unit.federation.translate.builders import container_below, make_container, spec_below


def test_values_of_secrets_and_config_maps_stay_references() -> None:
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
        {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}},
        {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "D", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "p", "key": "k"}}},
    ]
    assert container_below(env=env)["env"] == env


def test_references_to_reserved_names_follow_the_copy() -> None:
    reference = {"configMapKeyRef": {"name": "kube-root-ca.crt", "key": "ca.crt"}}
    below = container_below(
        env=[{"name": "CA", "valueFrom": reference}],
        envFrom=[
            {"configMapRef": {"name": "kube-root-ca.crt"}, "prefix": "CA_"},
            {"secretRef": {"name": "vnode-x", "optional": True}},
        ],
    )
    renamed = "vnode-kube-root-ca.crt"
    assert below["env"][0]["valueFrom"]["configMapKeyRef"]["name"] == renamed
    assert below["envFrom"][1:] == [
        {"configMapRef": {"name": renamed}, "prefix": "CA_"},
        {"secretRef": {"name": "vnode-vnode-x", "optional": True}},
    ]


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_service_variables_come_before_all_that_the_user_gives(kind: str) -> None:
    own = [{"prefix": "A_", "configMapRef": {"name": "a"}}, {"secretRef": {"name": "b"}}]
    fields: Any = {kind: [make_container(envFrom=own), make_container(name="other")]}
    below = spec_below(**fields)
    first = {"configMapRef": {"name": "vnode-services"}}
    assert [container["envFrom"] for container in below[kind]] == [[first, *own], [first]]


@pytest.mark.parametrize(
    ("links", "name"), [(None, "services"), (True, "services"), (False, "api-server")]
)
def test_without_service_links_only_the_api_server_is_known(links: bool | None, name: str) -> None:
    below = spec_below(enableServiceLinks=links)["containers"][0]
    assert below["envFrom"] == [{"configMapRef": {"name": f"vnode-{name}"}}]


def test_variables_of_the_user_are_not_touched_by_those_of_services() -> None:
    env = [{"name": "DB_PORT", "value": "5432"}, {"name": "URL", "value": "$(DB_PORT) $$(X) $y"}]
    assert container_below(env=env)["env"] == env


def test_the_compute_clusters_own_services_are_not_injected() -> None:
    assert spec_below(enableServiceLinks=True)["enableServiceLinks"] is False
