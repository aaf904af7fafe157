"""Images of containers: which of them the tenant has changed since they were last applied.

In: a tenant pod's spec, its copy's spec and the fingerprints of what was last applied. Out: the
images to set. An image that a webhook below has rewritten is left as it is until the tenant's own
image changes: setting it back would restart the container.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from federation.backends.kubernetes.translate.fingerprints import fingerprint
from federation.backends.translation.rules import as_objects, as_text
from vnode.kube.types import JSONObject


class NewImage(NamedTuple):
    """An image to set in the copy."""

    kind: str
    """`containers` or `initContainers`."""
    container: str
    image: str


def wishes(spec: JSONObject) -> dict[str, str]:
    """Fingerprints of the images of all containers that may change.

    Raises:
        Refused: a value has not the shape that the API gives it.
    """
    return {new.container: fingerprint(new.image) for new in _images(spec)}


def changed(
    spec: JSONObject, below: JSONObject, applied: Mapping[str, str]
) -> tuple[NewImage, ...]:
    """The images that the copy shall have and has not.

    Args:
        spec: the tenant pod's spec as it is now.
        below: its copy's spec as it is now.
        applied: `wishes` of when they were last applied; a name that is missing there is judged
            by what the copy has.

    Raises:
        Refused: a value has not the shape that the API gives it.
    """
    present = {new.container: new.image for new in _images(below)}
    return tuple(
        new
        for new in _images(spec)
        if new.image
        and present.get(new.container, new.image) != new.image
        and applied.get(new.container) != fingerprint(new.image)
    )


def _images(spec: JSONObject) -> Iterator[NewImage]:
    for kind in ("containers", "initContainers"):
        for container in as_objects(spec.get(kind)):
            yield NewImage(kind, as_text(container.get("name")), as_text(container.get("image")))
