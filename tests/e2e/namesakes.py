"""Objects of one tenant as another one would have them, under the same names. Pure.

In: an object as its API server shows it. Out: what to create elsewhere, or None for what is not to
have a namesake. Values and sizes are others, and all pods are members of gangs.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.e2e import pod_groups

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = "of the twin: "
"""Every value begins so."""
WITH_VALUES = ("configmaps", "secrets")
_PLACEHOLDERS = ("app.kubernetes.io/managed-by", "vnode")
"""Label of volumes that an agent made for claims."""
_SMALL = {"requests": {"cpu": "1m", "memory": "4Mi"}}


def of(kind: str, original: Any, *, claims: bool) -> Any:
    """The namesake of an object of that kind (plural); `claims`: pods mount theirs."""
    return _pod(original, claims=claims) if kind == "pods" else _BODIES[kind](original)


def _pod(original: Any, *, claims: bool) -> Any:
    """The same on the node of the same name, small, with a token of its own account."""
    spec = dict(original["spec"])
    if not spec.get("nodeName", "").startswith("vnode-"):
        return None
    for gone in ("resources", "ephemeralContainers", "priority", "resourceClaims"):
        spec.pop(gone, None)
    volumes = [volume for volume in spec.get("volumes", []) if not _of_account(volume)]
    spec["volumes"] = volumes if claims else list(map(_empty, volumes))
    for group in ("initContainers", "containers"):
        if group in spec:
            spec[group] = [_small(container) for container in spec[group]]
    metadata = original["metadata"]
    kept = {"name": metadata["name"], "namespace": metadata["namespace"]}
    for key, gang in (("labels", pod_groups.LABELS), ("annotations", pod_groups.ANNOTATIONS)):
        kept[key] = {**metadata.get(key, {}), **gang}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec}


def _of_account(volume: Any) -> bool:
    return str(volume["name"]).startswith("kube-api-access-")


def _empty(volume: Any) -> Any:
    """A folder instead of a claim that nobody has made."""
    claimed = {"persistentVolumeClaim", "ephemeral"} & volume.keys()
    return {"name": volume["name"], "emptyDir": {}} if claimed else volume


def _small(container: Any) -> Any:
    mounts = [
        mount
        for mount in container.get("volumeMounts", [])
        if not mount["name"].startswith("kube-api-access-")
    ]
    return {**container, "volumeMounts": mounts, "resources": _SMALL}


def _values(original: Any) -> Any:
    """The same keys, with values that tell whose they are."""
    secret = "type" in original
    kind = "Secret" if secret else "ConfigMap"
    marked = {
        key: base64.b64encode((MARK + key).encode()).decode() if secret else MARK + key
        for key in original.get("data") or {}
    }
    metadata = {key: original["metadata"][key] for key in ("name", "namespace")}
    made = {"apiVersion": "v1", "kind": kind, "metadata": metadata, "data": marked}
    # Other types are checked for what is in them.
    return {**made, "type": "Opaque"} if secret else made


def _namespace(original: Any) -> Any:
    return {"metadata": {"name": original["metadata"]["name"]}}


def _volume(original: Any) -> Any:
    """The same data, free for a claim; what an agent made is made by the other's, too."""
    metadata, spec = original["metadata"], dict(original["spec"])
    if _PLACEHOLDERS in metadata.get("labels", {}).items():
        return None
    spec.pop("claimRef", None)
    return {"metadata": {"name": metadata["name"]}, "spec": spec}


def _claim(original: Any) -> Any:
    """For the volume of the same name, if that was not chosen by others."""
    metadata, spec = original["metadata"], dict(original["spec"])
    if spec.get("storageClassName"):
        spec.pop("volumeName", None)
    notes = metadata.get("annotations", {})
    kept = {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "labels": metadata.get("labels", {}),
        "annotations": {k: v for k, v in notes.items() if not k.startswith("pv.kubernetes.io/")},
    }
    return {"metadata": kept, "spec": spec}


_BODIES: dict[str, Callable[[Any], Any]] = {
    "namespaces": _namespace,
    "persistentvolumes": _volume,
    "persistentvolumeclaims": _claim,
    **dict.fromkeys(WITH_VALUES, _values),
}
