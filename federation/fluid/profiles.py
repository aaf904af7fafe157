"""How Fluid's ThinRuntime reads a Dataset, as far as a container group can do the same.

In: a ThinRuntimeProfile, a ThinRuntime and a Dataset (data.fluid.io/v1alpha1), as JSON. Out: frozen
structs; what is not named here is not read. As in Fluid, what a runtime says goes before its
profile's, and lists are put together (pkg/ddc/thin/transform_fuse.go of v1.0.8). Pure.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import msgspec

from federation.claims.objects import Anything
from vnode.kube.types import APIObject

__all__ = ["Dataset", "Fuse", "Thin", "merged"]


class Variable(APIObject, frozen=True):
    """v1.EnvVar."""

    name: str = ""
    value: str = ""
    value_from: Anything | None = None


class NFS(APIObject, frozen=True):
    """v1.NFSVolumeSource."""

    server: str = ""
    path: str = ""
    read_only: bool = False


class OwnVolume(APIObject, frozen=True):
    """v1.Volume that the client itself needs; of its sources only this one can be had."""

    name: str = ""
    nfs: NFS | None = None


class OwnMount(APIObject, frozen=True):
    """v1.VolumeMount of such a volume."""

    name: str = ""
    mount_path: str = ""
    sub_path: str = ""
    read_only: bool = False


class Fuse(APIObject, frozen=True):
    """ThinFuseSpec."""

    image: str = ""
    image_tag: str = ""
    image_pull_policy: str = ""
    command: list[str] = []
    args: list[str] = []
    env: list[Variable] = []
    options: dict[str, str] = {}
    volume_mounts: list[OwnMount] = []
    lifecycle: Anything | None = None


class Thin(APIObject, frozen=True):
    """The spec of a ThinRuntimeProfile, or of a ThinRuntime."""

    file_system_type: str = ""
    fuse: Fuse = Fuse()
    volumes: list[OwnVolume] = []


class Mount(APIObject, frozen=True):
    """One mount of a Dataset; `options` may name a file system's own root, key or endpoint."""

    mount_point: str = ""
    name: str = ""
    path: str = ""
    read_only: bool = False
    shared: bool = False
    options: dict[str, str] = {}
    encrypt_options: list[Anything] = []


class Dataset(APIObject, frozen=True):
    """The spec of a Dataset."""

    mounts: list[Mount] = []
    shared_options: dict[str, str] = {}
    shared_encrypt_options: list[Anything] = []
    access_modes: list[str] = []


def merged(profile: Thin, runtime: Thin) -> Thin:
    """What a runtime and its profile say together."""
    above, own = profile.fuse, runtime.fuse
    fuse = Fuse(
        image=own.image or above.image,
        image_tag=own.image_tag or above.image_tag,
        image_pull_policy=own.image_pull_policy or above.image_pull_policy,
        command=own.command or above.command,
        args=own.args or above.args,
        env=[*above.env, *own.env],
        options={**above.options, **own.options},
        volume_mounts=[*above.volume_mounts, *own.volume_mounts],
        lifecycle=own.lifecycle or above.lifecycle,
    )
    return msgspec.structs.replace(profile, fuse=fuse, volumes=[*profile.volumes, *runtime.volumes])
