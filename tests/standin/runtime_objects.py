"""What a bound ThinRuntime leaves behind in its namespace, for the webhook to read. Pure.

In: Dataset, ThinRuntime, its profile, and the volumes that it wraps. Out: ConfigMap, DaemonSet,
PersistentVolume and claim, as charts/thin and pkg/ddc/thin of Fluid v1.0.8 make them. Sidecars of
pods are built from the DaemonSet; no node carries the label that its own pods ask for.
"""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

API = "data.fluid.io/v1alpha1"
WRAPPED = "pvc://"
_CONFIG_FOLDER = "/etc/fluid/config"
_SECRETS_FOLDER = "/etc/fluid/secrets"


def target_path(mount_root: Path, namespace: str, name: str) -> str:
    """Where a Dataset is mounted on nodes."""
    return str(mount_root / "thin" / namespace / name / "thin-fuse")


def wrapped_claims(dataset: Mapping[str, Any]) -> list[str]:
    """Names of the claims that a Dataset mounts."""
    points = [mount["mountPoint"] for mount in dataset["spec"].get("mounts", [])]
    return [point.removeprefix(WRAPPED) for point in points if point.startswith(WRAPPED)]


def runtime_objects(
    dataset: Mapping[str, Any],
    runtime: Mapping[str, Any],
    profile: Mapping[str, Any],
    volumes: Mapping[str, Mapping[str, Any]],
    *,
    mount_root: Path,
) -> dict[str, Any]:
    """Manifests by the path of their collection.

    Args:
        dataset: the Dataset.
        runtime: the ThinRuntime of the same name.
        profile: the ThinRuntimeProfile; empty: none.
        volumes: PersistentVolumes of the wrapped claims, by name of the claim.
        mount_root: MOUNT_ROOT of Fluid.
    """
    namespace, name = runtime["metadata"]["namespace"], runtime["metadata"]["name"]
    target = target_path(mount_root, namespace, name)
    common = {
        f"fluid.io/s-{namespace}-{name}": "true",
        "fluid.io/dataset-id": f"{namespace}-{name}",
    }
    owner = {
        "apiVersion": API,
        "kind": "ThinRuntime",
        "name": name,
        "uid": runtime["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    owned = {"namespace": namespace, "ownerReferences": [owner]}
    config = {"config.json": _config(dataset, runtime, volumes, target)}
    access = dataset["spec"].get("accessModes") or ["ReadOnlyMany"]
    fuse_type = (profile.get("spec") or {}).get("fileSystemType", "")
    attributes = {"fluid_path": target, "mount_type": fuse_type}
    attributes |= {"runtime_namespace": namespace, "runtime_name": name}
    below = f"/api/v1/namespaces/{namespace}"
    size = {"storage": "100Pi"}
    marked = {"labels": common, "annotations": {"CreatedBy": "fluid"}}
    return {
        f"{below}/configmaps": {
            "metadata": {"name": f"{name}-fuse-conf", **owned},
            "data": config,
        },
        f"/apis/apps/v1/namespaces/{namespace}/daemonsets": {
            "metadata": {"name": f"{name}-fuse", **owned},
            "spec": _daemon_set(dataset, runtime, profile, target),
        },
        "/api/v1/persistentvolumes": {
            "metadata": {"name": f"{namespace}-{name}", **marked},
            "spec": {
                "accessModes": access,
                "capacity": size,
                "storageClassName": "fluid",
                "claimRef": {"namespace": namespace, "name": name},
                "csi": {
                    "driver": "fuse.csi.fluid.io",
                    "volumeHandle": f"{namespace}-{name}",
                    "volumeAttributes": attributes,
                },
            },
        },
        f"{below}/persistentvolumeclaims": {
            "metadata": {"name": name, "namespace": namespace, **marked},
            "spec": {
                "accessModes": access,
                "resources": {"requests": size},
                "storageClassName": "fluid",
                "volumeName": f"{namespace}-{name}",
            },
        },
    }


def _config(
    dataset: Mapping[str, Any],
    runtime: Mapping[str, Any],
    volumes: Mapping[str, Mapping[str, Any]],
    target: str,
) -> str:
    """One line of JSON: pkg/ddc/thin/type.go, Config."""
    shared = dataset["spec"].get("sharedOptions") or {}
    mounts = []
    for mount in dataset["spec"].get("mounts", []):
        plain = {key: value for key, value in mount.items() if key != "encryptOptions"}
        secret = {
            option["name"]: f"{_SECRETS_FOLDER}/{ref['name']}/{ref['key']}"
            for option in _encrypted(dataset, mount)
            for ref in [option["valueFrom"]["secretKeyRef"]]
        }
        mounts.append({**plain, "options": {**shared, **(mount.get("options") or {}), **secret}})
    said = {
        "mounts": mounts,
        "targetPath": target,
        "runtimeOptions": (runtime["spec"].get("fuse") or {}).get("options"),
        "persistentVolumeAttrs": {name: pv["spec"].get("csi") for name, pv in volumes.items()},
        "persistentVolumeMountOptions": {
            name: pv["spec"].get("mountOptions") for name, pv in volumes.items()
        },
        "accessModes": dataset["spec"].get("accessModes") or ["ReadOnlyMany"],
    }
    return json.dumps(said, separators=(",", ":"))


def _daemon_set(
    dataset: Mapping[str, Any], runtime: Mapping[str, Any], profile: Mapping[str, Any], target: str
) -> dict[str, Any]:
    namespace, name = runtime["metadata"]["namespace"], runtime["metadata"]["name"]
    above, own = profile.get("spec") or {}, runtime["spec"]
    fuses = (above.get("fuse") or {}, own.get("fuse") or {})

    def last(key: str) -> Any:
        return next((fuse[key] for fuse in reversed(fuses) if fuse.get(key)), None)

    def both(key: str) -> list[Any]:
        return [value for fuse in fuses for value in fuse.get(key) or []]

    told = {"FLUID_RUNTIME_TYPE": "thin", "FLUID_RUNTIME_NS": namespace, "FLUID_RUNTIME_NAME": name}
    env = [{"name": key, "value": value} for key, value in told.items()]
    secrets = sorted(
        {
            option["valueFrom"]["secretKeyRef"]["name"]
            for mount in dataset["spec"].get("mounts", [])
            for option in _encrypted(dataset, mount)
        }
    )
    parent = str(PurePosixPath(target).parent)
    tag = last("imageTag")
    optional = {key: last(key) for key in ("command", "args", "resources", "imagePullPolicy")}
    container = {
        "name": "thin-fuse",
        "image": f"{last('image')}:{tag}" if tag else last("image"),
        **{key: value for key, value in optional.items() if value},
        "env": [*env, *both("env"), {"name": "MOUNT_POINT", "value": target}],
        "securityContext": {"privileged": True, "runAsUser": 0, "runAsGroup": 0},
        "lifecycle": last("lifecycle") or {"preStop": {"exec": {"command": ["umount", target]}}},
        "volumeMounts": [
            {"name": "thin-fuse-mount", "mountPath": parent, "mountPropagation": "Bidirectional"},
            {"name": "thin-conf", "mountPath": _CONFIG_FOLDER, "readOnly": True},
            *(_secret_mount(secret) for secret in secrets),
            *both("volumeMounts"),
        ],
    }
    labels = {"app": "thin", "release": name, "role": "thin-fuse"}
    conf = {"name": f"{name}-fuse-conf", "defaultMode": 0o444}
    return {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {
                "nodeSelector": {f"fluid.io/f-{namespace}-{name}": "true"},
                "containers": [container],
                "volumes": [
                    {
                        "name": "thin-fuse-mount",
                        "hostPath": {"path": parent, "type": "DirectoryOrCreate"},
                    },
                    {"name": "thin-conf", "configMap": conf},
                    *({"name": _volume(s), "secret": {"secretName": s}} for s in secrets),
                    *(above.get("volumes") or []),
                    *(own.get("volumes") or []),
                ],
            },
        },
    }


def _encrypted(dataset: Mapping[str, Any], mount: Mapping[str, Any]) -> list[Any]:
    shared = dataset["spec"].get("sharedEncryptOptions") or []
    return [*shared, *(mount.get("encryptOptions") or [])]


def _volume(secret: str) -> str:
    return f"thin-fuseconfig-{secret}"


def _secret_mount(secret: str) -> dict[str, Any]:
    path = f"{_SECRETS_FOLDER}/{secret}"
    return {"name": _volume(secret), "mountPath": path, "readOnly": True}
