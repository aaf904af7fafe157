"""A whole pod as a container group: what is sent, and that the service's rules are kept."""

from dataclasses import replace
from typing import Any

import pytest

from federation.backends.eci.parameters import flatten
from federation.backends.eci.translate.policy import EciFeature, InstanceType, Spot
from tests.eci.creation import check_create
from tests.eci.schema import check_parameters
from tests.eci.wire import nested
from tests.unit.federation.eci.translate.builders import (
    POLICY,
    TRUSTING,
    config_map,
    grouped,
    of_container,
    secret,
)
from tests.unit.federation.translate.builders import make_container, make_pod, make_spec
from vnode.backend import Rejected, Token, TokenKey

RICH: dict[str, Any] = {
    "initContainers": [make_container(name="prepare", command=["sh", "-c", "prepare"])],
    "containers": [
        make_container(
            command=["python", "train.py"],
            args=["--epochs", "$(EPOCHS)"],
            env=[
                {"name": "EPOCHS", "value": "3"},
                {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            envFrom=[{"configMapRef": {"name": "c"}, "prefix": "C_"}],
            ports=[{"containerPort": 8080, "name": "http"}],
            resources={"requests": {"cpu": "500m"}, "limits": {"cpu": "2", "memory": "3Gi"}},
            livenessProbe={"httpGet": {"port": "http", "path": "/live"}, "periodSeconds": 5},
            readinessProbe={"tcpSocket": {"port": 8080}},
            lifecycle={
                "postStart": {
                    "httpGet": {"port": "http", "httpHeaders": [{"name": "a", "value": "b"}]}
                },
                "preStop": {"exec": {"command": ["stop"]}},
            },
            volumeMounts=[
                {"name": "c", "mountPath": "/c", "readOnly": True},
                {"name": "scratch", "mountPath": "/tmp", "subPath": "t"},
            ],
            securityContext={"runAsUser": 7, "readOnlyRootFilesystem": True},
            stdin=True,
            tty=True,
            workingDir="/w",
            imagePullPolicy="Always",
            terminationMessagePath="/dev/termination-log",
        )
    ],
    "volumes": [
        {"name": "c", "projected": {"sources": [{"configMap": {"name": "c"}}]}},
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ],
    "securityContext": {"runAsUser": 5},
    "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["a", "b"]}],
    "dnsConfig": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "2"}]},
    "imagePullSecrets": [{"name": "pull"}],
    "activeDeadlineSeconds": 60,
    "terminationGracePeriodSeconds": 5,
    "shareProcessNamespace": True,
    "restartPolicy": "OnFailure",
}
DOCKER = '{"auths": {"registry.example": {"auth": "dTpw"}}}'
OBJECTS = (
    config_map("c", {"X": "1"}),
    secret("s", {"k": "hidden"}),
    secret("pull", {".dockerconfigjson": DOCKER}),
)


def rich() -> Any:
    return grouped(make_spec(**RICH), *OBJECTS)


def test_the_service_takes_what_is_sent() -> None:
    flat = flatten(rich()) | {"RegionId": "cn-beijing"}
    check_parameters("CreateContainerGroup", flat)
    check_create(nested(flat))


def test_the_same_pod_gives_the_same_parameters() -> None:
    assert flatten(rich()) == flatten(rich())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ContainerGroupName", "red-team-a-job-0"),
        ("RestartPolicy", "OnFailure"),
        ("ActiveDeadlineSeconds", "60"),
        ("TerminationGracePeriodSeconds", "5"),
        ("ShareProcessNamespace", "true"),
        ("HostName", "job-0"),
        ("HostAliase.1.Ip", "10.0.0.9"),
        ("HostAliase.1.Hostname.2", "b"),
        ("DnsPolicy", "None"),
        ("DnsConfig.NameServer.1", "10.0.0.2"),
        ("DnsConfig.Option.1.Value", "2"),
        ("Cpu", "2"),
        ("Memory", "4"),
        ("ImageRegistryCredential.1.Server", "registry.example"),
        ("ImageRegistryCredential.1.UserName", "u"),
        ("ImageRegistryCredential.1.Password", "p"),
        ("InitContainer.1.Name", "prepare"),
        ("InitContainer.1.SecurityContext.RunAsUser", "5"),
        ("Container.1.Command.1", "python"),
        ("Container.1.Arg.2", "3"),
        ("Container.1.Cpu", "2.0"),
        ("Container.1.Memory", "3.0"),
        ("Container.1.ImagePullPolicy", "Always"),
        ("Container.1.WorkingDir", "/w"),
        ("Container.1.Stdin", "true"),
        ("Container.1.Tty", "true"),
        ("Container.1.EnvironmentVarHide", "true"),
        ("Container.1.Port.1.Port", "8080"),
        ("Container.1.Port.1.Protocol", "TCP"),
        ("Container.1.LivenessProbe.HttpGet.Port", "8080"),
        ("Container.1.LivenessProbe.HttpGet.Path", "/live"),
        ("Container.1.LivenessProbe.PeriodSeconds", "5"),
        ("Container.1.ReadinessProbe.TcpSocket.Port", "8080"),
        ("Container.1.LifecyclePostStartHandlerHttpGetPort", "8080"),
        ("Container.1.LifecyclePostStartHandlerHttpGetHttpHeader.1.Name", "a"),
        ("Container.1.LifecyclePreStopHandlerExec.1", "stop"),
        ("Container.1.VolumeMount.1.ReadOnly", "true"),
        ("Container.1.VolumeMount.2.SubPath", "t"),
        ("Container.1.SecurityContext.RunAsUser", "7"),
        ("Container.1.SecurityContext.ReadOnlyRootFilesystem", "true"),
        ("Container.1.TerminationMessagePath", "/dev/termination-log"),
        ("Volume.1.Type", "ConfigFileVolume"),
        ("Volume.1.ConfigFileVolume.ConfigFileToPath.1.Path", "X"),
        ("Volume.1.ConfigFileVolume.ConfigFileToPath.1.Mode", "0644"),
        ("Volume.2.EmptyDirVolume.Medium", "Memory"),
        ("Volume.2.EmptyDirVolume.SizeLimit", "1024Mi"),
    ],
)
def test_a_field_becomes_its_parameter(name: str, value: str) -> None:
    assert flatten(rich())[name] == value


def test_a_pod_that_asks_for_nothing_gets_no_bounds_and_the_default_size() -> None:
    flat = flatten(grouped(make_spec()))
    assert (flat["Cpu"], flat["Memory"]) == ("2", "4")
    assert not {"Container.1.Cpu", "Container.1.Memory", "Container.1.Gpu"} & set(flat)


def test_a_pod_with_the_default_dns_policy_gets_the_resolver_of_the_vpc() -> None:
    assert grouped(make_spec(dnsPolicy="ClusterFirst"))["DnsPolicy"] == "Default"


def test_a_long_pod_name_gives_a_host_name_of_63_characters() -> None:
    assert grouped(make_spec(hostname="h" * 70))["HostName"] == "h" * 63


T4 = InstanceType("ecs.gn6i-c4g1.xlarge", 4, 15, 1)
T4_TWICE = InstanceType("ecs.gn6i-c24g1.12xlarge", 48, 186, 2)
A10 = InstanceType("ecs.gn7i-c8g1.2xlarge", 8, 30, 1)
WITH_GPUS = replace(
    POLICY, gpu_types={"T4": (T4, T4_TWICE), "A10": (A10,)}, default_gpu_types=(A10, T4)
)


def gpu_pod(count: int, **spec: Any) -> dict[str, Any]:
    return make_spec(
        containers=[make_container(resources={"limits": {"nvidia.com/gpu": str(count)}})], **spec
    )


def test_a_gpu_model_chooses_the_instance_types_that_have_enough_gpus() -> None:
    selector = {"nvidia.com/gpu.product": "T4"}
    group = grouped(gpu_pod(2, nodeSelector=selector), policy=WITH_GPUS)
    assert group["InstanceType"] == T4_TWICE.name
    assert group["Container"][0]["Gpu"] == 2
    assert group["Cpu"] is None


def test_a_gpu_model_can_be_chosen_by_affinity() -> None:
    term = {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A10", "T4"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    group = grouped(gpu_pod(1, affinity=affinity), policy=WITH_GPUS)
    assert group["InstanceType"] == f"{A10.name},{T4.name},{T4_TWICE.name}"


def test_gpus_of_no_model_get_the_default_types() -> None:
    assert grouped(gpu_pod(1), policy=WITH_GPUS)["InstanceType"] == f"{A10.name},{T4.name}"


def test_more_gpus_than_any_type_has_are_refused() -> None:
    with pytest.raises(Rejected, match=r"3 GPUs fits on none .*ecs\.gn7i-c8g1\.2xlarge"):
        grouped(gpu_pod(3), policy=WITH_GPUS)


def test_the_pool_says_where_and_how_groups_are_bought() -> None:
    policy = replace(
        POLICY,
        vswitches=("vsw-1", "vsw-2"),
        security_group="sg-1",
        ram_role="role",
        spot=Spot(price_limit=1.5),
        image_cache=True,
        tags={"team": "x"},
    )
    flat = flatten(grouped(policy=policy))
    assert flat["VSwitchId"] == "vsw-1,vsw-2"
    assert flat["ScheduleStrategy"] == "VSwitchOrdered"
    assert flat["SecurityGroupId"] == "sg-1"
    assert flat["RamRoleName"] == "role"
    assert (flat["SpotStrategy"], flat["SpotPriceLimit"]) == ("SpotWithPriceLimit", "1.5")
    assert flat["AutoMatchImageCache"] == "true"
    assert "team" in [value for name, value in flat.items() if name.endswith("Key")]


def test_annotations_of_tenants_that_steer_eci_change_nothing() -> None:
    asked = {"k8s.aliyun.com/eci-with-eip": "true", "k8s.aliyun.com/eci-ram-role-name": "admin"}
    assert grouped(pod=make_pod(annotations=asked)) == grouped()


def test_a_service_account_token_is_a_file_with_the_tenants_ca_and_namespace() -> None:
    volume = {
        "name": "kube-api-access-x",
        "projected": {
            "defaultMode": 420,
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {
                    "configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca", "path": "ca.crt"}],
                    }
                },
                {
                    "downwardAPI": {
                        "items": [
                            {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
                        ]
                    }
                },
            ],
        },
    }
    token = Token("secret-token", refresh_at=0.0)
    group = grouped(
        make_spec(volumes=[volume]),
        config_map("kube-root-ca.crt", {"ca": "CA"}),
        tokens={TokenKey("", 43200): token},
        policy=TRUSTING,
    )
    files = group["Volume"][0]["ConfigFileVolume"]["ConfigFileToPath"]
    assert {file["Path"]: file["Content"] for file in files} == {
        "ca.crt": "Q0E=",
        "namespace": "dGVhbS1h",
        "token": "c2VjcmV0LXRva2Vu",
    }


def test_capabilities_that_the_pool_allows_are_added() -> None:
    policy = replace(TRUSTING, allow=frozenset({EciFeature.CAPABILITIES}))
    flat = of_container(policy=policy, securityContext={"capabilities": {"add": ["NET_RAW"]}})
    assert flat["SecurityContext.Capability.Add.1"] == "NET_RAW"
