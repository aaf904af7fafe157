"""What a place can do, and how much of it is seen: what decisions about pods rest on."""

import enum
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a backend can do. A pod that needs a missing one is refused with its name."""

    token_refresh: bool
    """ServiceAccount tokens of running pods can be renewed."""
    secret_objects: bool
    """Secrets stay Secrets; otherwise their values would be inlined."""
    cluster_dns: bool
    """Pods of one namespace find each other by DNS name."""
    upgrade_streams: bool
    """exec, attach and port-forward as an opaque HTTP upgrade (`PodBackend.upgrade`)."""
    session_streams: bool
    """exec and attach as stdin/stdout/stderr/resize/exit objects (`PodBackend.session`).

    Only WebSocket clients get through: the Node has to say so (`NodeController`, `websockets`).
    """
    start_gates: bool
    """Copies can be made that do not start before `PodBackend.ungate` (`vnode.pods.start_once`)."""
    live_config: bool = True
    """Changes of ConfigMaps and Secrets reach copies that exist; otherwise they stay as made."""
    inline_secrets: bool = False
    """Weaker form of `secret_objects`, by configuration: values become part of the copy."""
    start_tokens: int | None = None
    """Weaker form of `token_refresh`, by configuration: tokens come with `PodRequest.tokens`, live
    for so many seconds and are never renewed. None: there is no such form."""


class Sight(enum.Enum):
    """How much a backend knows of what is below for one tenant namespace."""

    COMPLETE = enum.auto()
    """A full listing was seen: what `observed` does not have is not there."""
    UNKNOWN = enum.auto()
    """Not looked at yet."""
    BARRED = enum.auto()
    """No place for this namespace (not prepared, not ours): nothing can be made there, and what may
    have been made earlier cannot be seen."""
    NOWHERE = enum.auto()
    """Pods of this namespace are never brought here, by the configuration of now: nothing is looked
    at but by `confirm_gone`."""
