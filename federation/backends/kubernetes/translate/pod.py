"""Tenant pod to compute pod.

In: a `PodRequest` and the settings of one compute cluster and pool. Out: JSON ready for the compute
API. Pure and deterministic: the same request gives the same bytes. What a pod may not carry down
raises `Rejected`, which names the field of the tenant's pod.

    PodSpec --fields.POD_SPEC--> what travels --scheduling.complete--> spec
    metadata ------------------> labels_and_annotations -------------> metadata

Never travel: ownerReferences, finalizers, managedFields, generateName, resourceVersion, uid,
nodeName (DESIGN 4). What changes later is `update`'s matter.
"""

import msgspec

from federation.backends.kubernetes.translate import (
    downward,
    fields,
    images,
    metadata,
    resources,
    scheduling,
    security,
)
from federation.backends.kubernetes.translate.eci_specs import spec_annotations
from federation.backends.kubernetes.translate.fingerprints import as_mark
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_COMPUTE_SCHEDULING,
    ANNOTATION_DIGEST,
    ANNOTATION_IMAGES,
    ANNOTATION_RESOURCES,
    START_GATE,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.translate.request import (
    SERVICE_ACCOUNT,
    decode_spec,
    translation,
)
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import Refused, rejected, walk
from vnode.backend import PodRequest
from vnode.kube.types import JSONObject


def translate(
    request: PodRequest,
    *,
    owner: Owner,
    namespaces: NamespaceMapping,
    policy: TranslationPolicy,
) -> JSONObject:
    """The complete Pod to create in the compute cluster.

    Parts of the result may be shared with each other: treat it as read-only.

    Raises:
        Rejected: the pod cannot run here as it is; names the field.
        Waiting: one of its volumes cannot be had below; names the field.
    """
    source = decode_spec(request)
    at = translation(request, source, owner=owner, namespaces=namespaces, policy=policy)
    with rejected("metadata.annotations"):
        security.check_apparmor_annotations(at)
    labels, annotations = metadata.labels_and_annotations(at)
    with rejected("spec"):
        spec = walk(source, fields.POD_SPEC, at)
    asked = _compute_scheduling(at)
    with rejected("spec"):
        scheduling.complete(spec, asked, at)
        annotations[ANNOTATION_RESOURCES] = as_mark(resources.wishes(source))
        annotations[ANNOTATION_IMAGES] = as_mark(images.wishes(source))
        annotations.update(downward.carried(source, at))
        if policy.eci is not None:
            specs = spec_annotations(source, policy.eci)
            annotations.update({**specs, **policy.overlay_annotations})
    if source.get("ephemeralContainers"):
        annotations[ANNOTATION_DIGEST] = ""  # The API takes them in no create: an update follows.
    spec["serviceAccountName"] = SERVICE_ACCOUNT
    spec["automountServiceAccountToken"] = False
    spec["enableServiceLinks"] = False
    if request.gated:
        spec["schedulingGates"] = [{"name": START_GATE}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": request.pod.metadata.name,
            "namespace": at.namespace,
            "labels": {**labels},
            "annotations": {**annotations},
        },
        "spec": spec,
    }


def _compute_scheduling(at: Translation) -> JSONObject:
    text = at.request.pod.metadata.annotations.get(ANNOTATION_COMPUTE_SCHEDULING)
    if text is None:
        return {}
    with rejected(f"metadata.annotations[{ANNOTATION_COMPUTE_SCHEDULING}]"):
        try:
            asked = msgspec.json.decode(text)
        except msgspec.MsgspecError as error:
            raise Refused(f"is not JSON: {error}") from None
        return scheduling.check_request(walk(asked, fields.COMPUTE_SCHEDULING, at), at)
