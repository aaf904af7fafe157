"""The place itself, as one tenant cluster's agent uses it: the Protocol that every backend has."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol

from vnode.backend.capabilities import Capabilities, Sight
from vnode.backend.copies import ObservedPod, PodEvent, PodRequest, WaitingReason
from vnode.backend.references import ObjectRef
from vnode.backend.streams import ExecSession, LogOptions, StreamRequest, UpgradedConnection
from vnode.backend.tokens import Token, TokenKey
from vnode.backend.updates import HeldBack, Updated
from vnode.kube.types import UID, ConfigMap, NodeName, ObjectKey, Secret
from vnode.usage import UsageReport


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

    @property
    def settled(self) -> bool:
        """Whether what `sight` calls complete has also what an agent before us made last.

        False where listings show new copies only after a while, and ours may be too young for that.
        What is not observed may then have been made all the same; `confirm_gone` knows.
        """
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
