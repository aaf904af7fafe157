"""How Fluid's ThinRuntime reads a Dataset, as far as a container group can do the same.

In: a ThinRuntimeProfile and a Dataset (data.fluid.io/v1alpha1), as JSON. Out: frozen structs; what
is not named here is not read. A ThinRuntime of ours names its profile and says nothing else
(`build`), so what runs is the profile's. Pure.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import msgspec
import yaml

from federation.backends.eci.translate.spec import Resources
from federation.claims.objects import Anything
from vnode.kube.quantity import InvalidQuantity, Quantity
from vnode.kube.types import APIObject

__all__ = ["Dataset", "Fuse", "Mount", "Thin", "of_file"]

_SIZES = ("cpu", "memory", "ephemeral-storage")


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


class Exec(APIObject, frozen=True):
    """v1.ExecAction."""

    command: list[str] = []


class Hook(APIObject, frozen=True):
    """v1.LifecycleHandler; only commands can be had."""

    exec: Exec | None = None


class Lifecycle(APIObject, frozen=True):
    """v1.Lifecycle."""

    post_start: Anything | None = None
    pre_stop: Hook | None = None


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
    lifecycle: Lifecycle = Lifecycle()
    resources: Resources = Resources()


class Thin(APIObject, frozen=True):
    """The spec of a ThinRuntimeProfile."""

    file_system_type: str = ""
    fuse: Fuse = Fuse()
    volumes: list[OwnVolume] = []
    node_publish_secret_policy: str = ""
    """NotMountNodePublishSecret: the client does without the Secret that a volume names."""


class _Named(APIObject, frozen=True):
    name: str


class _Profile(APIObject, frozen=True):
    """ThinRuntimeProfile."""

    kind: str
    metadata: _Named
    spec: Thin


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


def of_file(content: bytes) -> dict[str, Thin]:
    """Profiles by name, from the manifests by which Fluid would get them (YAML documents).

    Raises:
        ValueError: it is something else; says what, and shows no values.
    """
    try:
        documents = [one for one in yaml.safe_load_all(content) if one is not None]
        profiles = [msgspec.convert(one, _Profile) for one in documents]
    except yaml.YAMLError:
        raise ValueError("it is no YAML") from None
    except msgspec.ValidationError as error:
        raise ValueError(f"not a ThinRuntimeProfile: {error}") from None
    for profile in profiles:
        if profile.kind != "ThinRuntimeProfile":
            raise ValueError(f"not a ThinRuntimeProfile but a {profile.kind}")
        _require_sizes(profile.spec.fuse.resources, f"{profile.metadata.name}: spec.fuse.resources")
    return {profile.metadata.name: profile.spec for profile in profiles}


def _require_sizes(resources: Resources, where: str) -> None:
    for kind, amounts in (("limits", resources.limits), ("requests", resources.requests)):
        for name, value in amounts.items():
            if name not in _SIZES:
                raise ValueError(f"{where}.{kind}[{name}]: a client can have {', '.join(_SIZES)}")
            try:
                Quantity.parse(str(value))
            except InvalidQuantity as error:
                raise ValueError(f"{where}.{kind}[{name}]: {error}") from None
