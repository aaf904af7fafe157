"""The PersistentVolume that stands in the tenant for data that lies in compute clusters. Pure.

In: a claim of StorageClass `vnode-shared`. Out: a volume that is bound to this very claim (its UID)
and holds nothing. No kubelet can mount it: its CSI driver exists nowhere, and its node affinity
keeps pods on virtual nodes of clusters with shared claims, for the scheduler as for a kubelet that
is handed such a pod all the same. `Retain`, so that Kubernetes asks nobody to delete anything.
"""

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    Owner,
)
from federation.claims.objects import Claim, Volume
from vnode.kube.types import UID

STORAGE_CLASS = "vnode-shared"
DRIVER = "vnode.dev"
NODE_LABEL, NODE_LABEL_VALUE = "vnode.dev/claims", "shared"
"""On virtual nodes of clusters where claims are shared."""


def placeholder_name(claim: UID) -> str:
    """Name of the volume for the claim of that UID."""
    return f"vnode-{claim}"


def wants_placeholder(claim: Claim) -> bool:
    """Whether a claim waits for a volume of ours.

    One that names its volume is pre-bound: somebody else makes that. One that asks for a copy of
    other data cannot be served.
    """
    spec = claim.spec
    return (
        spec.storage_class_name == STORAGE_CLASS
        and not spec.volume_name
        and spec.data_source is None
        and spec.data_source_ref is None
        and claim.metadata.deletion_timestamp is None
    )


def placeholder(claim: Claim, *, owner: Owner) -> dict[str, object]:
    """The volume for a claim, of the size and kind that it asks for."""
    metadata = claim.metadata
    labels, annotations = owner.marks(
        namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
    )
    on_virtual_nodes = {"key": NODE_LABEL, "operator": "In", "values": [NODE_LABEL_VALUE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": placeholder_name(metadata.uid),
            "labels": labels,
            "annotations": annotations,
        },
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests.get("storage", "0")},
            "accessModes": claim.spec.access_modes,
            "volumeMode": claim.spec.volume_mode,
            "storageClassName": STORAGE_CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata.namespace,
                "name": metadata.name,
                "uid": metadata.uid,
            },
            "csi": {"driver": DRIVER, "volumeHandle": f"{metadata.namespace}/{metadata.name}"},
            "nodeAffinity": {
                "required": {"nodeSelectorTerms": [{"matchExpressions": [on_virtual_nodes]}]}
            },
        },
    }


def is_placeholder(volume: Volume, *, owner: Owner) -> bool:
    """Whether a volume was made by us, for this tenant cluster, and is what it was made as."""
    metadata, spec = volume.metadata, volume.spec
    return (
        spec.csi is not None
        and spec.csi.driver == DRIVER
        and spec.claim_ref is not None
        and metadata.name == placeholder_name(spec.claim_ref.uid)
        and metadata.labels.get(LABEL_MANAGED_BY) == MANAGED_BY
        and metadata.annotations.get(ANNOTATION_CLUSTER_UID) == owner.cluster_uid
    )
