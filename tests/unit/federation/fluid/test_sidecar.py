"""How the files of a claim come to a container group: a sidecar, a mount, or why not."""

import base64
import json
from typing import Any

import msgspec
import pytest

from federation.backends.eci.parameters import flatten
from federation.backends.translation.rules import Refused
from federation.claims.objects import VolumeSpec
from federation.fluid.profiles import Dataset, Thin, merged
from federation.fluid.sidecar import NOT_SUPPORTED, Asked, Brought, brought
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
CSI = {
    "driver": "csi.starfs.example.com",
    "volumeHandle": "starfs/demo/data",
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
) -> Asked:
    read = msgspec.convert({**PROFILE, **(profile or {})}, Thin) if thin else None
    return Asked(
        namespace="team-a",
        claim="data",
        volume="data",
        source=msgspec.convert({"csi": {**CSI, **(csi or {})}}, VolumeSpec),
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


def why(asked: Asked, *, privileged: bool = True) -> str:
    with pytest.raises(Refused) as refused:
        brought(asked, privileged=privileged)
    assert refused.value.waits_as == NOT_SUPPORTED
    return refused.value.text


def test_the_client_of_the_profile_mounts_where_the_containers_look() -> None:
    found = brought(make_asked(), privileged=True)

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
    assert config_of(brought(make_asked(), privileged=True)) == {
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


def test_the_parameters_are_those_of_the_api() -> None:
    check_parameters("CreateContainerGroup", flatten(group(brought(make_asked(), privileged=True))))


def test_a_runtime_goes_before_its_profile_and_lists_are_put_together() -> None:
    own = msgspec.convert({"fuse": {"imageTag": "v2", "env": [{"name": "B", "value": "2"}]}}, Thin)
    both = merged(msgspec.convert(PROFILE, Thin), own)

    assert (both.fuse.image_tag, both.fuse.image_pull_policy) == ("v2", "Always")
    assert [one.name for one in both.fuse.env] == ["LEVEL", "B"]


@pytest.mark.parametrize(
    ("driver", "attributes"),
    [
        ("nasplugin.csi.alibabacloud.com", {"server": "a.nas", "path": "/share"}),
        ("nfs.csi.k8s.io", {"server": "a.nas", "share": "/share"}),
    ],
)
def test_what_eci_mounts_itself_needs_no_sidecar(driver: str, attributes: dict[str, str]) -> None:
    asked = make_asked(csi={"driver": driver, "volumeAttributes": attributes}, thin=False)
    found = brought(asked, privileged=False)

    assert found.sidecar is None
    nfs = {"Server": "a.nas", "Path": "/share", "ReadOnly": False}
    assert found.volumes == ({"Name": "data", "Type": "NFSVolume", "NFSVolume": nfs},)


def test_a_network_file_system_of_the_clients_own_goes_with_it() -> None:
    volumes = [{"name": "store", "nfs": {"server": "a.nas", "path": "/store"}}]
    fuse = {**PROFILE["fuse"], "volumeMounts": [{"name": "store", "mountPath": "/store"}]}
    found = brought(make_asked(profile={"volumes": volumes, "fuse": fuse}), privileged=True)

    assert found.volumes[2]["Name"] == "fluid-fuse-0-store"
    assert found.sidecar is not None
    assert flatten(found.sidecar)["VolumeMount.3.Name"] == "fluid-fuse-0-store"


FUSE: dict[str, Any] = PROFILE["fuse"]


@pytest.mark.parametrize(
    ("asked", "privileged", "words"),
    [
        (make_asked(), False, "privileged"),
        (make_asked(thin=False), True, "names no runtime profile"),
        (make_asked(profile={"fuse": {}}), True, "without an image"),
        (make_asked(profile={"volumes": [{"name": "h"}]}), True, "only a node has"),
        (
            make_asked(profile={"fuse": {**FUSE, "env": [{"name": "A", "valueFrom": {}}]}}),
            True,
            "from elsewhere",
        ),
        (
            make_asked(profile={"fuse": {**FUSE, "env": [{"name": "A", "value": "x" * 257}]}}),
            True,
            "does not take",
        ),
        (
            make_asked(dataset={"mounts": [{"mountPoint": "x", "encryptOptions": [{}]}]}),
            True,
            "Secret",
        ),
        (
            make_asked(csi={"nodePublishSecretRef": {"name": "k", "namespace": "team-a"}}),
            True,
            "Secret",
        ),
        (
            make_asked(csi={"driver": "nfs.csi.k8s.io", "volumeAttributes": {}}, thin=False),
            True,
            "does not say where",
        ),
    ],
)
def test_what_cannot_be_brought_is_refused_with_the_reason(
    asked: Asked, privileged: bool, words: str
) -> None:
    assert words in why(asked, privileged=privileged)
