"""How the files of a claim come to a container group: a sidecar, a mount, or why not."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from federation.backends.eci.parameters import flatten
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.fields import NOT_SUPPORTED
from federation.backends.translation.rules import Refused
from federation.claims.objects import VolumeSpec
from federation.fluid.profiles import Dataset, Thin, of_file
from federation.fluid.sidecar import Asked, brought
from tests.eci.schema import check_parameters

TARGET = "/runtime-mnt/thin/team-a/data/thin-fuse"
PROFILE: dict[str, Any] = {
    "fileSystemType": "starfs",
    "fuse": {
        "image": "registry.example.com/cloudml/starfs-eci-mount",
        "imageTag": "v1.4.1",
        "imagePullPolicy": "Always",
        "command": ["sh", "-c", "python3 /fluid_config_init.py && /mount-starfs.sh"],
        "env": [{"name": "LEVEL", "value": "info"}],
        "options": {"ro": "", "cache": "1g"},
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
    },
}
FUSE: dict[str, Any] = PROFILE["fuse"]
CSI = {
    "driver": "csi.starfs.example.com",
    "volumeHandle": "starfs/demo/data",
    "fsType": "nobody reads this",
    "volumeAttributes": {"path": "/demo/data", "storage.kubernetes.io/csiProvisionerIdentity": "x"},
}
DATASET = {
    "mounts": [{"mountPoint": "pvc://data", "name": "data"}],
    "accessModes": ["ReadOnlyMany"],
}


def make_asked(
    *,
    csi: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    thin: bool = True,
    secret: Mapping[str, bytes] | None = None,
    options: Sequence[str] = (),
) -> Asked:
    read = msgspec.convert({**PROFILE, **(profile or {})}, Thin) if thin else None
    return Asked(
        namespace="team-a",
        claim="data",
        volume="data",
        source=msgspec.convert(
            {"csi": {**CSI, **(csi or {})}, "mountOptions": list(options)}, VolumeSpec
        ),
        secret=secret,
        dataset=msgspec.convert({**DATASET, **(dataset or {})}, Dataset),
        thin=read,
    )


def group(found: Brought) -> dict[str, Any]:
    """A whole create with it, as the emulator takes one."""
    app = {
        "Name": "main",
        "Image": "app:1",
        "VolumeMount": [
            {"Name": "data", "MountPath": "/data", "MountPropagation": found.propagation}
        ],
    }
    containers = [app] if found.sidecar is None else [app, found.sidecar]
    return {
        "RegionId": "cn-beijing",
        "ContainerGroupName": "job",
        "Container": containers,
        "Volume": list(found.volumes),
    }


def config_of(found: Brought) -> Any:
    volume: Any = found.volumes[1]
    [file] = volume["ConfigFileVolume"]["ConfigFileToPath"]
    return json.loads(base64.b64decode(file["Content"]))


def why(asked: Asked) -> str:
    with pytest.raises(Refused) as refused:
        brought(asked)
    assert refused.value.waits_as == NOT_SUPPORTED
    return refused.value.text


def test_a_client_has_what_its_profile_says() -> None:
    asked = {"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m", "memory": "1Gi"}}
    found = brought(make_asked(profile={"fuse": {**FUSE, "resources": asked}}))
    assert found.sidecar is not None
    assert (found.sidecar["Cpu"], found.sidecar["Memory"]) == (1.5, 1.0)
    assert found.resources is not None
    assert (found.resources.requests, found.resources.limits) == (
        asked["requests"],
        asked["limits"],
    )


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"limits": {"nvidia.com/gpu": 1}}, "limits[nvidia.com/gpu]: a client can have cpu"),
        ({"requests": {"memory": "much"}}, "requests[memory]"),
    ],
)
def test_a_profile_that_asks_for_what_no_client_has_is_refused_at_the_start(
    resources: dict[str, Any], words: str
) -> None:
    profile = {
        "kind": "ThinRuntimeProfile",
        "metadata": {"name": "starfs"},
        "spec": {**PROFILE, "fuse": {**FUSE, "resources": resources}},
    }
    with pytest.raises(ValueError, match=r"starfs: spec\.fuse\.resources") as refused:
        of_file(json.dumps(profile).encode())
    assert words in str(refused.value)


def test_the_client_of_the_profile_mounts_where_the_containers_look() -> None:
    found = brought(make_asked())

    assert found.propagation == "HostToContainer"
    assert found.volumes[0] == {"Name": "data", "Type": "EmptyDirVolume", "EmptyDirVolume": {}}
    sidecar: Any = found.sidecar
    flat = flatten(sidecar)
    assert flat["Image"] == "registry.example.com/cloudml/starfs-eci-mount:v1.4.1"
    assert flat["SecurityContextPrivileged"] == "true"
    assert (flat["VolumeMount.1.MountPath"], flat["VolumeMount.1.MountPropagation"]) == (
        TARGET,
        "Bidirectional",
    )
    variables = {one["Key"]: one["Value"] for one in sidecar["EnvironmentVar"]}
    assert variables == {
        "FLUID_RUNTIME_TYPE": "thin",
        "FLUID_RUNTIME_NS": "team-a",
        "FLUID_RUNTIME_NAME": "data",
        "LEVEL": "info",
        "MOUNT_POINT": TARGET,
        "MOUNT_OPTIONS": "cache=1g,ro",
        "ECI_CONTAINER_TYPE": "sidecar",
        "ECI_CONTAINER_IGNORE_EXIT_CODE": "true",
        "ECI_CONTAINER_LAUNCH_PRIORITY": "1000",
        "ECI_CONTAINER_EXIT_PRIORITY": "-1000",
    }


def test_the_client_is_told_what_fluid_would_tell_it() -> None:
    assert config_of(brought(make_asked())) == {
        "mounts": [{"mountPoint": "pvc://data", "name": "data", "options": {}}],
        "targetPath": TARGET,
        "runtimeOptions": {"ro": "", "cache": "1g"},
        "persistentVolumeAttrs": {
            "data": {
                "driver": "csi.starfs.example.com",
                "volumeHandle": "starfs/demo/data",
                "volumeAttributes": {"path": "/demo/data"},
            }
        },
        "persistentVolumeMountOptions": {"data": []},
        "accessModes": ["ReadOnlyMany"],
    }


def test_variables_in_a_profile_are_put_in_as_a_kubelet_does() -> None:
    env = [
        {"name": "A", "value": "$(FLUID_RUNTIME_NAME)"},
        {"name": "B", "value": "$(A)-$(MOUNT_POINT)"},
    ]
    fuse = {**FUSE, "env": env, "command": ["client", "$(B)"], "args": ["$(MOUNT_POINT)", "$$(A)"]}
    sidecar: Any = brought(make_asked(profile={"fuse": fuse})).sidecar

    variables = {one["Key"]: one["Value"] for one in sidecar["EnvironmentVar"]}
    assert (variables["A"], variables["B"]) == ("data", "data-$(MOUNT_POINT)")
    assert sidecar["Command"] == ["client", "data-$(MOUNT_POINT)"]
    assert sidecar["Arg"] == [TARGET, "$(A)"]


def test_a_client_ends_by_its_profiles_own_command() -> None:
    hook = {"preStop": {"exec": {"command": ["flush", "--all"]}}}
    sidecar: Any = brought(make_asked(profile={"fuse": {**FUSE, "lifecycle": hook}})).sidecar
    assert sidecar["LifecyclePreStopHandlerExec"] == ["flush", "--all"]
    sidecar = brought(make_asked()).sidecar
    assert sidecar["LifecyclePreStopHandlerExec"] == ["umount", TARGET]


def test_the_parameters_are_those_of_the_api() -> None:
    check_parameters("CreateContainerGroup", flatten(group(brought(make_asked()))))


@pytest.mark.parametrize(
    ("driver", "attributes"),
    [
        ("nasplugin.csi.alibabacloud.com", {"server": "a.nas", "path": "/share"}),
        ("nfs.csi.k8s.io", {"server": "a.nas", "share": "/share"}),
    ],
)
def test_what_eci_mounts_itself_needs_no_sidecar(driver: str, attributes: dict[str, str]) -> None:
    asked = make_asked(csi={"driver": driver, "volumeAttributes": attributes}, thin=False)
    found = brought(asked)

    assert found.sidecar is None
    nfs = {"Server": "a.nas", "Path": "/share", "ReadOnly": False}
    assert found.volumes == ({"Name": "data", "Type": "NFSVolume", "NFSVolume": nfs},)


def test_a_network_file_system_of_the_clients_own_goes_with_it() -> None:
    volumes = [{"name": "store", "nfs": {"server": "a.nas", "path": "/store"}}]
    fuse = {**PROFILE["fuse"], "volumeMounts": [{"name": "store", "mountPath": "/store"}]}
    found = brought(make_asked(profile={"volumes": volumes, "fuse": fuse}))

    assert found.volumes[2]["Name"] == "fluid-fuse-0-own-0"
    assert found.sidecar is not None
    assert flatten(found.sidecar)["VolumeMount.3.Name"] == "fluid-fuse-0-own-0"


REF = {"nodePublishSecretRef": {"name": "key", "namespace": "team-a"}}
BUCKET = {
    "driver": "ossplugin.csi.alibabacloud.com",
    "volumeAttributes": {"bucket": "b", "url": "oss-cn-beijing-internal.aliyuncs.com"},
    **REF,
}


def test_the_secret_of_the_volume_is_files_of_the_sidecar_alone() -> None:
    found = brought(make_asked(csi=REF, secret={"token": b"hush"}))

    volume: Any = found.volumes[2]
    assert volume["ConfigFileVolume"]["ConfigFileToPath"] == [
        {"Path": "token", "Content": base64.b64encode(b"hush").decode(), "Mode": "0400"}
    ]
    assert found.sidecar is not None
    flat = flatten(found.sidecar)
    assert flat["VolumeMount.3.Name"] == volume["Name"]
    assert flat["VolumeMount.3.MountPath"] == "/etc/fluid/secrets/key"
    source = config_of(found)["persistentVolumeAttrs"]["data"]
    assert source["nodePublishSecretRef"] == REF["nodePublishSecretRef"]
    check_parameters("CreateContainerGroup", flatten(group(found)))


def test_a_bucket_is_mounted_by_eci_with_the_key_of_the_volumes_secret() -> None:
    key = {"akId": b"me", "akSecret": b"hush"}
    found = brought(make_asked(csi=BUCKET, thin=False, secret=key))

    volume: Any = found.volumes[0]
    assert (volume["Type"], volume["FlexVolume"]["Driver"]) == ("FlexVolume", "alicloud/oss")
    assert json.loads(volume["FlexVolume"]["Options"]) == {
        "bucket": "b",
        "url": "oss-cn-beijing-internal.aliyuncs.com",
        "akId": "me",
        "akSecret": "hush",
    }
    check_parameters("CreateContainerGroup", flatten(group(found)))


@pytest.mark.parametrize(
    ("asked", "is_so"),
    [
        (make_asked(), False),
        (make_asked(csi={"readOnly": True}), True),
        (make_asked(options=["ro"]), True),
    ],
)
def test_a_volume_that_is_read_only_is_so_for_the_containers(asked: Asked, is_so: bool) -> None:
    assert brought(asked).read_only is is_so


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (make_asked(thin=False), "names no runtime profile"),
        (make_asked(profile={"fuse": {}}), "without an image"),
        (make_asked(profile={"volumes": [{"name": "h"}]}), "only a node has"),
        (make_asked(profile={"fuse": {**FUSE, "args": ["a"] * 99}}), "names a runtime profile"),
        (
            make_asked(profile={"fuse": {**FUSE, "lifecycle": {"preStop": {"httpGet": {}}}}}),
            "with a hook",
        ),
        (
            make_asked(profile={"fuse": {**FUSE, "lifecycle": {"postStart": {"exec": {}}}}}),
            "with a hook",
        ),
        (
            make_asked(profile={"fuse": {**FUSE, "env": [{"name": "A", "valueFrom": {}}]}}),
            "from elsewhere",
        ),
        (
            make_asked(profile={"fuse": {**FUSE, "env": [{"name": "A", "value": "x" * 257}]}}),
            "does not take",
        ),
        (
            make_asked(dataset={"mounts": [{"mountPoint": "x", "encryptOptions": [{}]}]}),
            "Secret",
        ),
        (
            make_asked(csi=REF, secret={"key": b"x" * (limits.FILE + 1)}),
            "more than ECI takes",
        ),
        (make_asked(csi=BUCKET, thin=False), 'no Secret with "akId"'),
        (
            make_asked(csi={**BUCKET, "volumeAttributes": {"bucket": "b"}}, thin=False),
            "does not say where",
        ),
        (
            make_asked(csi={"driver": "nfs.csi.k8s.io", "volumeAttributes": {}}, thin=False),
            "does not say where",
        ),
    ],
)
def test_what_cannot_be_brought_is_refused_with_the_reason(asked: Asked, words: str) -> None:
    assert words in why(asked)
