"""What ECI cannot do is refused by the field's name, with what to do."""

from dataclasses import replace
from typing import Any

import pytest

from federation.backends.eci.translate.policy import EciFeature, EciPolicy
from tests.unit.federation.eci.translate.builders import (
    POLICY,
    TRUSTING,
    check,
    check_container,
)
from tests.unit.federation.translate.builders import make_container
from vnode.backend import Rejected, Waiting

LAX = replace(TRUSTING, allow=frozenset(EciFeature))
PORT: dict[str, Any] = {"port": 80}


def refused_field(policy: EciPolicy = TRUSTING, **spec: Any) -> str:
    with pytest.raises(Rejected) as refused:
        check(policy, **spec)
    assert str(refused.value).startswith(f"{refused.value.field}: ")
    return refused.value.field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hostNetwork", True),
        ("hostPID", True),
        ("hostIPC", True),
        ("runtimeClassName", "kata"),
        ("subdomain", "workers"),
        ("setHostnameAsFQDN", True),
        ("schedulingGroup", {"podGroupName": "g"}),
        ("resourceClaims", [{"name": "gpu"}]),
        ("hostUsers", False),
    ],
)
def test_a_pod_field_that_eci_has_not_is_refused(field: str, value: Any) -> None:
    assert refused_field(**{field: value}) == f"spec.{field}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fsGroup", 5),
        ("supplementalGroups", [1]),
        ("sysctls", [{"name": "a", "value": "b"}]),
        ("seccompProfile", {"type": "RuntimeDefault"}),
    ],
)
def test_a_security_setting_of_the_pod_that_eci_has_not_is_refused(
    field: str, value: object
) -> None:
    assert refused_field(securityContext={field: value}) == f"spec.securityContext.{field}"


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"startupProbe": {"tcpSocket": PORT}}, "startupProbe"),
        ({"restartPolicy": "Never"}, "restartPolicy"),
        ({"livenessProbe": {"grpc": PORT}}, "livenessProbe.grpc"),
        ({"livenessProbe": {"httpGet": {**PORT, "host": "h"}}}, "livenessProbe.httpGet.host"),
        ({"livenessProbe": {"tcpSocket": {"port": "nope"}}}, "livenessProbe"),
        ({"readinessProbe": {"tcpSocket": PORT, "successThreshold": 2}}, "readinessProbe"),
        ({"lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}, "lifecycle.preStop.sleep"),
        ({"lifecycle": {"stopSignal": "SIGUSR1"}}, "lifecycle.stopSignal"),
        ({"ports": [{"containerPort": 80, "hostPort": 80}]}, "ports[0].hostPort"),
        ({"ports": [{"containerPort": 10250}]}, "ports[0]"),
        ({"ports": [{"containerPort": 80, "protocol": "SCTP"}]}, "ports[0]"),
        ({"securityContext": {"privileged": True}}, "securityContext.privileged"),
        (
            {"securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}},
            "securityContext.capabilities.add",
        ),
        (
            {"securityContext": {"capabilities": {"drop": ["ALL"]}}},
            "securityContext.capabilities.drop",
        ),
        ({"volumeDevices": [{"name": "d", "devicePath": "/d"}]}, "volumeDevices"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "$(A)"}]},
            "volumeMounts[0].subPathExpr",
        ),
        (
            {
                "volumeMounts": [
                    {"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}
                ]
            },
            "volumeMounts[0].mountPropagation",
        ),
        ({"env": [{"name": "A.B", "value": "x"}]}, "env[0]"),
        ({"env": [{"name": "A", "value": "x" * 257}]}, "env[0]"),
        ({"env": [{"name": "ECI_CONTAINER_TYPE", "value": "sidecar"}]}, "env[0]"),
        ({"env": [{"name": "__ECI_RESOURCE_IGNORE__", "value": "TRUE"}]}, "env[0]"),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]},
            "env[0]",
        ),
        ({"args": ["x"] * 11}, ""),
        ({"command": ["x"] * 31}, ""),
        ({"command": ["x" * 257]}, ""),
        ({"image": "x" * 256}, ""),
        (
            {"resources": {"limits": {"x.io/fpga": "1"}}},
            "resources.limits[x.io/fpga]",
        ),
        ({"resources": {"claims": [{"name": "c"}]}}, "resources.claims"),
    ],
)
def test_a_container_field_that_eci_has_not_is_refused(fields: dict[str, Any], where: str) -> None:
    field = refused_field(containers=[make_container(**fields)])
    assert field == "spec.containers[0]" + (f".{where}" if where else "")


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"restartPolicy": "Always"}, "restartPolicy"),
        ({"livenessProbe": {"tcpSocket": PORT}}, "livenessProbe"),
        ({"lifecycle": {"postStart": {"exec": {"command": ["a"]}}}}, "lifecycle"),
        ({"stdin": True}, "stdin"),
        ({"securityContext": {"runAsGroup": 5}}, ""),
        ({"securityContext": {"runAsNonRoot": True}}, ""),
    ],
)
def test_an_init_container_field_that_eci_has_not_is_refused(
    fields: dict[str, Any], where: str
) -> None:
    field = refused_field(initContainers=[make_container(name="i", **fields)])
    assert field == "spec.initContainers[0]" + (f".{where}" if where else "")


def test_an_init_container_that_is_certainly_no_root_runs() -> None:
    context = {"runAsNonRoot": True, "runAsUser": 5}
    check(initContainers=[make_container(name="i", securityContext=context)])


def test_more_than_20_containers_are_refused() -> None:
    many = [make_container(name=f"c{i}") for i in range(20)]
    check(containers=many)
    assert refused_field(containers=many, initContainers=[make_container(name="i")]) == (
        "spec.containers"
    )


def test_more_than_20_volumes_are_refused() -> None:
    volumes = [{"name": f"v{i}", "emptyDir": {}} for i in range(21)]
    assert refused_field(volumes=volumes) == "spec.volumes"


def test_a_host_path_is_refused() -> None:
    volumes = [{"name": "v", "hostPath": {"path": "/"}}]
    assert refused_field(volumes=volumes) == "spec.volumes[0].hostPath"


@pytest.mark.parametrize(
    "volume",
    [
        {"persistentVolumeClaim": {"claimName": "data"}},
        {"nfs": {"server": "s", "path": "/"}},
        {"csi": {"driver": "d"}},
    ],
)
def test_a_pod_waits_for_a_volume_that_cannot_be_had(volume: dict[str, Any]) -> None:
    with pytest.raises(Waiting) as waiting:
        check(volumes=[{"name": "v", **volume}])
    assert waiting.value.reason == "VolumeNotSupported"


def test_a_secret_is_refused_where_the_pool_does_not_inline_secrets() -> None:
    spec: dict[str, Any] = {"imagePullSecrets": [{"name": "pull"}]}
    assert refused_field(POLICY, **spec) == "spec.imagePullSecrets[0]"
    check(TRUSTING, **spec)


def test_a_token_is_refused_where_the_pool_does_not_say_how_long_it_lives() -> None:
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    spec: dict[str, Any] = {"volumes": [{"name": "v", **token}]}
    assert refused_field(POLICY, **spec) == "spec.volumes"
    check(TRUSTING, **spec)


@pytest.mark.parametrize(
    "fields",
    [
        {"securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}},
        {"securityContext": {"allowPrivilegeEscalation": False}},
        {"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}},
        {"env": [{"name": "ECI_CONTAINER_TYPE", "value": "sidecar"}]},
    ],
)
def test_a_pool_can_allow_the_weaker_form(fields: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        check_container(TRUSTING, **fields)
    check_container(LAX, **fields)


def test_other_capabilities_cannot_be_allowed() -> None:
    with pytest.raises(Rejected, match="other than NET_ADMIN and NET_RAW"):
        check_container(LAX, securityContext={"capabilities": {"add": ["SYS_ADMIN"]}})


def test_defaults_of_the_api_are_no_reason_to_refuse() -> None:
    check(
        dnsPolicy="ClusterFirst",
        hostNetwork=False,
        hostUsers=True,
        schedulerName="default-scheduler",
        securityContext={},
        tolerations=[{"key": "a", "operator": "Exists"}],
        containers=[
            make_container(
                securityContext={"privileged": False, "procMount": "Default"},
                terminationMessagePolicy="File",
                volumeMounts=[],
            )
        ],
    )


@pytest.mark.parametrize("size", [{"cpu": "65"}, {"memory": "513Gi"}])
def test_more_than_the_largest_size_is_refused(size: dict[str, str]) -> None:
    assert refused_field(containers=[make_container(resources={"requests": size})]) == (
        "spec.containers"
    )


def test_more_local_storage_than_the_pool_gives_is_refused() -> None:
    asked = {"limits": {"ephemeral-storage": "50Gi"}}
    containers = [make_container(resources=asked)]
    assert refused_field(containers=containers) == "spec.containers"
    check(replace(TRUSTING, extra_storage=20), containers=containers)


def test_a_spec_of_the_wrong_shape_is_refused_and_not_a_crash() -> None:
    assert refused_field(restartPolicy=7) == "spec"
    assert refused_field(containers=["x"]).startswith("spec.containers")
