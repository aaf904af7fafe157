"""The double of Fluid's webhook makes of pods what Fluid's does."""

from pathlib import Path
from typing import Any

import pytest

from tests.standin.injection import DONE, HOST_PATH_MODE, Sidecar, inject, wants
from tests.standin.runtime_objects import runtime_objects

ROOT = Path("/runtime-mnt")
TARGET = "/runtime-mnt/thin/ns/data/thin-fuse"


def make_pod(*, init: bool = False, **metadata: Any) -> dict[str, Any]:
    container = {"image": "busybox", "volumeMounts": [{"name": "d", "mountPath": "/data"}]}
    return {
        "metadata": metadata,
        "spec": {
            "containers": [{"name": "main", **container}],
            **({"initContainers": [{"name": "first", **container}]} if init else {}),
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "claim"}}],
        },
    }


def made_by_runtime() -> dict[str, Any]:
    metadata = {"namespace": "ns", "name": "data", "uid": "u"}
    dataset = {"metadata": metadata, "spec": {"mounts": [{"mountPoint": "pvc://claim"}]}}
    runtime = {"metadata": metadata, "spec": {"profileName": "p"}}
    fuse = {"image": "fuse", "imageTag": "v1", "command": ["sh"]}
    profile = {"spec": {"fileSystemType": "starfs", "fuse": fuse}}
    volume = {"spec": {"csi": {"driver": "d", "volumeAttributes": {"path": "a"}}}}
    return runtime_objects(dataset, runtime, profile, {"claim": volume}, mount_root=ROOT)


def injected(pod: dict[str, Any], *, native: bool = False) -> Any:
    objects = made_by_runtime()
    template = objects["/apis/apps/v1/namespaces/ns/daemonsets"]["spec"]["template"]["spec"]
    volume = objects["/api/v1/persistentvolumes"]["spec"]["csi"]["volumeAttributes"]
    sidecar = Sidecar(template, volume["fluid_path"], volume["mount_type"])
    return inject(pod, {"claim": sidecar}, native=native, unique="1a2b")


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        ({"serverless.fluid.io/inject": "true"}, True),
        ({"alibabacloud.com/fluid-sidecar-target": "eci"}, True),
        ({}, False),
        ({"serverless.fluid.io/inject": "true", DONE: "true"}, False),
        ({"serverless.fluid.io/inject": "true", "fluid.io/enable-injection": "false"}, False),
    ],
)
def test_both_dialects_are_understood(labels: dict[str, str], wanted: bool) -> None:
    assert wants(make_pod(labels=labels)) is wanted


def test_the_claim_becomes_a_folder_in_which_the_sidecar_mounts() -> None:
    made = injected(make_pod())
    assert made["metadata"]["labels"][DONE] == "true"
    sidecar, main = made["spec"]["containers"]
    assert (sidecar["name"], sidecar["image"]) == ("fluid-fuse-0", "fuse:v1")
    assert sidecar["securityContext"]["privileged"]
    assert sidecar["lifecycle"]["preStop"]["exec"]["command"] == ["umount", TARGET]
    assert main["volumeMounts"][0]["mountPropagation"] == "HostToContainer"
    volumes = {volume["name"]: volume for volume in made["spec"]["volumes"]}
    assert volumes["d"] == {"name": "d", "hostPath": {"path": TARGET}}
    shared = next(m for m in sidecar["volumeMounts"] if m.get("mountPropagation"))
    assert shared["mountPropagation"] == "Bidirectional"
    assert volumes[shared["name"]]["hostPath"]["path"] == str(Path(TARGET).parent)


def test_the_sidecar_runs_a_script_from_the_namespace_when_it_has_begun() -> None:
    made = injected(make_pod())
    sidecar = made["spec"]["containers"][0]
    assert sidecar["lifecycle"]["postStart"]["exec"]["command"][1] == "/check-mount.sh"
    (mount,) = (m for m in sidecar["volumeMounts"] if m["mountPath"] == "/check-mount.sh")
    (volume,) = (v for v in made["spec"]["volumes"] if v["name"] == mount["name"])
    assert volume["configMap"]["name"] == "starfs-default-check-mount"


def test_init_containers_get_a_sidecar_that_mounts_nothing() -> None:
    made = injected(make_pod(init=True))
    first = made["spec"]["initContainers"][0]
    assert (first["name"], first["command"]) == ("init-fluid-fuse-0", ["sleep"])
    assert made["spec"]["containers"][0]["name"] == "fluid-fuse-0"


def test_a_native_sidecar_is_there_once() -> None:
    made = injected(make_pod(init=True), native=True)
    first, second = made["spec"]["initContainers"]
    assert (first["name"], first["restartPolicy"]) == ("fluid-fuse-0", "Always")
    assert second["name"] == "first"
    assert [container["name"] for container in made["spec"]["containers"]] == ["main"]


def test_pods_of_one_node_can_have_folders_of_their_own() -> None:
    made = injected(make_pod(annotations={HOST_PATH_MODE: "random-suffix"}))
    volumes = {volume["name"]: volume for volume in made["spec"]["volumes"]}
    own = f"{Path(TARGET).parent}/1a2b"
    assert volumes["d"]["hostPath"]["path"] == f"{own}/thin-fuse"
    assert volumes["thin-fuse-mount-0"]["hostPath"]["path"] == own


def test_the_fuse_program_is_told_of_the_wrapped_volume() -> None:
    text = made_by_runtime()["/api/v1/namespaces/ns/configmaps"]["data"]["config.json"]
    assert f'"targetPath":"{TARGET}"' in text
    assert (
        '"persistentVolumeAttrs":{"claim":{"driver":"d","volumeAttributes":{"path":"a"}}}' in text
    )
    assert "\n" not in text
