"""The seam: what `vnode` needs from a place where pods run.

Data goes down as `PodRequest` (everything that one pod needs, already fetched from the tenant) and
comes up as `ObservedPod` (what exists below now). All lifecycle and safety rules live in
`vnode.pods`; a backend only knows how to create, change, delete, observe and stream. What it cannot
do is a `Capabilities` field that is False, and a pod that needs it is refused with the reason.

Contract of every backend:

* A copy carries the tenant pod's UID. `apply` never changes, adopts or deletes what it did not
  create for this tenant cluster; such an object raises `NameConflict`.
* Every change and deletion is conditional on the copy's own UID (`ObservedPod.handle`).
* `observed` reads memory only. A copy that went away stays visible with `gone=True` and its last
  status until `forget`, so that final states are not lost between two events.
* Texts that reach tenants (`Waiting`, `Rejected`, statuses, stream errors) hold no compute names.
"""

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from vnode.kube.types import UID, ConfigMap, NodeName, ObjectKey, Pod, Secret
from vnode.runtime.workqueue import Expected
from vnode.usage import UsageReport


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


class ReferenceKind(enum.StrEnum):
    """Kinds of objects that pods refer to by name."""

    CONFIG_MAP = "ConfigMap"
    SECRET = "Secret"  # noqa: S105 - a kind, not a password


class Reference(NamedTuple):
    """A ConfigMap or Secret in the pod's own namespace."""

    kind: ReferenceKind
    name: str


SERVICE_VARIABLES = Reference(ReferenceKind.CONFIG_MAP, "service variables")
"""What a kubelet tells containers of the Services around them and of the API server. Every pod
refers to this ConfigMap, which no tenant has: a blank is no part of a name. Its body is made by
`vnode.pods.objects.service_variables`; containers have all its keys as variables, behind all their
own."""
API_SERVER_VARIABLES = Reference(ReferenceKind.CONFIG_MAP, "API server variables")
"""The same for pods with enableServiceLinks false: KUBERNETES_* alone."""


class ObjectRef(NamedTuple):
    """A referenced ConfigMap or Secret together with its tenant namespace."""

    namespace: str
    kind: ReferenceKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"


class TokenKey(NamedTuple):
    """One ServiceAccount token that a pod mounts: equal keys share a token."""

    audience: str
    """Empty: the tenant API server's own audience."""
    expiration_seconds: int

    @property
    def data_key(self) -> str:
        """Key under which the token is kept in the pod's token object."""
        return f"{self.expiration_seconds}-{self.audience.encode().hex() or 'default'}"


@dataclass(frozen=True, slots=True)
class Token:
    """A ServiceAccount token; its value never appears in a repr."""

    value: str = field(repr=False)
    refresh_at: float
    """Unix seconds at which it should be renewed, well before it expires."""


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
    status: bytes
    """PodStatus JSON as below, compute names and injected containers removed."""
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


class BackendError(Expected):
    """A backend could not do what was asked; the text may be shown to the tenant's users."""


class Rejected(BackendError):
    """Permanent until the pod or our policy changes. Names the field."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class Waiting(BackendError):
    """Not now: shown as the pod's waiting reason and tried again with backoff.

    Raised for every 403, 404, 409, 429 and 5xx, for missing namespaces and for quota.
    `not_done`: what was asked for was certainly not carried out. Without that an `apply` may have
    made a copy all the same, of which only the answer was lost. `passing`: the compute side was in
    its own way and asks for another try at once; users hear of it only if it goes on.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        retry_after: float | None = None,
        not_done: bool = False,
        passing: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        self.not_done = not_done
        self.passing = passing


class InLine(Waiting):
    """Others are first. To be asked again after `seconds`, and no failure: nothing was tried.

    Users hear of it only where the line is long.
    """

    def __init__(self, message: str, *, seconds: float) -> None:
        super().__init__(message, reason="InLine", retry_after=seconds, not_done=True)
        self.seconds = seconds


class NameConflict(Waiting):
    """An object of that name below belongs to somebody else. It is never touched."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="NameConflict", not_done=True)


@dataclass(frozen=True, slots=True)
class LogOptions:
    """v1.PodLogOptions; None: not asked for."""

    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since_seconds: int | None = None
    since_time: str | None = None
    tail_lines: int | None = None
    limit_bytes: int | None = None


class StreamVerb(enum.StrEnum):
    """Streaming subresources of a pod."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portforward"


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """An exec, attach or port-forward that a client of the tenant asked for."""

    verb: StreamVerb
    method: str
    """GET (WebSocket) or POST (SPDY), sent on as received."""
    container: str = ""
    command: Sequence[str] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    ports: Sequence[int] = ()
    headers: Sequence[tuple[str, str]] = ()
    """Upgrade, Sec-WebSocket-* and X-Stream-Protocol-Version as received; no credentials."""


class StreamError(BackendError):
    """A log or stream request failed: HTTP code and a text without compute names."""

    def __init__(self, message: str, *, code: int, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


class UpgradedConnection(Protocol):
    """A connection below that switched protocols. The bytes are opaque to us."""

    status: int
    headers: Sequence[tuple[str, str]]
    """Headers of the 101 answer, to be relayed."""

    def splice(self, transport: object, *, early: bytes) -> "SplicedConnection":
        """Copy bytes both ways between `transport` (asyncio) and the peer until one side ends."""
        ...

    def abort(self) -> None:
        """Close without splicing."""
        ...


class SplicedConnection(Protocol):
    """Two connections glued together."""

    async def wait_closed(self) -> None:
        """Return when both sides are closed."""
        ...

    def close(self) -> None:
        """Flush and close both sides."""
        ...


class ExecSession(Protocol):
    """The Session form of exec and attach, for backends without an upgradeable endpoint.

    The kubelet server speaks WebSocket with the client and calls this. It has three callers at
    once: one for input and sizes, one for output and the exit code, one that closes.
    """

    async def write_stdin(self, data: bytes) -> None:
        """Hand bytes to the process, and return when it, or a pipe of bounded size, has taken them.

        Raises:
            StreamError: the process takes no input any more; it may go on all the same.
        """
        ...

    async def close_stdin(self) -> None:
        """End of input. Never called where the client cannot tell (`v4.channel.k8s.io`)."""
        ...

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """Yield (1, stdout bytes) and (2, stderr bytes) until the process ends.

        Called once. While nobody asks for the next piece the process has to wait: what is between
        is bounded. Raises StreamError if the connection to the process breaks; its text is shown.
        """
        ...

    async def resize(self, *, width: int, height: int) -> None:
        """Terminal size in characters, 0 to 65535."""
        ...

    async def exit_code(self) -> int:
        """Wait for the process and return its exit code; asked after `output` ended, for exec.

        Raises:
            StreamError: it cannot be known.
        """
        ...

    async def close(self) -> None:
        """Give the session up, whatever goes on in it. Called once, always, has 5 s."""
        ...


class PodBackend(Protocol):
    """A place where pods run, as one tenant cluster's agent uses it."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    def sight(self, namespace: str) -> Sight:
        """How much `observed` says about a tenant namespace."""
        ...

    def why_unseen(self, namespace: str) -> WaitingReason:
        """Why `sight` of that namespace is UNKNOWN, in words for the tenant's users."""
        ...

    def place(self, namespace: str) -> str:
        """Fingerprint of where copies of a tenant namespace lie; empty while that is unknown.

        It is shown to tenants and must not be a name. It may grow as more becomes known: one that
        begins with another is the same place.
        """
        ...

    async def require_place(self, namespace: str, made_in: str) -> None:
        """Return if a copy that was made in a place, and is not seen now, cannot be in it any more.

        So it is where `place` is the one that it was then (`made_in`), and where that one is proven
        to be gone with all that was in it. Otherwise somebody may have exchanged the place behind
        the virtual node, and the copy runs on in the old one: raises Waiting that says what to do.
        """
        ...

    @property
    def reachable(self) -> bool:
        """Whether the link to the compute side holds."""
        ...

    @property
    def silent_for(self) -> float | None:
        """Seconds without a good answer since the link counted as lost; None: it holds.

        None too while it is lost but answers now and then: each good answer begins it anew, with
        the same patience as for a link that holds. An agent that starts counts from nought.
        """
        ...

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """Call `listener` with the tenant key of every copy that changed, appeared or went."""
        ...

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        """Call `listener` with what the compute side says about copies, as it happens."""
        ...

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        """Call `listener` when a ConfigMap or Secret that we keep below changed or went."""
        ...

    def subscribe_places(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a tenant namespace in which may go well now what did not before.

        Its place was made ready, or the whole side answers again: what waits is tried at once.
        """
        ...

    def subscribe_link(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the link is lost, answers again, is silent again or holds again."""
        ...

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """The copy of that tenant pod (of whichever UID), from memory."""
        ...

    def admit(self, request: PodRequest) -> None:
        """Refuse a pod that cannot run here, before anything that it refers to travels.

        Reads memory only.

        Raises:
            Rejected: it can never run here as it is (names the field).
            Waiting: it cannot, until something is changed here, or others are first (`InLine`).
        """
        ...

    def refused(self, request: PodRequest, copy: ObservedPod) -> Sequence[HeldBack]:
        """What `update` would hold back by the backend's own rules.

        What only such ephemeral containers refer to does not travel. Reads memory only.

        Raises:
            Rejected: nothing of the pod can be brought here as it is.
            Waiting: nothing can be said now.
        """
        ...

    async def apply(self, request: PodRequest) -> ObservedPod:
        """Create the copy. Idempotent: a copy of the same UID is adopted, as it is.

        Raises:
            Rejected: the pod can never run here as it is (names the field).
            NameConflict: somebody else's object has that name.
            Waiting: everything else that may pass.
        """
        ...

    async def ungate(self, copy: ObservedPod) -> ObservedPod:
        """Let a gated copy start. Idempotent. Raises Waiting, also when it is gone.

        Only called if `capabilities.start_gates` says so.
        """
        ...

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        """Bring exactly this copy up to date, as far as its parts may change. Idempotent.

        Parts that are refused hold no others up. `ObservedPod.digest` becomes the request's only
        when all is applied, `ObservedPod.generation` when all is judged.

        Raises:
            Rejected: nothing of the pod can be brought here as it is.
            Waiting: nothing can be said now, e.g. the compute side does not answer.
        """
        ...

    async def confirm_gone(self, key: ObjectKey, uid: UID) -> bool:
        """Ask the compute side itself whether the copy of that tenant UID is gone.

        For the rare decisions that cannot be taken back. It is asked where `sight` is not COMPLETE
        too: True only if a live look has shown it. Raises Waiting where there can be none.
        """
        ...

    async def delete(self, pod: ObservedPod, *, grace_seconds: int | None) -> None:
        """Ask for deletion of exactly this copy; gone already is success. Raises Waiting.

        One that is shown as gated is deleted only if it still is: else Waiting, as what is seen of
        it is old, and by now it may run.

        grace_seconds is at least 1; None means the pod's own terminationGracePeriodSeconds.
        """
        ...

    def forget(self, pod: ObservedPod) -> None:
        """Drop the memory of a copy that is gone."""
        ...

    async def put_tokens(self, pod: ObservedPod, tokens: Mapping[TokenKey, Token]) -> None:
        """Write or renew the tokens that a copy mounts; they go when the copy goes.

        Only called if `capabilities.token_refresh` says so.
        """
        ...

    def held_version(self, ref: ObjectRef) -> str | None:
        """`uid/resourceVersion` of the tenant object that the copy below was made from."""
        ...

    async def put_object(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        """Create or update the copy of a referenced object. Raises NameConflict or Waiting."""
        ...

    async def drop_object(self, ref: ObjectRef) -> None:
        """Remove the copy of an object that no pod refers to any more."""
        ...

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        """Yield log bytes as they come. Raises StreamError before the first byte."""
        ...

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        """Open a stream as an opaque upgrade. Raises StreamError."""
        ...

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        """Open exec or attach in Session form, within 30 s. Raises StreamError.

        Only if `capabilities.session_streams` says so, and not if `upgrade_streams` does.
        """
        ...

    async def usage(self, node: NodeName) -> UsageReport:
        """What the copies made for a virtual node use now; called when somebody scrapes it.

        Returns within 8 s and raises nothing: what could not be measured is not in the report.
        Asked often by several scrapers, so an answer may be kept for some 10 s. A backend that
        measures nothing returns an empty report.
        """
        ...


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a virtual node publishes: Kubernetes quantities by resource name."""

    allocatable: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that all nodes of the pool share (GPU model and the like)."""
    largest_free: Mapping[str, str] = field(default_factory=dict)
    """Largest free slot on a single node per resource, where known."""
    features: tuple[str, ...] | None = None
    """Names of the kubelet features that all nodes of the pool declare; None: not known."""


class CapacitySource(Protocol):
    """Where a virtual node's capacity comes from. Computed in memory, debounced by the caller."""

    @property
    def synced(self) -> bool:
        """Whether `capacity` rests on complete data."""
        ...

    def capacity(self) -> Capacity:
        """The capacity as of now; never negative."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the capacity may have changed."""
        ...
