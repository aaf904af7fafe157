"""Tenant pod to compute pod: create and update.

In: a `PodRequest` and the settings of one compute cluster and pool. Out: JSON ready for the compute
API. Pure and deterministic: the same request gives the same bytes. What a pod may not carry down
raises `Rejected`, which names the field of the tenant's pod.

    PodSpec --fields.POD_SPEC--> what travels --scheduling.complete--> spec
    metadata ------------------> labels_and_annotations -------------> metadata

Never travel: ownerReferences, finalizers, managedFields, generateName, resourceVersion, uid,
nodeName (DESIGN 4).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from msgspec import Struct

from federation.backends.kubernetes.translate import env, fields, metadata, resources, scheduling
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_COMPUTE_SCHEDULING,
    ANNOTATION_DIGEST,
    ANNOTATION_RESOURCES,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.translate.rules import (
    JSONObject,
    Refused,
    Translation,
    as_object,
    walk,
)
from vnode.backend import PodRequest, Rejected
from vnode.kube.types import JSON, Pod

SERVICE_ACCOUNT = "default"
"""Every copy runs as this ServiceAccount of the compute namespace, without a token of it."""


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
    """
    source = _decode(request)
    at = _translation(request, source, owner=owner, namespaces=namespaces, policy=policy)
    with _rejected("metadata.annotations"):
        labels, annotations = metadata.labels_and_annotations(at)
    with _rejected("spec"):
        spec = walk(source, fields.POD_SPEC, at)
    asked = _compute_scheduling(at)
    with _rejected("spec"):
        scheduling.complete(spec, asked, at)
        annotations[ANNOTATION_RESOURCES] = resources.fingerprints(source)
    spec["serviceAccountName"] = SERVICE_ACCOUNT
    spec["automountServiceAccountToken"] = False
    spec["enableServiceLinks"] = False
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


def update_patch(
    request: PodRequest,
    below: Pod,
    *,
    owner: Owner,
    namespaces: NamespaceMapping,
    policy: TranslationPolicy,
) -> JSONObject | None:
    """Strategic merge patch that brings an existing copy up to date, or None if it is.

    What travels: labels, annotations, images and activeDeadlineSeconds (to set or lower). Resizes
    and ephemeral containers do not yet: such a change is refused as a whole, so that the copy never
    claims to be what the pod is. What others wrote on the copy stays. With the same digest only our
    own marks are put right, so that a webhook below that changes an image is not fought.
    Conditional on the copy's UID.

    Args:
        request: the tenant pod as it is now.
        below: its copy as it is now, spec included.
        owner: who we are.
        namespaces: see `translate`.
        policy: see `translate`.

    Raises:
        Rejected: the change may not travel; names the field.
    """
    at = _translation(request, {}, owner=owner, namespaces=namespaces, policy=policy)
    applied_labels = applied_annotations = frozenset[str]()
    same = below.metadata.annotations.get(ANNOTATION_DIGEST) == request.digest
    if same:
        labels, annotations = metadata.own_marks(at)
    else:
        source = _decode(request)
        with _rejected("spec"):
            _check_change(source, below)
            fingerprints = resources.fingerprints(source)
        with _rejected("metadata.annotations"):
            labels, annotations = metadata.labels_and_annotations(at)
        annotations[ANNOTATION_RESOURCES] = fingerprints
        applied_labels, applied_annotations = metadata.applied_keys(below.metadata)
    changed: JSONObject = {
        "labels": metadata.difference(labels, below.metadata.labels, applied=applied_labels),
        "annotations": metadata.difference(
            annotations, below.metadata.annotations, applied=applied_annotations
        ),
    }
    changed = {name: value for name, value in changed.items() if value}
    spec = {} if same else _changed_spec(_mutable(request.pod), _mutable(below))
    if not changed and not spec:
        return None
    patch: JSONObject = {"metadata": {"uid": below.metadata.uid, **changed}}
    if spec:
        patch["spec"] = spec
    return patch


def _check_change(source: JSONObject, below: Pod) -> None:
    """Refuse what the API lets users change in a bound pod, and we do not change below."""
    if source.get("ephemeralContainers"):
        refused = Refused("ephemeral containers are not supported yet by this virtual node")
        refused.inside(".ephemeralContainers")
        raise refused
    resources.check_unchanged(source, below.metadata.annotations.get(ANNOTATION_RESOURCES))


class _Image(Struct):
    name: str = ""
    image: str = ""


class _Mutable(Struct, rename="camel"):
    """The parts of a PodSpec that are changed in a copy."""

    containers: list[_Image] | None = None
    init_containers: list[_Image] | None = None
    active_deadline_seconds: int | None = None


def _mutable(pod: Pod) -> _Mutable:
    try:
        return msgspec.json.decode(pod.spec, type=_Mutable)
    except msgspec.MsgspecError as error:
        raise Rejected(f"spec: not a PodSpec: {error}", field="spec") from None


def _changed_spec(wanted: _Mutable, present: _Mutable) -> JSONObject:
    spec: JSONObject = {
        "containers": _changed_images(wanted.containers, present.containers),
        "initContainers": _changed_images(wanted.init_containers, present.init_containers),
    }
    deadline, current = wanted.active_deadline_seconds, present.active_deadline_seconds
    if deadline is not None and (current is None or deadline < current):
        spec["activeDeadlineSeconds"] = deadline
    return {name: value for name, value in spec.items() if value}


def _changed_images(wanted: list[_Image] | None, present: list[_Image] | None) -> JSON:
    images = {container.name: container.image for container in present or ()}
    return [
        {"name": container.name, "image": container.image}
        for container in wanted or ()
        if container.image and images.get(container.name, container.image) != container.image
    ]


def _decode(request: PodRequest) -> JSONObject:
    with _rejected("spec"):
        spec: JSON = msgspec.json.decode(request.pod.spec)
        return as_object(spec)


def _translation(
    request: PodRequest,
    spec: JSONObject,
    *,
    owner: Owner,
    namespaces: NamespaceMapping,
    policy: TranslationPolicy,
) -> Translation:
    namespace = namespaces.below(request.pod.metadata.namespace)
    if namespace is None:
        raise Rejected(
            f"namespace {request.pod.metadata.namespace} is not forwarded by this virtual node",
            field="metadata.namespace",
        )
    account = spec.get("serviceAccountName")
    return Translation(
        request=request,
        owner=owner,
        namespaces=namespaces,
        policy=policy,
        namespace=namespace,
        service_account=account if isinstance(account, str) else SERVICE_ACCOUNT,
        service_env=env.service_variables(
            request.service_env, service_links=spec.get("enableServiceLinks") is not False
        ),
    )


def _compute_scheduling(at: Translation) -> JSONObject:
    text = at.request.pod.metadata.annotations.get(ANNOTATION_COMPUTE_SCHEDULING)
    if text is None:
        return {}
    with _rejected(f"metadata.annotations[{ANNOTATION_COMPUTE_SCHEDULING}]"):
        try:
            asked: JSON = msgspec.json.decode(text)
        except msgspec.MsgspecError as error:
            raise Refused(f"is not JSON: {error}") from None
        return scheduling.check_request(walk(asked, fields.COMPUTE_SCHEDULING, at), at)


@contextmanager
def _rejected(root: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        path = refused.path(root)
        raise Rejected(f"{path}: {refused.text}", field=path) from None
