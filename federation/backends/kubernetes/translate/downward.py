"""What a pod may learn of itself through fieldRefs, and how it stays true below.

In: the `fieldRef`s of a tenant pod. Out, for each, one of three: the same reference, where the copy
answers right; a literal, for what a variable may ask and never changes (namespace, UID, node,
ServiceAccount, host address); or a reference to an annotation of the copy (`carried`) that holds
the answer. So are answered whole maps, since the copy's labels and annotations have our marks and
the cluster's overlay among them, and single keys that do not travel. The annotations are written
together with those that travel: a change of the tenant pod reaches files and restarted containers.
Unknown field paths raise `Refused`.

resourceFieldRefs are not touched: a limit that is not set is the allocatable of the node that the
container really runs on, not of the virtual node. Format: k8s.io/kubernetes pkg/fieldpath.
"""

import re
from collections.abc import Iterator
from hashlib import blake2b

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_FIELD,
    ANNOTATION_NAMESPACE,
    ANNOTATION_UID,
)
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.downward import format_map
from federation.backends.translation.rules import Refused, as_object, as_objects, as_text
from vnode.kube.types import JSON, JSONObject

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_MAPS = ("metadata.labels", "metadata.annotations")
_ENV_NATIVE = frozenset({"metadata.name", "status.podIP", "status.podIPs"})
_HOST_IP = frozenset({"status.hostIP", "status.hostIPs"})
_VOLUME_MARKS = {"metadata.namespace": ANNOTATION_NAMESPACE, "metadata.uid": ANNOTATION_UID}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")


def variable(source: JSONObject, at: Translation) -> JSONObject:
    """An environment variable with a fieldRef, so that its value is the tenant pod's.

    Raises:
        Refused: the field path is not known.
    """
    name, reference = source.get("name"), as_object(as_object(source["valueFrom"])["fieldRef"])
    path = as_text(reference.get("fieldPath"))
    if path in _ENV_NATIVE or (path in _HOST_IP and at.sees_host):
        return source
    if (value := _literal(path, at)) is not None:
        return {"name": name, "value": value}
    if not _SUBSCRIPT.fullmatch(path):
        raise Refused(f"field path {path!r} is not supported by this virtual node")
    return {"name": name, "valueFrom": {"fieldRef": _reference(reference, path, at)}}


def _literal(path: str, at: Translation) -> str | None:
    metadata = at.request.pod.metadata
    if path in _HOST_IP:
        return at.request.host_ip
    if path == "metadata.namespace":
        return metadata.namespace
    if path == "metadata.uid":
        return metadata.uid
    if path in ("spec.nodeName", "spec.host"):
        return at.request.node
    return at.service_account if path == "spec.serviceAccountName" else None


def volume_field(value: JSON, at: Translation) -> JSON:
    """Handler for the fieldRef of a downward API volume item."""
    reference = as_object(value)
    path = as_text(reference.get("fieldPath"))
    if path == "metadata.name":
        return value
    if (mark := _VOLUME_MARKS.get(path)) is not None:
        return _annotation(reference, mark)
    if path in _MAPS or _SUBSCRIPT.fullmatch(path):
        return _reference(reference, path, at)
    raise Refused(f"field path {path!r} is not supported by this virtual node")


def _reference(reference: JSONObject, path: str, at: Translation) -> JSONObject:
    return _annotation(reference, _mark(path)) if _needs_mark(path, at) else reference


def _annotation(reference: JSONObject, key: str) -> JSONObject:
    return {**reference, "fieldPath": f"metadata.annotations['{key}']"}


def _mark(path: str) -> str:
    """The annotation that answers for a field path."""
    return ANNOTATION_FIELD + blake2b(path.encode(), digest_size=8).hexdigest()


def _needs_mark(path: str, at: Translation) -> bool:
    if path in _MAPS:
        return True
    found = _SUBSCRIPT.fullmatch(path)
    if found is None:
        return False
    labels = found[1] == "labels"
    overlay = at.policy.overlay_labels if labels else at.policy.overlay_annotations
    return found[2] in overlay or not at.policy.travels(found[2])


def carried(spec: JSONObject, at: Translation) -> dict[str, str]:
    """The annotations with which a copy answers for fields of its tenant pod.

    Args:
        spec: the tenant pod's spec.
        at: the translation.

    Raises:
        Refused: the spec has not the shape that the API gives it.
    """
    metadata = at.request.pod.metadata
    maps = {"labels": metadata.labels, "annotations": metadata.annotations}
    answers: dict[str, str] = {}
    for path in filter(lambda path: _needs_mark(path, at), _paths(spec)):
        if found := _SUBSCRIPT.fullmatch(path):
            answers[_mark(path)] = maps[found[1]].get(found[2], "")
        else:
            answers[_mark(path)] = format_map(maps[path.removeprefix("metadata.")])
    return dict(sorted(answers.items()))


def _paths(spec: JSONObject) -> Iterator[str]:
    """Field paths of all fieldRefs of a pod."""
    items: list[JSONObject] = []
    for volume in as_objects(spec.get("volumes")):
        sources = [volume, *as_objects(as_object(volume.get("projected") or {}).get("sources"))]
        for source in sources:
            items += as_objects(as_object(source.get("downwardAPI") or {}).get("items"))
    for kind in _CONTAINERS:
        for container in as_objects(spec.get(kind)):
            variables = as_objects(container.get("env"))
            items += [as_object(variable.get("valueFrom") or {}) for variable in variables]
    for item in items:
        if (reference := item.get("fieldRef")) is not None:
            yield as_text(as_object(reference).get("fieldPath"))
