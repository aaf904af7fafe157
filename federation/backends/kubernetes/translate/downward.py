"""What a pod may learn of itself through fieldRefs, and how it stays true below.

In: a `fieldRef` of the tenant pod. Out: a literal where the compute side would answer with its own
identity (namespace, UID, node, ServiceAccount, host address), else the same reference, answered
natively. Unknown field paths raise `Refused`.

Two things differ below and cannot be helped: whole maps (`metadata.labels`, `metadata.annotations`)
and volume items show the copy's metadata, which contains our marks and the cluster's overlay and
lacks what is denied. A single denied key in an environment variable is a literal, thus right.
"""

import re

from federation.backends.kubernetes.translate.names import ANNOTATION_NAMESPACE, ANNOTATION_UID
from federation.backends.kubernetes.translate.rules import (
    JSONObject,
    Refused,
    Translation,
    as_object,
    as_text,
)
from vnode.kube.types import JSON

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_ENV_NATIVE = frozenset({"metadata.name", "status.podIP", "status.podIPs"})
_HOST_IP = frozenset({"status.hostIP", "status.hostIPs"})
_VOLUME_NATIVE = frozenset({"metadata.name", "metadata.labels", "metadata.annotations"})
_VOLUME_REWRITTEN = {
    "metadata.namespace": f"metadata.annotations['{ANNOTATION_NAMESPACE}']",
    "metadata.uid": f"metadata.annotations['{ANNOTATION_UID}']",
}


def literal(path: str, at: Translation) -> str | None:
    """Value of an environment variable's field path, or None if the compute side answers right.

    Raises:
        Refused: the path is not known.
    """
    metadata = at.request.pod.metadata
    if path in _HOST_IP:
        return None if at.policy.expose_host_ip else at.request.host_ip
    if path in _ENV_NATIVE:
        return None
    if path == "metadata.namespace":
        return metadata.namespace
    if path == "metadata.uid":
        return metadata.uid
    if path == "spec.nodeName":
        return at.request.node
    if path == "spec.serviceAccountName":
        return at.service_account
    if subscript := _SUBSCRIPT.fullmatch(path):
        key = subscript[2]
        if at.policy.travels(key):
            return None
        values = metadata.labels if subscript[1] == "labels" else metadata.annotations
        return values.get(key, "")
    raise Refused(f"field path {path!r} is not supported by this virtual node")


def volume_field(value: JSON, at: Translation) -> JSON:
    """Handler for the fieldRef of a downward API volume item."""
    reference = as_object(value)
    path = as_text(reference.get("fieldPath"))
    if path in _VOLUME_NATIVE or _SUBSCRIPT.fullmatch(path):
        return value
    rewritten = _VOLUME_REWRITTEN.get(path)
    if rewritten is None:
        raise Refused(f"field path {path!r} is not supported by this virtual node")
    result: JSONObject = {**reference, "fieldPath": rewritten}
    return result
