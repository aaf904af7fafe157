"""What would lift a pod's isolation is refused, unless the policy allows exactly that."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.policy import HostAccess, TranslationPolicy
from tests.unit.federation.translate.builders import (
    make_container,
    make_pod,
    make_spec,
    own_part,
    translated,
)
from vnode.backend import Rejected


def in_container(**fields: Any) -> dict[str, Any]:
    return {"containers": [make_container(**fields)]}


def in_context(**fields: Any) -> dict[str, Any]:
    return in_container(securityContext=fields)


CASES: list[tuple[frozenset[HostAccess], str, dict[str, Any]]] = [
    (frozenset({feature}), f"spec.{feature}", {feature.value: True})
    for feature in (HostAccess.HOST_NETWORK, HostAccess.HOST_PID, HostAccess.HOST_IPC)
] + [
    (frozenset({HostAccess.HOST_USERS}), "spec.hostUsers", {"hostUsers": False}),
    (
        frozenset({HostAccess.HOST_PATH}),
        "spec.volumes[0].hostPath",
        {"volumes": [{"name": "v", "hostPath": {"path": "/", "type": "Directory"}}]},
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.containers[0].securityContext.privileged",
        in_context(privileged=True),
    ),
    (
        frozenset({HostAccess.CAPABILITIES}),
        "spec.containers[0].securityContext.capabilities.add",
        in_context(capabilities={"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]}),
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.containers[0].securityContext.procMount",
        in_context(procMount="Unmasked"),
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.containers[0].securityContext.seLinuxOptions.type",
        in_context(seLinuxOptions={"type": "spc_t"}),
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.securityContext.seLinuxOptions.user",
        {"securityContext": {"seLinuxOptions": {"user": "system_u"}}},
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.securityContext.appArmorProfile.type",
        {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}},
    ),
    (
        frozenset({HostAccess.PRIVILEGED}),
        "spec.securityContext.windowsOptions.hostProcess",
        {"securityContext": {"windowsOptions": {"hostProcess": True}}},
    ),
    (
        frozenset({HostAccess.SYSCTLS}),
        "spec.securityContext.sysctls",
        {"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}},
    ),
    (
        frozenset({HostAccess.HOST_PORT, HostAccess.HOST_NETWORK}),
        "spec.containers[0].ports[0].hostPort",
        in_container(ports=[{"containerPort": 80, "hostPort": 80}]),
    ),
    (
        frozenset({HostAccess.HOST_PORT, HostAccess.HOST_NETWORK}),
        "spec.containers[0].ports[0].hostIP",
        in_container(ports=[{"containerPort": 80, "hostIP": "127.0.0.1"}]),
    ),
    (
        frozenset({HostAccess.HOST_NETWORK}),
        "spec.containers[0].livenessProbe.httpGet.host",
        in_container(livenessProbe={"httpGet": {"port": 80, "host": "169.254.169.254"}}),
    ),
    (
        frozenset({HostAccess.HOST_NETWORK}),
        "spec.containers[0].lifecycle.preStop.tcpSocket.host",
        in_container(lifecycle={"preStop": {"tcpSocket": {"port": 80, "host": "127.0.0.1"}}}),
    ),
]
IDS = [field for _, field, _ in CASES]


@pytest.mark.parametrize(("features", "field", "fields"), CASES, ids=IDS)
def test_is_refused_even_where_all_other_features_are_allowed(
    features: frozenset[HostAccess], field: str, fields: dict[str, Any]
) -> None:
    policy = TranslationPolicy(allow=frozenset(HostAccess) - features)
    with pytest.raises(Rejected, match="policy") as refused:
        translated(make_pod(make_spec(**fields)), policy)
    assert refused.value.field == field


@pytest.mark.parametrize(("features", "field", "fields"), CASES, ids=IDS)
def test_travels_where_the_policy_allows_it(
    features: frozenset[HostAccess], field: str, fields: dict[str, Any]
) -> None:
    for feature in features:
        policy = TranslationPolicy(allow=frozenset({feature}))
        below = translated(make_pod(make_spec(**fields)), policy)["spec"]
        below["containers"] = [own_part(container) for container in below["containers"]]
        for name, value in fields.items():
            assert below[name] == value


@pytest.mark.parametrize("kind", ["initContainers", "containers"])
def test_every_kind_of_container_is_checked(kind: str) -> None:
    bad = make_container(securityContext={"privileged": True})
    with pytest.raises(Rejected) as refused:
        translated(make_pod(make_spec(**{kind: [make_container(), bad]})))
    assert refused.value.field == f"spec.{kind}[1].securityContext.privileged"


@pytest.mark.parametrize(
    "fields",
    [
        {"hostNetwork": False, "hostPID": False, "hostIPC": False, "hostUsers": True},
        in_context(privileged=False, procMount="Default", capabilities={"add": []}),
        in_container(ports=[{"containerPort": 80, "hostPort": 0, "hostIP": ""}]),
        in_container(livenessProbe={"httpGet": {"port": 80, "host": ""}}),
        {"securityContext": {"sysctls": []}},
    ],
)
def test_defaults_written_out_are_not_refused(fields: dict[str, Any]) -> None:
    translated(make_pod(make_spec(**fields)))


@pytest.mark.parametrize(
    "context",
    [
        {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsUser": 1000},
        {"capabilities": {"drop": ["ALL"]}},
        {"seLinuxOptions": {"level": "s0:c1", "type": "container_t"}},
        {"seccompProfile": {"type": "RuntimeDefault"}},
        {"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}},
    ],
)
def test_what_narrows_a_container_is_kept(context: dict[str, Any]) -> None:
    below = translated(make_pod(make_spec(**in_context(**context))))
    assert below["spec"]["containers"][0]["securityContext"] == context


def test_the_annotation_form_of_unconfined_is_refused_too() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/main"
    with pytest.raises(Rejected) as refused:
        translated(make_pod(annotations={key: "unconfined"}))
    assert refused.value.field == f"metadata.annotations[{key}]"
    assert (
        key in translated(make_pod(annotations={key: "runtime/default"}))["metadata"]["annotations"]
    )


def test_unconfined_seccomp_is_refused_unless_privileged_is_allowed() -> None:
    pod = make_pod(spec={"securityContext": {"seccompProfile": {"type": "Unconfined"}}})
    with pytest.raises(Rejected) as refused:
        translated(pod)
    assert refused.value.field == "spec.securityContext.seccompProfile.type"
    allowed = TranslationPolicy(allow=frozenset({HostAccess.PRIVILEGED}))
    assert translated(pod, policy=allowed)["spec"]["securityContext"] == {
        "seccompProfile": {"type": "Unconfined"}
    }


def test_instructions_to_container_runtimes_never_travel() -> None:
    keys = (
        "io.katacontainers.config.hypervisor.kernel_params",
        "io.kubernetes.cri-o.Devices",
        "cdi.k8s.io/device",
        "dev.gvisor.dev/flag",
    )
    below = translated(make_pod(annotations=dict.fromkeys(keys, "x")))
    assert not set(keys) & set(below["metadata"]["annotations"])
