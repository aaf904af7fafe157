"""Variables are resolved as a kubelet does, and ECI's limits are told without values."""

import base64
from typing import Any

import pytest

from tests.builders import NODE, NODE_ADDRESS
from tests.unit.federation.eci.translate.builders import (
    config_map,
    grouped,
    secret,
    variables,
)
from tests.unit.federation.translate.builders import (
    TENANT_UID,
    make_container,
    make_pod,
    make_spec,
)
from vnode.backend import Rejected, Waiting
from vnode.kube.types import ObjectMeta, Secret


def resolved(*objects: Any, services: dict[str, str] | None = None, **fields: Any) -> Any:
    spec = make_spec(containers=[make_container(**fields)], serviceAccountName="launcher")
    pod = make_pod(spec, labels={"app": "x"}, annotations={"note": "y"})
    return variables(grouped(None, *objects, pod=pod, services=services))


def var(name: str, value: str = "", **source: Any) -> dict[str, Any]:
    return {"name": name, "valueFrom": source} if source else {"name": name, "value": value}


def field(path: str) -> dict[str, Any]:
    return {"fieldRef": {"fieldPath": path}}


def test_env_wins_over_env_from_and_that_over_services() -> None:
    found = resolved(
        config_map("c", {"A": "config", "B": "config"}),
        secret("s", {"B": "secret"}),
        services={"A": "service", "B": "service", "C": "service", "D": "service"},
        envFrom=[{"configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}],
        env=[var("C", "own")],
    )
    assert found == {"A": "config", "B": "secret", "C": "own", "D": "service"}


def test_a_reference_sees_what_stands_before_it_and_services() -> None:
    found = resolved(
        services={"HOST": "10.0.0.1"},
        env=[var("A", "$(B)-$(HOST)"), var("B", "b"), var("C", "$(B)$$(B)")],
    )
    assert found["A"] == "$(B)-10.0.0.1"
    assert found["C"] == "b$(B)"


def test_a_prefix_is_put_before_the_keys() -> None:
    source = {"prefix": "P_", "configMapRef": {"name": "c"}}
    assert resolved(config_map("c", {"A": "1"}), envFrom=[source]) == {"P_A": "1"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "job-0"),
        ("metadata.namespace", "team-a"),
        ("metadata.uid", TENANT_UID),
        ("metadata.labels['app']", "x"),
        ("metadata.annotations['note']", "y"),
        ("metadata.annotations['none']", ""),
        ("spec.nodeName", NODE),
        ("spec.serviceAccountName", "launcher"),
        ("status.hostIP", NODE_ADDRESS),
        ("status.podIP", "status.podIP"),
        ("status.podIPs", "status.podIP"),
    ],
)
def test_a_field_of_the_tenants_pod_is_its_value(path: str, value: str) -> None:
    assert resolved(env=[var("X", **field(path))]) == {"X": value}


@pytest.mark.parametrize(
    ("resource", "divisor", "value"),
    [
        ("limits.cpu", None, "2"),
        ("limits.cpu", "1m", "1500"),
        ("requests.cpu", "1m", "500"),
        ("limits.memory", "1Mi", "4096"),  # not set: what the group has
        ("requests.memory", None, "0"),
    ],
)
def test_a_resource_is_counted_in_its_divisor(
    resource: str, divisor: str | None, value: str
) -> None:
    asked = {"limits": {"cpu": "1500m"}, "requests": {"cpu": "500m"}}
    source = {"resource": resource, "divisor": divisor}
    found = resolved(resources=asked, env=[var("X", resourceFieldRef=source)])
    assert found == {"X": value}


@pytest.mark.parametrize(
    "source",
    [
        {"configMapKeyRef": {"name": "none", "key": "k", "optional": True}},
        {"configMapKeyRef": {"name": "c", "key": "none", "optional": True}},
        {"secretKeyRef": {"name": "none", "key": "k", "optional": True}},
    ],
)
def test_an_optional_reference_to_nothing_sets_nothing(source: dict[str, Any]) -> None:
    assert resolved(config_map("c", {}), env=[var("X", **source)]) == {}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, "MandatoryConfigMapNotFound"),
        ({"configMapKeyRef": {"name": "c", "key": "none"}}, "MandatoryConfigMapKeyNotFound"),
        ({"secretKeyRef": {"name": "none", "key": "k"}}, "MandatorySecretNotFound"),
    ],
)
def test_a_pod_waits_for_what_it_refers_to(source: dict[str, Any], reason: str) -> None:
    with pytest.raises(Waiting) as waiting:
        resolved(config_map("c", {}), env=[var("X", **source)])
    assert waiting.value.reason == reason
    assert waiting.value.not_done


def test_the_address_cannot_be_part_of_another_value() -> None:
    with pytest.raises(Rejected, match="pod's address") as refused:
        resolved(env=[var("IP", **field("status.podIP")), var("URL", "http://$(IP)/")])
    assert refused.value.field == "spec.containers[0].env[1]"
    with pytest.raises(Rejected, match="pod's address"):
        resolved(env=[var("IP", **field("status.podIP"))], args=["$(IP)"])


@pytest.mark.parametrize("value", ["s" * 257, "hidden\udc80".encode("utf-8", "surrogatepass")])
def test_a_secret_that_is_no_variable_is_refused_without_its_value(value: str | bytes) -> None:
    content = value.encode() if isinstance(value, str) else value
    held = Secret(
        metadata=ObjectMeta(name="s", namespace="team-a"),
        data={"k": base64.b64encode(content).decode()},
    )
    with pytest.raises(Rejected) as refused:
        resolved(held, env=[var("X", secretKeyRef={"name": "s", "key": "k"})])
    assert refused.value.field == "spec.containers[0].env[0]"
    assert "hidden" not in str(refused.value)
    assert "ss" not in str(refused.value)


def test_a_key_that_cannot_be_a_variable_is_refused_by_name() -> None:
    with pytest.raises(Rejected, match=r"app\.properties"):
        resolved(
            config_map("c", {"app.properties": "x"}), envFrom=[{"configMapRef": {"name": "c"}}]
        )


def test_more_than_240_variables_are_refused() -> None:
    many = {f"V{i}": "x" for i in range(241)}
    with pytest.raises(Rejected, match="enableServiceLinks"):
        resolved(services=many)
