"""What containers see in their environment."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.unit.federation.translate.builders import (
    TENANT_UID,
    container_below,
    make_container,
    make_pod,
    make_spec,
    translated,
)
from vnode.backend import Rejected
from vnode.pods.service_env import api_server_environment

SERVICES = {"DB_SERVICE_HOST": "10.0.0.5", "DB_PORT": "tcp://10.0.0.5:5432"}
API = api_server_environment("10.0.0.1", 443)


def field_env(path: str) -> list[dict[str, Any]]:
    return [{"name": "X", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}]


def env_below(env: list[dict[str, Any]], **pod: Any) -> Any:
    spec = make_spec(containers=[make_container(env=env)], serviceAccountName="launcher")
    return translated(make_pod(spec, **pod))["spec"]["containers"][0]["env"]


def with_services(container: dict[str, Any], **spec: Any) -> Any:
    pod = make_pod(make_spec(containers=[container], **spec))
    below = translated(pod, service_env={**SERVICES, **API})
    return below["spec"]["containers"][0].get("env", [])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.namespace", "team-a"),
        ("metadata.uid", TENANT_UID),
        ("spec.nodeName", "vnode-a"),
        ("spec.serviceAccountName", "launcher"),
        ("status.hostIP", "192.0.2.7"),
        ("status.hostIPs", "192.0.2.7"),
    ],
)
def test_a_pod_sees_who_it_is_in_the_tenant_cluster(path: str, value: str) -> None:
    assert env_below(field_env(path)) == [{"name": "X", "value": value}]


@pytest.mark.parametrize(
    "path",
    [
        "metadata.name",
        "metadata.labels['app']",
        "metadata.annotations['note']",
        "status.podIP",
        "status.podIPs",
    ],
)
def test_what_is_true_below_too_is_answered_there(path: str) -> None:
    assert env_below(field_env(path)) == field_env(path)


def test_the_host_address_is_the_real_one_where_the_policy_exposes_it() -> None:
    env = field_env("status.hostIP")
    assert container_below(TranslationPolicy(expose_host_ip=True), env=env)["env"] == env


def test_a_label_that_does_not_travel_is_still_seen_through_a_variable() -> None:
    below = env_below(
        field_env("metadata.labels['kueue.x-k8s.io/queue-name']"),
        labels={"kueue.x-k8s.io/queue-name": "gold"},
    )
    assert below == [{"name": "X", "value": "gold"}]


def test_our_own_marks_are_not_seen_through_a_variable() -> None:
    below = env_below(field_env("metadata.annotations['vnode.dev/spec-hash']"))
    assert below == [{"name": "X", "value": ""}]


def test_a_literal_in_place_of_a_reference_is_not_expanded() -> None:
    below = env_below(
        field_env("metadata.annotations['vnode.dev/x']"), annotations={"vnode.dev/x": "$(HOME) $$"}
    )
    assert below == [{"name": "X", "value": "$$(HOME) $$$$"}]


def test_an_unknown_field_path_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        env_below([{"name": "A", "value": "1"}, *field_env("status.phase")])
    assert refused.value.field == "spec.containers[0].env[1]"


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
    assert below["envFrom"] == [
        {"configMapRef": {"name": renamed}, "prefix": "CA_"},
        {"secretRef": {"name": "vnode-vnode-x", "optional": True}},
    ]


def test_service_variables_stand_before_the_users_own() -> None:
    env = with_services(make_container(env=[{"name": "URL", "value": "$(DB_PORT)/x"}]))
    names = [variable["name"] for variable in env]
    assert names == [*sorted({**SERVICES, **API}), "URL"]
    assert {v["name"]: v["value"] for v in env}["DB_PORT"] == "tcp://10.0.0.5:5432"


def test_service_variables_reach_init_containers_too() -> None:
    pod = make_pod(make_spec(initContainers=[make_container(name="init")]))
    below = translated(pod, service_env=SERVICES)["spec"]["initContainers"][0]
    assert [variable["name"] for variable in below["env"]] == sorted(SERVICES)


def test_a_variable_of_the_user_replaces_a_service_variable() -> None:
    env = with_services(make_container(env=[{"name": "DB_PORT", "value": "5432"}]))
    assert [v["value"] for v in env if v["name"] == "DB_PORT"] == ["5432"]


def test_a_config_map_of_the_user_is_not_overridden_by_service_variables() -> None:
    env = with_services(make_container(envFrom=[{"configMapRef": {"name": "settings"}}]))
    assert [variable["name"] for variable in env] == sorted(API)


def test_without_service_links_only_the_api_server_is_known() -> None:
    env = with_services(make_container(), enableServiceLinks=False)
    assert [variable["name"] for variable in env] == sorted(API)


def test_a_service_that_is_called_like_the_api_server_is_still_only_a_service() -> None:
    pod = make_pod(make_spec(enableServiceLinks=False))
    below = translated(pod, service_env={"KUBERNETES_DASHBOARD_SERVICE_HOST": "10.0.0.9"})
    assert "env" not in below["spec"]["containers"][0]


def test_the_compute_clusters_own_services_are_not_injected() -> None:
    below = translated(make_pod(make_spec(enableServiceLinks=True)))
    assert below["spec"]["enableServiceLinks"] is False
