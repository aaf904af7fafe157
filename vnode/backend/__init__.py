"""The seam: what `vnode` needs from a place where pods run.

Data goes down as `PodRequest` (everything that one pod needs, already fetched from the tenant) and
comes up as `ObservedPod` (what exists below now). All lifecycle and safety rules live in
`vnode.pods`; a backend only knows how to create, change, delete, observe and stream. What it cannot
do is a `Capabilities` field that is False, and a pod that needs it is refused with the reason.

    pod_backend     the place itself: the Protocol that every backend has
    capabilities    what it can do, and how much of it is seen
    copies          a pod on its way down, its copy on the way up
    updates         what becomes of a change of a pod
    references      ConfigMaps and Secrets that pods refer to
    tokens          of ServiceAccounts
    streams         logs, exec, attach and port-forward
    errors          why something was not done
    capacity        what a virtual node publishes of the place

Contract of every backend:

* A copy carries the tenant pod's UID. `apply` never changes, adopts or deletes what it did not
  create for this tenant cluster; such an object raises `NameConflict`.
* Every change and deletion is conditional on the copy's own UID (`ObservedPod.handle`).
* `observed` reads memory only. A copy that went away stays visible with `gone=True` and its last
  status until `forget`, so that final states are not lost between two events.
* Texts that reach tenants (`Waiting`, `Rejected`, statuses, stream errors) hold no compute names.
"""

from vnode.backend.capabilities import Capabilities, Sight
from vnode.backend.capacity import Capacity, CapacitySource
from vnode.backend.copies import ObservedPod, PodEvent, PodRequest, WaitingReason
from vnode.backend.errors import BackendError, InLine, NameConflict, Rejected, StreamError, Waiting
from vnode.backend.pod_backend import PodBackend
from vnode.backend.references import (
    API_SERVER_VARIABLES,
    SERVICE_VARIABLES,
    ObjectRef,
    Reference,
    ReferenceKind,
)
from vnode.backend.streams import (
    ExecSession,
    LogOptions,
    SplicedConnection,
    StreamRequest,
    StreamVerb,
    UpgradedConnection,
)
from vnode.backend.tokens import Token, TokenKey
from vnode.backend.updates import HeldBack, Updated, UpdatePart

__all__ = [
    "API_SERVER_VARIABLES",
    "SERVICE_VARIABLES",
    "BackendError",
    "Capabilities",
    "Capacity",
    "CapacitySource",
    "ExecSession",
    "HeldBack",
    "InLine",
    "LogOptions",
    "NameConflict",
    "ObjectRef",
    "ObservedPod",
    "PodBackend",
    "PodEvent",
    "PodRequest",
    "Reference",
    "ReferenceKind",
    "Rejected",
    "Sight",
    "SplicedConnection",
    "StreamError",
    "StreamRequest",
    "StreamVerb",
    "Token",
    "TokenKey",
    "UpdatePart",
    "Updated",
    "UpgradedConnection",
    "Waiting",
    "WaitingReason",
]
