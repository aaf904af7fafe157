"""One pod on its way down (`PodRequest`) and its copy on the way up (`ObservedPod`, `PodEvent`).

None of them holds names of the compute side, and requests and copies have no repr: they hold whole
objects.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec import Raw

from vnode.backend.tokens import Token, TokenKey
from vnode.kube.types import UID, NodeName, ObjectKey, Pod


@dataclass(frozen=True, slots=True, repr=False)
class PodRequest:
    """Everything a backend needs to create one pod's copy, or to bring it up to date."""

    pod: Pod
    """The tenant pod; `spec` is the tenant API server's JSON."""
    node: NodeName
    digest: str
    """Fingerprint of what `pod` asks for; comes back as `ObservedPod.digest`."""
    host_ip: str
    """The virtual node's address, which the pod sees as status.hostIP."""
    gated: bool = False
    """The copy, if it is made now, must not start before `PodBackend.ungate`."""
    tokens: Mapping[TokenKey, Token] = field(default_factory=dict)
    """Its ServiceAccount tokens, for `apply` of a backend with `Capabilities.start_tokens` only."""


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """Why a copy does not run yet, in the compute side's own words without its names."""

    reason: str
    """CamelCase, e.g. `Unschedulable`, `ErrImagePull`, `QuotaExceeded`."""
    message: str


@dataclass(frozen=True, slots=True, repr=False)
class ObservedPod:
    """One copy as it is below now."""

    key: ObjectKey
    """Namespace and name of the *tenant* pod."""
    uid: UID
    """UID of the tenant pod that this copy was made for."""
    handle: str
    """The copy's own identity below (for Kubernetes its UID)."""
    node: NodeName
    """The virtual node it was made for."""
    digest: str
    """`PodRequest.digest` of what was last applied as a whole; empty: something is held back."""
    generation: int
    """metadata.generation of the tenant pod that was last applied; 0 if unknown."""
    status: bytes | Raw
    """PodStatus JSON as below, compute names and injected containers removed. For decoders only: it
    may be the very bytes of an object that is kept elsewhere."""
    deleting: bool = False
    grace_seconds: int | None = None
    """Grace period of a deletion that is under way; 0: the deletion was carried out."""
    made_at: str | None = None
    """RFC 3339 time at which the copy was made."""
    removal_requested: str | None = None
    """RFC 3339 time at which somebody asked for its deletion."""
    gone: bool = False
    """True: it no longer exists; `status` is the last that was seen."""
    scheduled: bool = False
    """The compute side has given it a place."""
    waiting: WaitingReason | None = None
    tokens_refresh_at: float | None = None
    """Unix seconds at which its tokens should be renewed; None: it has none below."""
    own_generation: int = 0
    """metadata.generation of the copy itself, by which its status counts; 0: it has none."""
    gated: bool = False
    """Made so that it cannot start before `PodBackend.ungate`, and not let start yet: it never ran.

    By a `PodRequest.gated`, or because the backend has to look at it first."""
    unfit: bool = False
    """It came out without a part that it needs: while it is gated it is not let start but deleted,
    and made again."""


@dataclass(frozen=True, slots=True)
class PodEvent:
    """Something the compute side said about a copy, without its names."""

    key: ObjectKey
    uid: UID
    node: NodeName
    type: str
    """`Normal` or `Warning`."""
    reason: str
    message: str
    by_kubelet: bool = False
    """A kubelet said it: to tenants, the virtual node's."""
