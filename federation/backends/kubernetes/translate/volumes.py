"""Volumes: references renamed, projected ServiceAccount tokens rebuilt, claims by policy.

In: a pod's volumes after their own tables. Out: the same, with serviceAccountToken sources turned
into items of the Secret that `PodBackend.put_tokens` keeps for the pod. So a pod that talks to
"its" API server talks to the tenant's, with the tenant's CA and namespace. Pods with claims wait,
unless the policy shares them.
"""

from federation.backends.kubernetes.translate.names import object_name_below, token_secret_name
from federation.backends.kubernetes.translate.policy import PvcMode
from federation.backends.kubernetes.translate.translation import Translation
from federation.backends.translation.rules import Refused, as_object, as_objects, as_text
from vnode.backend import ReferenceKind
from vnode.kube.types import JSON, JSONObject
from vnode.pods.objects.references import token_key

NOT_SUPPORTED = "VolumeNotSupported"
"""Reason with which pods wait whose volumes are of a type that cannot be had below."""
_DATA_KEY_MAX = 253


def config_map_name(value: JSON, at: Translation) -> JSON:
    """Handler for names of ConfigMaps."""
    return object_name_below(ReferenceKind.CONFIG_MAP, as_text(value))


def secret_name(value: JSON, at: Translation) -> JSON:
    """Handler for names of Secrets."""
    return object_name_below(ReferenceKind.SECRET, as_text(value))


def claim(value: JSON, at: Translation) -> JSON:
    """Handler for persistentVolumeClaim."""
    if at.policy.pvc is not PvcMode.NONE:
        return value
    text = "PersistentVolumeClaims are not shared with this virtual node's cluster"
    raise Refused(text, waits_as=NOT_SUPPORTED)


def with_tokens(value: JSON, at: Translation) -> JSON:
    """Handler for `volumes`: rebuilds the token sources of projected volumes."""
    result: list[JSON] = []
    for index, volume in enumerate(as_objects(value)):
        projected = volume.get("projected")
        if projected is not None:
            try:
                _rebuild(as_object(projected), volume=as_text(volume.get("name")), at=at)
            except Refused as refused:
                refused.inside(f"[{index}].projected.sources")
                raise
        result.append(volume)
    return result


def _rebuild(projected: JSONObject, *, volume: str, at: Translation) -> None:
    sources: list[JSON] = []
    for source in as_objects(projected.get("sources")):
        token = source.pop("serviceAccountToken", None)
        if token is not None:
            source["secret"] = _token_item(as_object(token), volume=volume, at=at)
        sources.append(source)
    projected["sources"] = sources


def _token_item(token: JSONObject, *, volume: str, at: Translation) -> JSONObject:
    seconds = token.get("expirationSeconds")
    if seconds is not None and not isinstance(seconds, int):
        raise Refused("expirationSeconds must be a whole number")
    key = token_key(
        volume=volume, audience=as_text(token.get("audience")), expiration_seconds=seconds
    ).data_key
    if len(key) > _DATA_KEY_MAX:
        raise Refused("a token audience this long is not supported by this virtual node")
    return {
        "name": token_secret_name(at.request.pod.metadata.uid),
        "items": [{"key": key, "path": as_text(token.get("path"))}],
    }
