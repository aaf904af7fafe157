"""ECI as a place where pods run: the `PodBackend` of one account and region for one tenant cluster.

    apply  -> `Creation` -> CreateContainerGroup             delete -> DeleteContainerGroup
    run    -> Observer polls -> Copies -> listeners          confirm_gone -> `Absence`

Whose a group is, is said by its tags, under a name that we gave. ConfigMaps, Secrets and tokens are
kept in memory until a create writes them into its group, and never reach it later. Texts have no
names of the account.
"""

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from hashlib import blake2b

import msgspec
import structlog

from federation.backends.eci import meaning
from federation.backends.eci.absence import Absence
from federation.backends.eci.api import EciApi
from federation.backends.eci.claims import ClaimSource, NoClaims
from federation.backends.eci.copies import Copies
from federation.backends.eci.creation import Creation
from federation.backends.eci.errors import EciError, NotFound
from federation.backends.eci.exec import EciExec, opening_failed, require_possible
from federation.backends.eci.logs import logs
from federation.backends.eci.observe import SETTLES, Observer
from federation.backends.eci.translate.features import require_supported
from federation.backends.eci.translate.identity import (
    owner_tags,
)
from federation.backends.eci.translate.policy import EciPolicy
from vnode.backend import (
    Capabilities,
    ExecSession,
    HeldBack,
    LogOptions,
    ObjectRef,
    ObservedPod,
    PodEvent,
    PodRequest,
    ReferenceKind,
    Sight,
    StreamError,
    StreamRequest,
    Token,
    TokenKey,
    Updated,
    UpdatePart,
    UpgradedConnection,
    Waiting,
    WaitingReason,
)
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, ConfigMap, NodeName, ObjectKey, Secret
from vnode.runtime.clock import Clock
from vnode.usage import UsageReport

__all__ = ["EciBackend"]

_LOG = structlog.get_logger(__name__)

_FROZEN = "what runs on this virtual node stays as it was made"


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    ephemeral_containers: list[_Named] = []


class EciBackend:
    """Runs the pods of one tenant cluster as container groups."""

    def __init__(
        self,
        api: EciApi,
        *,
        policies: Mapping[NodeName, EciPolicy],
        account: str,
        others: Collection[NodeName] = (),
        forwards: Callable[[str], bool] = lambda _: True,
        claims: ClaimSource | None = None,
        clock: Clock,
        rng: random.Random,
        settles: float = SETTLES,
    ) -> None:
        """Nothing is asked of the service before `run`.

        Args:
            api: of the account and region, with its only budget.
            policies: of each virtual node's pool, at least one; of one tenant cluster.
            account: what tells this account and region from others, and never changes.
            others: virtual nodes of ours that are none of these; they may be of the same account.
            forwards: whether pods of a tenant namespace may be brought here; what runs there
                already is seen through.
            claims: says what claims of pods need; None: policies allow none.
            clock: of the agent.
            rng: for jitter.
            settles: seconds after which listings must have a group that was just made.
        """
        self._api = api
        self._policies = policies
        self._forwards = forwards
        self._clock = clock
        any_policy = next(iter(policies.values()))
        self._tags = owner_tags(any_policy)
        self._place = blake2b(account.encode(), digest_size=8).hexdigest()
        lives = [p.token_ttl for p in policies.values() if p.token_ttl is not None]
        self.capabilities = Capabilities(
            token_refresh=False,
            secret_objects=False,
            cluster_dns=False,
            upgrade_streams=False,
            session_streams=True,
            start_gates=False,
            live_config=False,
            # Which pools allow them is their policies' affair, see `admit`.
            inline_secrets=any(p.allow_inline_secrets for p in policies.values()),
            start_tokens=min(lives, default=None),
        )
        self._deletes = api.turns("DeleteContainerGroup", what="pods are taken away")
        self._copies = Copies()
        self._bodies: dict[ObjectRef, ConfigMap | Secret] = {}
        self._namespaces: set[str] = set()
        """Those that somebody asked about."""
        self._object_listeners: list[Callable[[ObjectRef], None]] = []
        self._place_listeners: list[Callable[[str], None]] = []
        self._link_listeners: list[Callable[[], None]] = []
        self.observer = Observer(
            api,
            self._copies,
            tags=self._tags,
            tenant=any_policy.tenant,
            cluster_uid=any_policy.cluster_uid,
            spot=[node for node, policy in policies.items() if policy.spot is not None],
            others=others,
            clock=clock,
            rng=rng,
            returned=self._returned,
            changed=self._link_changed,
            deletes=self._deletes,
            settles=settles,
        )
        self._creation = Creation(
            api,
            self._copies,
            self.observer,
            tags=self._tags,
            bodies=self._bodies,
            claims=claims or NoClaims(),
            clock=clock,
            settles=settles,
        )
        self._absence = Absence(api, self._copies, self.observer, self._creation, tags=self._tags)

    async def run(self) -> None:
        """Follow the groups until cancelled."""
        await self.observer.run()

    # --- what is there: memory only -------------------------------------------------------------

    def copies(self) -> int:
        """How many groups there are."""
        return len(self._copies)

    def sight(self, namespace: str) -> Sight:
        """See `PodBackend.sight`: there are no namespaces here."""
        self._namespaces.add(namespace)
        return Sight.COMPLETE if self.observer.complete else Sight.UNKNOWN

    def why_unseen(self, namespace: str) -> WaitingReason:
        """See `PodBackend.why_unseen`."""
        error = self.observer.error
        if error is None:
            return WaitingReason("ComputeNotSeen", "what runs there was not looked at yet")
        waiting = meaning.waiting(error)
        return WaitingReason(waiting.reason, str(waiting))

    @property
    def settled(self) -> bool:
        """See `PodBackend.settled`."""
        return self.observer.settled

    def place(self, namespace: str) -> str:
        """See `PodBackend.place`."""
        return self._place

    async def require_place(self, namespace: str, made_in: str) -> None:
        """See `PodBackend.require_place`: of another account nothing can be proven."""
        if made_in != self._place:
            raise Waiting(
                "the account or region behind this virtual node was exchanged: the pod may run on "
                "in the old one; configure that again, or delete the pod with --force",
                reason="ComputeReplaced",
            )

    @property
    def reachable(self) -> bool:
        """See `PodBackend.reachable`."""
        return self.observer.reachable

    @property
    def link_known(self) -> bool:
        """Whether `reachable` rests on anything yet."""
        return self.observer.known

    @property
    def refuses_us(self) -> bool:
        """Whether the service answers, but refuses our key."""
        return self.observer.refuses_us

    @property
    def websockets(self) -> bool:
        """Whether streams go by WebSocket: sessions go by nothing else."""
        return True

    @property
    def silent_for(self) -> float | None:
        """See `PodBackend.silent_for`."""
        return self.observer.silent_for

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """See `PodBackend.observed`."""
        return self._copies.observed(key)

    def forget(self, pod: ObservedPod) -> None:
        """See `PodBackend.forget`."""
        self._copies.forget(pod)
        self._creation.is_clear(pod.uid)

    # --- who hears of it ------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """See `PodBackend.subscribe`."""
        self._copies.subscribe(listener)

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self.observer.news.subscribe(listener)

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        """See `PodBackend.subscribe_objects`."""
        self._object_listeners.append(listener)

    def subscribe_places(self, listener: Callable[[str], None]) -> None:
        """See `PodBackend.subscribe_places`."""
        self._place_listeners.append(listener)

    @property
    def out_of_stock(self) -> set[UID]:
        """Tenant pods whose last create found nothing to buy; some may have gone since."""
        return self._creation.out_of_stock

    def subscribe_stock(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `out_of_stock` has changed."""
        self._creation.subscribe_stock(listener)

    def subscribe_link(self, listener: Callable[[], None]) -> None:
        """See `PodBackend.subscribe_link`."""
        self._link_listeners.append(listener)

    def _returned(self) -> None:
        for namespace in sorted(self._namespaces):
            self.opened(namespace)

    def opened(self, namespace: str) -> None:
        """What pods of a tenant namespace wait for may be there now."""
        for listener in self._place_listeners:
            listener(namespace)

    def _link_changed(self) -> None:
        for listener in self._link_listeners:
            listener()

    # --- pods -----------------------------------------------------------------------------------

    def admit(self, request: PodRequest) -> None:
        """See `PodBackend.admit`."""
        self._require_forwarded(request.pod.metadata.namespace)
        require_supported(request.pod, self._policy(request.node))
        self._creation.require_turn(request.pod.metadata.uid)

    async def apply(self, request: PodRequest) -> ObservedPod:
        """See `PodBackend.apply`."""
        metadata, policy = request.pod.metadata, self._policy(request.node)
        known = self._copies.observed(metadata.key)
        if known is not None and known.uid == metadata.uid:
            if known.gone:
                raise Waiting("the copy has just gone", reason="ComputeConflict")
            self._creation.is_clear(metadata.uid)
            return known
        if known is not None and not known.gone:
            text = "the copy of an older pod of that name is not gone yet"
            raise Waiting(text, reason="PredecessorExists", not_done=True)
        self._require_forwarded(metadata.namespace)
        return await self._creation.make(request, policy)

    def _require_forwarded(self, namespace: str) -> None:
        if not self._forwards(namespace):
            text = f'namespace "{namespace}" is not forwarded to compute clusters'
            raise Waiting(text, reason="NamespaceNotReady", not_done=True)

    async def ungate(self, copy: ObservedPod) -> ObservedPod:
        """Never called: `capabilities.start_gates` is False."""
        raise Waiting("groups have no gates", reason="NoStartGates", not_done=True)

    def refused(self, request: PodRequest, copy: ObservedPod) -> tuple[HeldBack, ...]:
        """See `PodBackend.refused`: nothing of a group is ever changed."""
        return () if request.digest == copy.digest else tuple(_held_back(request))

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        """See `PodBackend.update`: the generation is judged, and all of it held back."""
        now = self._copies.judged(copy.handle, request.pod.metadata.generation)
        if now is None:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        return Updated(now, self.refused(request, now))

    async def delete(self, pod: ObservedPod, *, grace_seconds: int | None) -> None:
        """See `PodBackend.delete`. ECI's delete knows no grace but the group's own."""
        self._deletes.require(pod.handle)
        self._deletes.went(pod.handle)
        try:
            await self._api.delete(pod.handle)
        except NotFound:
            group = self._copies.get(pod.handle)
            if group is not None:
                self._copies.asked(pod.handle, now=rfc3339(self._clock.time()), answered=False)
                if self.observer.must_be_known(group):  # Else the observer asks again.
                    self._copies.went(group, proven=True)
            return
        except EciError as error:
            raise meaning.waiting(error) from error
        self._copies.asked(pod.handle, now=rfc3339(self._clock.time()), answered=True)

    async def confirm_gone(self, key: ObjectKey, uid: UID) -> bool:
        """See `PodBackend.confirm_gone`, and `Absence` for what is proof."""
        gone = await self._absence.proven(key, uid)
        if gone:
            self._creation.is_clear(uid)
        return gone

    # --- what pods refer to ---------------------------------------------------------------------

    def held_version(self, ref: ObjectRef) -> str | None:
        """See `PodBackend.held_version`."""
        body = self._bodies.get(ref)
        return None if body is None else f"{body.metadata.uid}/{body.metadata.resource_version}"

    async def put_object(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        """Keep it for the pods that are made from now on."""
        if ref.kind is ReferenceKind.SECRET and not self.capabilities.inline_secrets:
            text = "this virtual node does not write values of Secrets into its pods"
            raise Waiting(text, reason="SecretsNotAllowed", not_done=True)
        self._bodies[ref] = body
        self._tell_of_object(ref)

    async def drop_object(self, ref: ObjectRef) -> None:
        """See `PodBackend.drop_object`."""
        if self._bodies.pop(ref, None) is not None:
            self._tell_of_object(ref)

    def _tell_of_object(self, ref: ObjectRef) -> None:
        for listener in self._object_listeners:
            listener(ref)

    async def put_tokens(self, pod: ObservedPod, tokens: Mapping[TokenKey, Token]) -> None:
        """Never called: `capabilities.token_refresh` is False."""
        raise Waiting("tokens come with the pod", reason="NoTokenRefresh", not_done=True)

    # --- logs, streams, usage -------------------------------------------------------------------

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        """See `PodBackend.logs`."""

        def ended() -> bool:
            group = self._copies.get(pod.handle)
            return group is None or group.gone or group.has_ended(options.container)

        return logs(self._api, pod.handle, options, ended=ended, clock=self._clock)

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        """Not the form of this backend: `capabilities.upgrade_streams` is False."""
        raise StreamError(f"{request.verb} is not possible on this virtual node", code=501)

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        """See `PodBackend.session`: exec only, by a websocket of the service's."""
        require_possible(request)
        try:
            prepared = await self._api.execute(
                pod.handle, request.container, request.command, tty=request.tty, stdin=request.stdin
            )
            return EciExec(await self._api.open_socket(prepared), tty=request.tty)
        except EciError as error:
            raise opening_failed(error) from None

    async def usage(self, node: NodeName) -> UsageReport:
        """Nothing is measured: ECI's figures are another service's."""
        return UsageReport()

    def _policy(self, node: NodeName) -> EciPolicy:
        policy = self._policies.get(node)
        if policy is None:
            text = "the virtual node is not in the configuration any more"
            raise Waiting(text, reason="NodeNotConfigured", not_done=True)
        return policy


def _held_back(request: PodRequest) -> Iterator[HeldBack]:
    yield HeldBack(UpdatePart.POD, "UpdateRejected", _FROZEN, permanent=True)
    for container in msgspec.json.decode(request.pod.spec, type=_Spec).ephemeral_containers:
        yield HeldBack(
            UpdatePart.EPHEMERAL_CONTAINER,
            "UpdateRejected",
            _FROZEN,
            permanent=True,
            container=container.name,
        )
