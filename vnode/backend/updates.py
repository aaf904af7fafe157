"""What becomes of a change of a pod that has a copy: part by part, in it or held back."""

import enum
from dataclasses import dataclass

from vnode.backend.copies import ObservedPod


class UpdatePart(enum.StrEnum):
    """What may change in a pod that exists. Each part travels, or is held back, on its own."""

    POD = "pod"
    """Labels, annotations, images, activeDeadlineSeconds."""
    RESIZE = "resize"
    """Resources of the pod and its containers (KEP-1287)."""
    EPHEMERAL_CONTAINER = "ephemeralContainer"
    """An added ephemeral container (KEP-277)."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """A part of an update that is not in the copy, and why."""

    part: UpdatePart
    reason: str
    """CamelCase: `UpdateRejected` for what is permanent, else as in `Waiting`."""
    message: str
    permanent: bool
    """Until the pod or our policy changes; otherwise it is worth another try."""
    container: str = ""
    """Name of the container where it is about one."""
    retry_after: float | None = None
    """Seconds that the compute side asked us to wait."""


@dataclass(frozen=True, slots=True, repr=False)
class Updated:
    """A copy after an update."""

    copy: ObservedPod
    held_back: tuple[HeldBack, ...] = ()
    """What of the tenant pod is not in it."""
