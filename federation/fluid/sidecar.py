"""The files of a claim in a container group, by ECI's OpenAPI: a sidecar, a mount, or a refusal.

In: a claim's volume, and how Fluid would read it: profile, runtime, Dataset. Out: parameters for
CreateContainerGroup. There is no webhook and no node here, so what Fluid's webhook does is done in
advance: a FUSE client beside the containers, which mounts where they see it. It begins first and
ends last, is ready when it has mounted, and neither its life nor its exit code is the pod's. A file
system that ECI knows itself needs no sidecar. Pure.

A FUSE client needs CAP_SYS_ADMIN, ECI adds NET_ADMIN and NET_RAW only: so it is privileged, which
an account may be without. Its contract (config.json, variables) is Fluid's: pkg/ddc/thin of v1.0.8.
Whether a tenant may have the volume is asked before, of `rules`.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from federation.backends.eci.parameters import Parameter, Parameters
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.words import split
from federation.backends.translation.rules import Refused
from federation.claims.objects import CSISource, VolumeSpec
from federation.fluid.profiles import Dataset, Fuse, Thin
from federation.fluid.rules import travelling

__all__ = ["Asked", "Brought", "brought"]

NOT_SUPPORTED = "VolumeNotSupported"
TARGET = "/runtime-mnt/thin/{namespace}/{name}/thin-fuse"
_CONFIG, _FILE = "/etc/fluid/config", "config.json"
_NFS = {"nasplugin.csi.alibabacloud.com": "path", "nfs.csi.k8s.io": "share"}
"""CSI drivers of file systems that ECI mounts itself, and the attribute with the path."""
_ROLE: Mapping[str, str] = {
    "ECI_CONTAINER_TYPE": "sidecar",
    "ECI_CONTAINER_IGNORE_EXIT_CODE": "true",
    "ECI_CONTAINER_LAUNCH_PRIORITY": "1000",
    "ECI_CONTAINER_EXIT_PRIORITY": "-1000",
}


@dataclass(frozen=True, slots=True, repr=False)
class Asked:
    """One claim of a pod."""

    namespace: str
    claim: str
    volume: str
    """Name of the pod's volume."""
    source: VolumeSpec
    """The claim's PersistentVolume."""
    dataset: Dataset
    thin: Thin | None
    """Runtime and profile together; None: the claim names no profile."""
    number: int = 0
    """Which of the pod's claims it is."""
    read_only: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Brought:
    """What a container group needs for one claim."""

    volumes: tuple[Parameters, ...]
    """The first one is what the containers mount."""
    sidecar: Parameters | None = None
    propagation: str | None = None
    """Of the containers' mounts of the first volume."""


def brought(asked: Asked, *, privileged: bool) -> Brought:
    """How the files come. `privileged`: whether containers of the account may be.

    Raises:
        Refused: they do not, and why; the pod waits with that reason.
    """
    csi = asked.source.csi
    if asked.thin is None:
        if (network := _network(asked, csi)) is None:
            raise _refused("names no runtime profile, and ECI cannot mount its volume itself")
        return Brought((network,))
    if not privileged:
        raise _refused("needs a FUSE client, which has to be privileged; this pool allows none")
    return _by_sidecar(asked, asked.thin)


def _network(asked: Asked, csi: CSISource | None) -> Parameters | None:
    """A volume that ECI mounts itself; None: it is none of these."""
    if csi is None or csi.driver not in _NFS:
        return None
    server = csi.volume_attributes.get("server", "")
    path = csi.volume_attributes.get(_NFS[csi.driver], "")
    if not server or not path.startswith("/"):
        raise _refused("is of a network file system, but does not say where: server and path")
    read_only = asked.read_only or csi.read_only
    nfs: Parameters = {"Server": server, "Path": path, "ReadOnly": read_only}
    return {"Name": asked.volume, "Type": "NFSVolume", "NFSVolume": nfs}


def _by_sidecar(asked: Asked, thin: Thin) -> Brought:
    fuse, name = thin.fuse, f"fluid-fuse-{asked.number}"
    _require_possible(asked, thin)
    target = TARGET.format(namespace=asked.namespace, name=asked.claim)
    command, arguments = split(fuse.command, fuse.args)
    if len(arguments) > limits.ARGUMENTS:
        raise _refused(f"has a client with more than {limits.ARGUMENTS} arguments")
    own = {volume.name: f"{name}-{volume.name}" for volume in thin.volumes}
    sidecar: dict[str, Parameter] = {
        "Name": name,
        "Image": f"{fuse.image}:{fuse.image_tag}" if fuse.image_tag else fuse.image,
        "ImagePullPolicy": fuse.image_pull_policy or None,
        "Command": command,
        "Arg": arguments,
        "EnvironmentVar": [
            {"Key": key, "Value": value}
            for key, value in _variables(asked, fuse, target=target).items()
        ],
        "EnvironmentVarHide": True,
        "SecurityContextPrivileged": True,
        "SecurityContext": {"RunAsUser": 0},
        "ReadinessProbe": {
            "Exec": {"Command": ["sh", "-c", _mounted(target)]},
            "PeriodSeconds": 1,
            "FailureThreshold": 60,
        },
        "LifecyclePreStopHandlerExec": ["umount", target],
        "VolumeMount": [
            # What is mounted over a volume's root is seen at the root of all its other mounts.
            {"Name": asked.volume, "MountPath": target, "MountPropagation": "Bidirectional"},
            {"Name": f"{name}-conf", "MountPath": _CONFIG, "ReadOnly": True},
            *(
                {
                    "Name": own[mount.name],
                    "MountPath": mount.mount_path,
                    "SubPath": mount.sub_path or None,
                    "ReadOnly": mount.read_only,
                }
                for mount in fuse.volume_mounts
            ),
        ],
    }
    volumes: list[Parameters] = [
        {"Name": asked.volume, "Type": "EmptyDirVolume", "EmptyDirVolume": {}},
        _config_volume(f"{name}-conf", _config(asked, fuse, target=target)),
    ]
    for volume in thin.volumes:
        assert volume.nfs is not None  # noqa: S101 - required above
        nfs = volume.nfs
        where: Parameters = {"Server": nfs.server, "Path": nfs.path, "ReadOnly": nfs.read_only}
        volumes.append({"Name": own[volume.name], "Type": "NFSVolume", "NFSVolume": where})
    return Brought(tuple(volumes), sidecar, "HostToContainer")


def _require_possible(asked: Asked, thin: Thin) -> None:
    fuse, csi = thin.fuse, asked.source.csi
    if not fuse.image:
        raise _refused("names a runtime profile without an image of a client")
    if any(volume.nfs is None for volume in thin.volumes):
        raise _refused("names a runtime profile with volumes that only a node has")
    if {mount.name for mount in fuse.volume_mounts} - {volume.name for volume in thin.volumes}:
        raise _refused("names a runtime profile that mounts volumes which it has not")
    if any(one.value_from is not None for one in fuse.env):
        raise _refused("names a runtime profile with variables from elsewhere")
    secrets = asked.dataset.shared_encrypt_options or any(
        mount.encrypt_options for mount in asked.dataset.mounts
    )
    if secrets or (csi is not None and csi.node_publish_secret_ref is not None):
        raise _refused("needs a Secret, whose values would be part of the group")


def _variables(asked: Asked, fuse: Fuse, *, target: str) -> dict[str, str]:
    options = ",".join(f"{k}={v}" if v else k for k, v in sorted(fuse.options.items()))
    variables = {
        "FLUID_RUNTIME_TYPE": "thin",
        "FLUID_RUNTIME_NS": asked.namespace,
        "FLUID_RUNTIME_NAME": asked.claim,
        **{one.name: one.value for one in fuse.env},
        "MOUNT_POINT": target,
        **({"MOUNT_OPTIONS": options} if options else {}),
        **_ROLE,
    }
    for key, value in variables.items():
        if limits.VARIABLE.fullmatch(key) is None or len(value) > limits.VALUE:
            raise _refused(f'has a client with a variable that ECI does not take ("{key}")')
    return variables


def _config(asked: Asked, fuse: Fuse, *, target: str) -> str:
    """One line of JSON (pkg/ddc/thin/type.go, Config); clients look for its fields by name."""
    dataset, csi = asked.dataset, asked.source.csi
    said = {
        "mounts": [
            {
                "mountPoint": mount.mount_point,
                "name": mount.name,
                **({"path": mount.path} if mount.path else {}),
                **({"readOnly": True} if mount.read_only else {}),
                "options": {**dataset.shared_options, **mount.options},
            }
            for mount in dataset.mounts
        ],
        "targetPath": target,
        "runtimeOptions": fuse.options or None,
        "persistentVolumeAttrs": {asked.claim: _attributes(csi)} if csi is not None else {},
        "persistentVolumeMountOptions": {asked.claim: list(asked.source.mount_options)},
        "accessModes": dataset.access_modes or ["ReadOnlyMany"],
    }
    return json.dumps(said, separators=(",", ":"))


def _attributes(csi: CSISource) -> object:
    plain = msgspec.structs.replace(csi, volume_attributes=travelling(csi.volume_attributes))
    return msgspec.to_builtins(plain)


def _config_volume(name: str, text: str) -> Parameters:
    if len(text) > limits.FILE:
        raise _refused("has more options than ECI takes in a file")
    content = base64.b64encode(text.encode()).decode()
    files = [{"Path": _FILE, "Content": content, "Mode": "0444"}]
    return {
        "Name": name,
        "Type": "ConfigFileVolume",
        "ConfigFileVolume": {"ConfigFileToPath": files},
    }


def _mounted(target: str) -> str:
    """True when something is mounted over the volume that was mounted there at first."""
    return f'test "$(grep -c " {target} " /proc/self/mountinfo)" -gt 1'


def _refused(why: str) -> Refused:
    return Refused(why, waits_as=NOT_SUPPORTED)
