"""The files of a claim in a container group, by ECI's OpenAPI: a sidecar, a mount, or a refusal.

In: a claim's volume, and how Fluid would read it: profile and Dataset. Out: parameters for
CreateContainerGroup. There is no webhook and no node here, so what Fluid's webhook does is done in
advance: a FUSE client beside the containers, which mounts where they see it. It begins first and
ends last, is ready when it has mounted, and neither its life nor its exit code is the pod's. A file
system that ECI knows itself needs no sidecar (`mounts`). Pure.

A FUSE client needs CAP_SYS_ADMIN, ECI adds NET_ADMIN and NET_RAW only: so it is privileged, which
an account may be without. Its contract (config.json, variables, the Secret that the volume's
nodePublishSecretRef names as files) is Fluid's: pkg/ddc/thin of v1.0.8. Only the sidecar has these
files. Whether a tenant may have the volume is asked before, of `rules`.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from federation.backends.eci.parameters import Parameter, Parameters
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.claims import SIDECAR, Brought
from federation.backends.eci.translate.purchase import upper_bounds
from federation.backends.eci.translate.words import expand, split
from federation.backends.translation.rules import Refused
from federation.claims.objects import CSISource, SecretRef, VolumeSpec
from federation.fluid.mounts import BUCKETS, mounted, refused
from federation.fluid.profiles import Dataset, Fuse, Thin
from federation.fluid.rules import travelling

__all__ = ["Asked", "brought", "needed_secret"]

TARGET = "/runtime-mnt/thin/{namespace}/{name}/thin-fuse"
_CONFIG, _FILE = "/etc/fluid/config", "config.json"
_SECRETS, _WITHOUT = "/etc/fluid/secrets", "NotMountNodePublishSecret"
_PATIENCE = 600
"""Seconds after which a client that has nothing mounted is ended: containers wait for it."""
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
    """The profile; None: the claim names none."""
    number: int = 0
    """Which of the pod's claims it is."""
    read_only: bool = False
    secret: Mapping[str, bytes] | None = None
    """What is in `needed_secret`; None: there is none."""


def needed_secret(csi: CSISource | None, thin: Thin | None) -> SecretRef | None:
    """The Secret without which the files do not come; None: there is none."""
    if csi is None or csi.node_publish_secret_ref is None:
        return None
    if thin is None:
        return csi.node_publish_secret_ref if csi.driver == BUCKETS else None
    without = thin.node_publish_secret_policy == _WITHOUT
    return None if without else csi.node_publish_secret_ref


def brought(asked: Asked) -> Brought:
    """How the files come.

    Raises:
        Refused: they do not, and why; the pod waits with that reason.
    """
    csi = asked.source.csi
    if asked.thin is None:
        read_only = _read_only(asked)
        volume = mounted(asked.volume, csi, secret=asked.secret, read_only=read_only)
        if volume is None:
            raise refused("names no runtime profile, and ECI cannot mount its volume itself")
        return Brought((volume,), read_only=read_only)
    return _by_sidecar(asked, asked.thin)


def _by_sidecar(asked: Asked, thin: Thin) -> Brought:
    fuse, name = thin.fuse, f"{SIDECAR}-{asked.number}"
    _require_possible(asked, thin)
    target = TARGET.format(namespace=asked.namespace, name=asked.claim)
    variables = _variables(asked, fuse, target=target)
    command, arguments = _words(fuse, variables)
    image = f"{fuse.image}:{fuse.image_tag}" if fuse.image_tag else fuse.image
    key = _secret_volume(f"{name}-secret", asked)
    own = {volume.name: f"{name}-own-{i}" for i, volume in enumerate(thin.volumes)}
    sidecar: dict[str, Parameter] = {
        "Name": name,
        "Image": image,
        "ImagePullPolicy": fuse.image_pull_policy or None,
        "Command": command,
        "Arg": arguments,
        "EnvironmentVar": [{"Key": key, "Value": value} for key, value in variables.items()],
        **upper_bounds(fuse.resources, "spec.fuse.resources"),
        "EnvironmentVarHide": True,
        "SecurityContextPrivileged": True,
        "SecurityContext": {"RunAsUser": 0},
        "ReadinessProbe": {
            "Exec": {"Command": ["sh", "-c", f"{_mounted(target)} && test -d {target}"]},
            "PeriodSeconds": 1,
            "FailureThreshold": 60,
        },
        "LivenessProbe": {
            "Exec": {"Command": ["sh", "-c", _mounted(target)]},
            "TimeoutSeconds": 10,
            "PeriodSeconds": 10,
            "FailureThreshold": _PATIENCE // 10,
        },
        "LifecyclePreStopHandlerExec": _before_its_end(fuse, target),
        "VolumeMount": [
            # What is mounted over a volume's root is seen at the root of all its other mounts.
            {"Name": asked.volume, "MountPath": target, "MountPropagation": "Bidirectional"},
            {"Name": f"{name}-conf", "MountPath": _CONFIG, "ReadOnly": True},
            *key.mounts,
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
        *key.volumes,
    ]
    for volume in thin.volumes:
        assert volume.nfs is not None  # noqa: S101 - required above
        nfs = volume.nfs
        where: Parameters = {"Server": nfs.server, "Path": nfs.path, "ReadOnly": nfs.read_only}
        volumes.append({"Name": own[volume.name], "Type": "NFSVolume", "NFSVolume": where})
    return Brought(
        tuple(volumes),
        sidecar,
        image=image,
        propagation="HostToContainer",
        read_only=_read_only(asked),
        resources=fuse.resources,
    )


def _read_only(asked: Asked) -> bool:
    csi = asked.source.csi
    return (
        asked.read_only or (csi is not None and csi.read_only) or "ro" in asked.source.mount_options
    )


@dataclass(frozen=True, slots=True, repr=False)
class _Key:
    """What the client needs to open the volume, and nobody else has."""

    volumes: tuple[Parameters, ...] = ()
    mounts: tuple[Parameters, ...] = ()


def _secret_volume(name: str, asked: Asked) -> _Key:
    """As Fluid mounts what nodePublishSecretRef names."""
    csi, secret = asked.source.csi, asked.secret
    ref = csi.node_publish_secret_ref if csi is not None else None
    if ref is None or not secret:
        return _Key()
    sizes = [len(value) for value in secret.values()]
    if max(sizes) > limits.FILE or sum(sizes) > limits.FILES or len(sizes) > limits.FILE_COUNT:
        raise refused("names a Secret with more than ECI takes in files")
    volume = _files(name, secret, mode="0400")
    mount: Parameters = {"Name": name, "MountPath": f"{_SECRETS}/{ref.name}", "ReadOnly": True}
    return _Key((volume,), (mount,))


def _require_possible(asked: Asked, thin: Thin) -> None:
    fuse = thin.fuse
    if not fuse.image:
        raise refused("names a runtime profile without an image of a client")
    if any(volume.nfs is None for volume in thin.volumes):
        raise refused("names a runtime profile with volumes that only a node has")
    if {mount.name for mount in fuse.volume_mounts} - {volume.name for volume in thin.volumes}:
        raise refused("names a runtime profile that mounts volumes which it has not")
    if any(one.value_from is not None for one in fuse.env):
        raise refused("names a runtime profile with variables from elsewhere")
    dataset = asked.dataset
    if dataset.shared_encrypt_options or any(one.encrypt_options for one in dataset.mounts):
        raise refused("has a Dataset with options from Secrets")


def _variables(asked: Asked, fuse: Fuse, *, target: str) -> dict[str, str]:
    options = ",".join(f"{k}={v}" if v else k for k, v in sorted(fuse.options.items()))
    variables = {
        "FLUID_RUNTIME_TYPE": "thin",
        "FLUID_RUNTIME_NS": asked.namespace,
        "FLUID_RUNTIME_NAME": asked.claim,
    }
    for one in fuse.env:  # Which know of those before them, as a kubelet has it.
        variables[one.name] = expand(one.value, variables.get)
    variables["MOUNT_POINT"] = target
    if options:
        variables["MOUNT_OPTIONS"] = options
    variables |= _ROLE
    for key, value in variables.items():
        if limits.VARIABLE.fullmatch(key) is None or len(value) > limits.VALUE:
            raise refused(f'has a client with a variable that ECI does not take ("{key}")')
    return variables


def _words(fuse: Fuse, variables: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Command and arguments, as a kubelet would have them run."""
    command, args = (
        [expand(word, variables.get) for word in words] for words in (fuse.command, fuse.args)
    )
    try:
        return split(command, args)
    except Refused:
        raise refused("names a runtime profile with a longer command than ECI takes") from None


def _before_its_end(fuse: Fuse, target: str) -> list[str]:
    """The profile's own command, which may flush what it has, or Fluid's."""
    hook = fuse.lifecycle.pre_stop
    if fuse.lifecycle.post_start is not None or (hook is not None and hook.exec is None):
        raise refused("names a runtime profile with a hook that is no command before its end")
    if hook is None or hook.exec is None:
        return ["umount", target]
    return list(hook.exec.command)


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
    attributes = travelling(csi.volume_attributes)
    plain = msgspec.structs.replace(csi, volume_attributes=attributes, fs_type="")
    return msgspec.to_builtins(plain)


def _config_volume(name: str, text: str) -> Parameters:
    if len(text) > limits.FILE:
        raise refused("has more options than ECI takes in a file")
    return _files(name, {_FILE: text.encode()}, mode="0444")


def _files(name: str, contents: Mapping[str, bytes], *, mode: str) -> Parameters:
    files: list[Parameter] = [
        {"Path": path, "Content": base64.b64encode(content).decode(), "Mode": mode}
        for path, content in sorted(contents.items())
    ]
    return {
        "Name": name,
        "Type": "ConfigFileVolume",
        "ConfigFileVolume": {"ConfigFileToPath": files},
    }


def _mounted(target: str) -> str:
    """True when something is mounted over the volume that was mounted there at first."""
    return f'test "$(grep -c " {target} " /proc/self/mountinfo)" -gt 1'
