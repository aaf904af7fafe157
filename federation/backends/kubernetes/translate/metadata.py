"""Labels and annotations of a copy: the tenant's that travel, the cluster's overlay, our marks.

In: a pod's metadata and the policy. Out: the two maps, and which of their keys a later update may
remove again. Our own marks are written last, so nothing can imitate them.
"""

from collections.abc import Mapping

from federation.backends.kubernetes.translate import security
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_APPLIED_KEYS,
    ANNOTATION_DIGEST,
    ANNOTATION_GENERATION,
    ANNOTATION_NODE,
)
from federation.backends.kubernetes.translate.translation import Translation
from vnode.kube.types import JSON, JSONObject, ObjectMeta


def labels_and_annotations(at: Translation) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations that the copy shall have; refused ones are left out."""
    refused = security.refused_annotations(at)
    policy, metadata = at.policy, at.request.pod.metadata
    labels = {key: value for key, value in metadata.labels.items() if policy.travels(key)}
    annotations = {
        key: value
        for key, value in metadata.annotations.items()
        if policy.travels(key) and key not in refused
    }
    labels.update(policy.overlay_labels)
    annotations.update(policy.overlay_annotations)
    applied = ";".join(",".join(sorted(keys)) for keys in (labels, annotations))
    own_labels, own_annotations = own_marks(at)
    labels.update(own_labels)
    annotations.update(own_annotations)
    annotations[ANNOTATION_APPLIED_KEYS] = applied
    return labels, annotations


def own_marks(at: Translation) -> tuple[dict[str, str], dict[str, str]]:
    """What we write of ourselves on a pod's copy: owner, source and what was last applied."""
    metadata = at.request.pod.metadata
    labels, annotations = at.owner.marks(
        namespace=metadata.namespace, name=metadata.name, uid=metadata.uid
    )
    annotations[ANNOTATION_NODE] = at.request.node
    annotations[ANNOTATION_DIGEST] = at.request.digest
    annotations[ANNOTATION_GENERATION] = str(metadata.generation)
    return labels, annotations


def changed(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    present: ObjectMeta,
    *,
    applied: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset()),
) -> JSONObject:
    """Merge patch of metadata to these labels and annotations: what others added stays.

    Args:
        labels: shall be there.
        annotations: shall be there.
        present: what is there.
        applied: keys of labels and annotations that we wrote earlier; those no longer wanted are
            removed.
    """
    changes: JSONObject = {
        "labels": _difference(labels, present.labels, applied[0]),
        "annotations": _difference(annotations, present.annotations, applied[1]),
    }
    return {name: change for name, change in changes.items() if change}


def _difference(
    wanted: Mapping[str, str], present: Mapping[str, str], applied: frozenset[str]
) -> JSONObject:
    patch: dict[str, JSON] = {
        key: value for key, value in wanted.items() if present.get(key) != value
    }
    patch.update((key, None) for key in applied if key in present and key not in wanted)
    return patch


def applied_keys(below: ObjectMeta) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of the labels and annotations that were last written on a copy."""
    labels, _, annotations = below.annotations.get(ANNOTATION_APPLIED_KEYS, "").partition(";")
    return frozenset(filter(None, labels.split(","))), frozenset(
        filter(None, annotations.split(","))
    )
