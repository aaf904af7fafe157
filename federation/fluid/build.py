"""The objects that one claim of the tenant has in a compute cluster. Pure.

In: a `Wish`: the claim, its profile, and the volume that is to be copied (None: the platform has
prepared the claim below). Out: complete bodies, each with our marks and a fingerprint of the wish:

    claim, volume       as in the tenant, the volume for this very claim; nobody provisions it
    Secret              what the volume's nodePublishSecretRef names
    Dataset             mounts `pvc://<claim>`, and nothing else
    ThinRuntime         names the profile, and nothing else: image and command are the platform's
    DataLoad            reads paths of the Dataset ahead

Nothing here is changed later but the Secret: a wish with another fingerprint has other objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from federation.backends.kubernetes.translate.fingerprints import fingerprint
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_SECRET_VERSION,
    Owner,
)
from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.claims.objects import PERSISTENT_VOLUMES, Claim, CSISource, Volume
from federation.fluid.names import (
    PROFILE_LABEL,
    SELECTED,
    dataset_name,
    load_name,
    secret_name,
    volume_name,
)
from federation.fluid.objects import DATA_LOADS, DATASETS, THIN_RUNTIMES
from federation.fluid.rules import READABLE, fits, travelling
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, SECRETS, Resource
from vnode.kube.types import JSON, UID, JSONObject, Secret

_OPAQUE = "Opaque"


@dataclass(frozen=True, slots=True, repr=False)
class Wish:
    """What one claim of the tenant needs below."""

    claim: Claim
    profile: str
    below: str
    """The compute namespace."""
    owner: Owner
    dialect: FluidDialect
    volume: Volume | None = None
    """What is copied; None: the claim below is the platform's."""

    @property
    def uid(self) -> UID:
        """UID of the tenant's claim."""
        return self.claim.metadata.uid

    @property
    def csi(self) -> CSISource | None:
        """Where the data of the copy lies."""
        return self.volume.spec.csi if self.volume is not None else None

    @property
    def volume_name(self) -> str:
        """Name of the volume's copy."""
        return volume_name(self.uid, owner=self.owner, below=self.below)

    @property
    def digest(self) -> str:
        """Fingerprint of all that cannot be changed in the objects once they are there."""
        source: JSON = None
        if self.volume is not None:
            source = [_source(self), list(self.volume.spec.mount_options)]
        return fingerprint([self.profile, self.dialect.value, list(_modes(self)), source])


def claim_below(wish: Wish) -> JSONObject:
    """The copy of a claim. With ack-fluid its label has the Dataset made.

    It does not name its volume, which is made after it: kube-controller-manager looks for a volume
    that is named and missing every 15 s only, and binds a claim that names none as soon as there is
    a volume for it (pv_controller.go, syncVolume). Its selector fits no volume, so that it is bound
    to no other.
    """
    body = _object(wish, PERSISTENT_VOLUME_CLAIMS, wish.claim.metadata.name)
    if wish.dialect is FluidDialect.ACK:
        _labels(body)[PROFILE_LABEL] = wish.profile
    body["spec"] = {
        "accessModes": list(_modes(wish)),
        "resources": {"requests": {"storage": _size(wish)}},
        "selector": {"matchLabels": {SELECTED: wish.volume_name}},
        "storageClassName": "",  # Nobody is to provision it.
        "volumeMode": "Filesystem",
    }
    return body


def volume_below(wish: Wish, claim: UID) -> JSONObject:
    """The copy of a claim's volume, for the copy of the claim with that UID."""
    body = _object(wish, PERSISTENT_VOLUMES, wish.volume_name, namespace="")
    options = wish.volume.spec.mount_options if wish.volume is not None else []
    body["spec"] = {
        "accessModes": list(_modes(wish)),
        "capacity": {"storage": _size(wish)},
        "claimRef": {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "namespace": wish.below,
            "name": wish.claim.metadata.name,
            "uid": claim,
        },
        "csi": _source(wish),
        **({"mountOptions": list(options)} if options else {}),
        "persistentVolumeReclaimPolicy": "Retain",
        "storageClassName": "",
        "volumeMode": "Filesystem",
    }
    return body


def secret_below(wish: Wish, secret: Secret) -> JSONObject:
    """The copy of the Secret that the volume names."""
    body = _object(wish, SECRETS, secret_name(wish.uid))
    metadata = secret.metadata
    _annotations(body)[ANNOTATION_SECRET_VERSION] = f"{metadata.uid}/{metadata.resource_version}"
    data: JSONObject = {**secret.data}
    body["type"], body["data"] = _OPAQUE, data
    return body


def dataset(wish: Wish) -> JSONObject:
    """What Fluid knows of the claim."""
    body = _object(wish, DATASETS, dataset_name(wish.uid))
    claim = wish.claim.metadata.name
    body["spec"] = {
        "mounts": [{"mountPoint": f"pvc://{claim}", "name": "data"}],
        "accessModes": list(_modes(wish)),
    }
    return body


def thin_runtime(wish: Wish) -> JSONObject:
    """By what program Fluid reads the claim."""
    body = _object(wish, THIN_RUNTIMES, dataset_name(wish.uid))
    body["spec"] = {"profileName": wish.profile}
    return body


def data_load(wish: Wish, asked: str) -> JSONObject:
    """Reads ahead; `asked`: paths of the claim, separated by commas."""
    body = _object(wish, DATA_LOADS, load_name(wish.uid, asked))
    named = (path.strip() for path in asked.split(","))
    paths = [path for path in named if fits(path, [READABLE])]
    target: JSON = [{"path": path} for path in paths or ["/"]]
    body["spec"] = {
        "dataset": {"name": dataset_name(wish.uid), "namespace": wish.below},
        "loadMetadata": True,
        "target": target,
    }
    return body


def _object(
    wish: Wish, resource: Resource, name: str, *, namespace: str | None = None
) -> JSONObject:
    source = wish.claim.metadata
    labels, annotations = wish.owner.marks(
        namespace=source.namespace, name=source.name, uid=source.uid
    )
    annotations[ANNOTATION_DIGEST] = wish.digest
    metadata: JSONObject = {
        "name": name,
        "labels": _json(labels),
        "annotations": _json(annotations),
    }
    if namespace is None:
        metadata["namespace"] = wish.below
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}


def _source(wish: Wish) -> JSONObject:
    """v1.CSIPersistentVolumeSource with the Secret by the name of its copy.

    Other Secrets of a volume are for attaching and staging, and fsType is for formatting: no
    kubelet does that here.
    """
    csi = wish.csi or CSISource()
    source: JSONObject = {"driver": csi.driver, "volumeHandle": csi.volume_handle}
    if csi.read_only:
        source["readOnly"] = True
    if attributes := travelling(csi.volume_attributes):
        source["volumeAttributes"] = _json(attributes)
    if csi.node_publish_secret_ref is not None:
        source["nodePublishSecretRef"] = {"name": secret_name(wish.uid), "namespace": wish.below}
    return source


def _modes(wish: Wish) -> list[str]:
    return list(wish.claim.spec.access_modes)


def _size(wish: Wish) -> str:
    capacity = wish.volume.spec.capacity if wish.volume is not None else {}
    requested = wish.claim.spec.resources.requests
    return capacity.get("storage") or requested.get("storage") or "1Gi"


def _json(texts: Mapping[str, str]) -> JSONObject:
    return {**texts}


def _labels(body: JSONObject) -> JSONObject:
    return _part(body, "labels")


def _annotations(body: JSONObject) -> JSONObject:
    return _part(body, "annotations")


def _part(body: JSONObject, name: str) -> JSONObject:
    metadata = body["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - made above
    part = metadata[name]
    assert isinstance(part, dict)  # noqa: S101 - made above
    return part
