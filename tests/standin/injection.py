"""What Fluid's webhook makes of a pod. Pure.

In: a pod, and for each of its claims that stands for a Dataset the pod template of that Dataset's
`<name>-fuse` DaemonSet and the path at which it mounts. Out: the pod with a sidecar for each, as
pkg/application/inject/fuse of Fluid v1.0.8 builds them on the platform `default`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SWITCHES = {
    "serverless.fluid.io/inject": "true",
    "alibabacloud.com/fluid-sidecar-target": "eci",
}
"""Labels of pods that want sidecars: open-source Fluid's, and ack-fluid's."""
DONE = "done.sidecar.fluid.io/inject"
HOST_PATH_MODE = "default.fuse-sidecar.fluid.io/host-mount-path-mode"
_HOST_MOUNT = "thin-fuse-mount"
_CHECK = "default-check-mount"
_SCRIPT = "check-mount.sh"
_LOOP = """for i in $(seq 30); do
  grep "$1" /proc/self/mountinfo | grep -q "$2" && exit 0
  sleep 1
done
exit 1
"""
"""What Fluid's script does, without bash."""


@dataclass(frozen=True)
class Sidecar:
    """Where a Dataset's sidecar comes from."""

    template: Mapping[str, Any]
    """PodSpec of the DaemonSet's template."""
    fluid_path: str
    """`volumeAttributes.fluid_path` of the Dataset's PersistentVolume."""
    mount_type: str
    """`volumeAttributes.mount_type`."""


def script(mount_type: str) -> dict[str, Any]:
    """The ConfigMap by which sidecars of a file system look whether they have mounted.

    Fluid makes it unless there is one of that name, whoever made that.
    """
    return {"metadata": {"name": f"{mount_type.lower()}-{_CHECK}"}, "data": {_SCRIPT: _LOOP}}


def wants(pod: Mapping[str, Any]) -> bool:
    """Whether the webhook has anything to do with a pod."""
    labels = pod["metadata"].get("labels") or {}
    on = any(labels.get(key) == value for key, value in SWITCHES.items())
    off = labels.get("fluid.io/enable-injection") == "false" or labels.get(DONE) == "true"
    return on and not off


def claims(pod: Mapping[str, Any]) -> list[str]:
    """Names of the claims that a pod uses, in order."""
    volumes = pod["spec"].get("volumes") or []
    sources = [volume.get("persistentVolumeClaim") for volume in volumes]
    return sorted({source["claimName"] for source in sources if source})


def inject(
    pod: Mapping[str, Any], sidecars: Mapping[str, Sidecar], *, native: bool, unique: str
) -> dict[str, Any]:
    """The pod with its sidecars.

    Args:
        pod: as it was sent.
        sidecars: by name of the claim.
        native: restartable init containers instead of containers.
        unique: what tells the mounts of this pod from those of others, with `random-suffix`.
    """
    made: dict[str, Any] = copy.deepcopy(dict(pod))
    annotations = made["metadata"].get("annotations") or {}
    suffix = unique if annotations.get(HOST_PATH_MODE) == "random-suffix" else ""
    for index, name in enumerate(sorted(sidecars)):
        _inject_one(made["spec"], name, sidecars[name], index, native=native, suffix=suffix)
    labels = made["metadata"].setdefault("labels", {})
    labels.update({DONE: "true", "fluid.io/managed-by": "fluid"})
    return made


def _inject_one(
    spec: dict[str, Any], claim: str, sidecar: Sidecar, index: int, *, native: bool, suffix: str
) -> None:
    used = _replace_volumes(spec, claim, sidecar, suffix)
    container = copy.deepcopy(sidecar.template["containers"][0])
    taken = {volume["name"] for volume in spec["volumes"]}
    renamed = {}
    for volume in copy.deepcopy(sidecar.template.get("volumes", [])):
        if suffix and volume["name"] == _HOST_MOUNT:
            volume["hostPath"]["path"] += f"/{suffix}"
        new = f"{volume['name']}-{index}"
        new = f"fluid-{new}" if new in taken else new
        renamed[volume["name"]] = volume["name"] = new
        spec["volumes"].append(volume)
    for mount in container.get("volumeMounts", []):
        mount["name"] = renamed.get(mount["name"], mount["name"])
    container.setdefault("lifecycle", {})["postStart"] = _check(container, sidecar)
    name = f"{_CHECK}-{index}"
    source = {"name": script(sidecar.mount_type)["metadata"]["name"], "defaultMode": 0o755}
    spec["volumes"].append({"name": name, "configMap": source})
    mount = {"name": name, "mountPath": f"/{_SCRIPT}", "subPath": _SCRIPT, "readOnly": True}
    container.setdefault("volumeMounts", []).append(mount)
    if native and used:
        container |= {"name": f"fluid-fuse-{index}", "restartPolicy": "Always"}
        spec["initContainers"] = [container, *(spec.get("initContainers") or [])]
        return
    if "containers" in used:
        spec["containers"] = [{**container, "name": f"fluid-fuse-{index}"}, *spec["containers"]]
    if "initContainers" in used:
        idle = {"name": f"init-fluid-fuse-{index}", "command": ["sleep"], "args": ["2s"]}
        first = {k: v for k, v in container.items() if k not in ("lifecycle", "readinessProbe")}
        spec["initContainers"] = [{**first, **idle}, *spec["initContainers"]]


def _replace_volumes(spec: dict[str, Any], claim: str, sidecar: Sidecar, suffix: str) -> set[str]:
    """Turn the claim's volumes into host paths; says which lists of containers use them."""
    path = PurePosixPath(sidecar.fluid_path)
    host = {"path": str(path.parent / suffix / path.name)}
    names = set()
    for volume in spec["volumes"]:
        if (volume.get("persistentVolumeClaim") or {}).get("claimName") == claim:
            del volume["persistentVolumeClaim"]
            volume["hostPath"] = host
            names.add(volume["name"])
    used = set()
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or []:
            for mount in container.get("volumeMounts") or []:
                if mount["name"] in names:
                    mount["mountPropagation"] = "HostToContainer"
                    used.add(kind)
    return used


def _check(container: Mapping[str, Any], sidecar: Sidecar) -> dict[str, Any]:
    """Containers behind this one start when it has mounted, which a script of Fluid's looks at.

    The kubelet starts a pod's containers one after the other, and waits for postStart.
    """
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    where = next(path for name, path in mounts.items() if name.startswith(_HOST_MOUNT))
    return {"exec": {"command": ["sh", f"/{_SCRIPT}", where, sidecar.mount_type]}}
