"""What a pod's containers asked for when it was last applied, so that a resize is noticed.

In: a tenant pod's spec, and the annotation that its copy carries. Out: that annotation, or
`Refused` where the wish has changed since: resizing a copy is not supported yet, and must not look
as if it had happened. The copy's own spec would not tell: below, defaults are added, and webhooks
and autoscalers change what stands there.
"""

from collections.abc import Iterator
from hashlib import blake2b

import msgspec

from federation.backends.kubernetes.translate.rules import (
    JSONObject,
    Refused,
    as_object,
    as_objects,
)
from vnode.kube.types import JSON


def fingerprints(spec: JSONObject) -> str:
    """The annotation: one fingerprint for the pod and for each container, in a fixed order.

    Raises:
        Refused: a value has not the shape that the API gives it.
    """
    return ",".join(fingerprint for _, fingerprint in _wishes(spec))


def check_unchanged(spec: JSONObject, applied: str | None) -> None:
    """See that nothing was resized since `fingerprints` returned `applied`.

    Args:
        spec: the tenant pod's spec as it is now.
        applied: the copy's annotation; None (somebody removed it): nothing can be said.

    Raises:
        Refused: the pod or a container asks for something else now; the path is its resources'.
    """
    before = [] if applied is None else applied.split(",")
    # Lists of containers of a pod never change, so the two are equally long.
    for (path, now), then in zip(_wishes(spec), before, strict=False):
        if now != then:
            refused = Refused("resizing a pod is not supported yet by this virtual node")
            refused.inside(path)
            raise refused


def _wishes(spec: JSONObject) -> Iterator[tuple[str, str]]:
    yield ".resources", _fingerprint(spec.get("resources"))
    for kind in ("containers", "initContainers"):
        for index, container in enumerate(as_objects(spec.get(kind))):
            yield f".{kind}[{index}].resources", _fingerprint(container.get("resources"))


def _fingerprint(resources: JSON) -> str:
    wish = as_object(resources or {})
    amounts = [wish.get(name) or {} for name in ("limits", "requests")]
    return blake2b(msgspec.json.encode(amounts, order="deterministic"), digest_size=4).hexdigest()
