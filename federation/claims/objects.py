"""v1.PersistentVolumeClaim and v1.PersistentVolume, as far as we read them."""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from vnode.kube.resources import Resource
from vnode.kube.types import APIObject, ObjectMeta, ObjectReference

PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False)


class Anything(APIObject, frozen=True):
    """An object of which we read only that it is there."""


class VolumeResources(APIObject, frozen=True):
    """v1.VolumeResourceRequirements."""

    requests: dict[str, str] = {}


class ClaimSpec(APIObject, frozen=True):
    """v1.PersistentVolumeClaimSpec."""

    storage_class_name: str | None = None
    volume_name: str = ""
    volume_mode: str = "Filesystem"
    access_modes: list[str] = []
    resources: VolumeResources = VolumeResources()
    data_source: Anything | None = None
    data_source_ref: Anything | None = None


class Claim(APIObject, frozen=True):
    """v1.PersistentVolumeClaim."""

    metadata: ObjectMeta
    spec: ClaimSpec = ClaimSpec()


class SecretRef(APIObject, frozen=True):
    """v1.SecretReference."""

    name: str = ""
    namespace: str = ""


class CSISource(APIObject, frozen=True):
    """v1.CSIPersistentVolumeSource, without the Secrets that only attaching and staging need."""

    driver: str = ""
    volume_handle: str = ""
    fs_type: str = ""
    read_only: bool = False
    volume_attributes: dict[str, str] = {}
    node_publish_secret_ref: SecretRef | None = None


class VolumeSpec(APIObject, frozen=True):
    """v1.PersistentVolumeSpec."""

    claim_ref: ObjectReference | None = None
    csi: CSISource | None = None
    capacity: dict[str, str] = {}
    mount_options: list[str] = []
    volume_mode: str = "Filesystem"
    node_affinity: Anything | None = None


class Volume(APIObject, frozen=True):
    """v1.PersistentVolume."""

    metadata: ObjectMeta
    spec: VolumeSpec = VolumeSpec()
