"""Resizing: what a pod and its containers ask for, and the patch that makes its copy ask for it.

In: a tenant pod's spec, and the fingerprints of what was last applied. Out: the spec of a patch of
pods/resize (KEP-1287; of pod-level resources KEP-5419), of exactly those that asked for something
else since. Only CPU and memory can be resized, so only they are sent: other resources of the copy
may have been put there by somebody below.
"""

from collections.abc import Iterator, Mapping

from federation.backends.kubernetes.translate.fingerprints import POD, fingerprint
from federation.backends.translation.rules import as_object, as_objects
from vnode.kube.types import JSON, JSONObject

RESIZABLE = ("cpu", "memory")
_AMOUNTS = ("limits", "requests")


def wishes(spec: JSONObject) -> dict[str, str]:
    """Fingerprints of what the pod and each of its containers ask for.

    Raises:
        Refused: a value has not the shape that the API gives it.
    """
    found = {POD: _fingerprint(spec.get("resources"))}
    for _, container in _containers(spec):
        found[str(container.get("name"))] = _fingerprint(container.get("resources"))
    return found


def resize(spec: JSONObject, applied: Mapping[str, str]) -> JSONObject:
    """The spec of a strategic merge patch of pods/resize; empty: nothing was resized.

    Args:
        spec: the tenant pod's spec as it is now.
        applied: `wishes` of when it was last applied; of a name that is missing nothing can be
            said, so it counts as unchanged.

    Raises:
        Refused: a value has not the shape that the API gives it.
    """
    now = wishes(spec)
    changed = {name for name in now if applied.get(name, now[name]) != now[name]}
    patch: JSONObject = {}
    if POD in changed:
        patch["resources"] = _resizable(spec.get("resources"))
    for kind, container in _containers(spec):
        if container.get("name") in changed:
            part: JSONObject = {
                "name": container["name"],
                "resources": _resizable(container.get("resources")),
            }
            patch[kind] = [*as_objects(patch.get(kind)), part]
    return patch


def _containers(spec: JSONObject) -> Iterator[tuple[str, JSONObject]]:
    for kind in ("containers", "initContainers"):
        for container in as_objects(spec.get(kind)):
            yield kind, container


def _fingerprint(resources: JSON) -> str:
    wish = as_object(resources or {})
    return fingerprint([wish.get(name) or {} for name in _AMOUNTS])


def _resizable(resources: JSON) -> JSONObject:
    wish = as_object(resources or {})
    amounts = {name: as_object(wish.get(name) or {}) for name in _AMOUNTS}
    return {
        name: {resource: amount[resource] for resource in RESIZABLE if resource in amount}
        for name, amount in amounts.items()
        if any(resource in amount for resource in RESIZABLE)
    }
