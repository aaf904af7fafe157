"""Patches as an API server applies them, as far as pods and events need it. Pure.

Which lists merge, and by which key, stands in the patchStrategy and patchMergeKey tags of
k8s.io/api/core/v1 Pod; all other lists are atomic. `$patch: replace` in a map that is not there yet
drops the map, as in k8s.io/apimachinery.
"""

from vnode.kube.types import JSON

Object = dict[str, JSON]

_MERGE_KEYS = {
    "conditions": "type",
    "podIPs": "ip",
    "hostIPs": "ip",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "schedulingGates": "name",
}


def merge(current: JSON, patch: JSON) -> JSON:
    """RFC 7386: JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    result = dict(current) if isinstance(current, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge(result.get(name), value)
    return result


def strategic_merge(current: JSON, patch: JSON, *, field: str = "") -> JSON:
    """Strategic merge patch of a Pod or a part of it."""
    if isinstance(patch, list) and field in _MERGE_KEYS:
        return _merge_list(current, patch, _MERGE_KEYS[field])
    if not isinstance(patch, dict):
        return patch
    result = dict(current) if isinstance(current, dict) else {}
    if patch.get("$patch") == "replace":
        return {k: v for k, v in patch.items() if k != "$patch"}
    for name, value in patch.items():
        undone = name not in result and isinstance(value, dict) and "$patch" in value
        if value is None or undone:
            result.pop(name, None)
        else:
            result[name] = strategic_merge(result.get(name), value, field=name)
    return result


def _merge_list(current: JSON, patch: list[JSON], key: str) -> list[JSON]:
    parts = [part for part in patch if isinstance(part, dict)]
    replaced = any(part == {"$patch": "replace"} for part in parts)
    merged: dict[str, JSON] = {}
    if isinstance(current, list) and not replaced:
        merged = {str(item[key]): item for item in current if isinstance(item, dict)}
    for part in parts:
        if part.get("$patch") == "delete":
            merged.pop(str(part[key]), None)
        elif "$patch" not in part:
            merged[str(part[key])] = strategic_merge(merged.get(str(part[key])), part)
    return list(merged.values())
