"""ECI as a place where pods run: the `PodBackend` of one account and region for one tenant cluster.

    apply  -> translate (pure) -> CreateContainerGroup, ClientToken = the tenant pod's UID
    run    -> Observer polls -> Copies -> listeners          delete -> DeleteContainerGroup

Whose a group is, is said by its tags, under a name that we gave. A create that got no answer is
looked for by its tags before it is repeated, and repeated with the same token. A group that is
missing in a list is no proof that it is gone (`confirm_gone`). ConfigMaps, Secrets and tokens are
kept in memory until a create writes them into its group, and never reach it later. Texts have no
names of the account.
"""

import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b

import msgspec
import structlog

from federation.backends.eci import meaning
from federation.backends.eci.api import EciApi
from federation.backends.eci.copies import Copies
from federation.backends.eci.errors import EciError, NoStock, NotFound, QuotaExceeded, TokenReused
from federation.backends.eci.exec import EciExec, opening_failed, require_possible
from federation.backends.eci.logs import logs
from federation.backends.eci.observe import SETTLES, Observer
from federation.backends.eci.shortages import Shortages
from federation.backends.eci.translate.features import require_supported, supported
from federation.backends.eci.translate.group import container_group
from federation.backends.eci.translate.identity import POD_UID, Identity, owner_tags
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.eci.translate.purchase import purchase
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
from vnode.kube.errors import Withheld
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
            clock: of the agent.
            rng: for jitter.
            settles: seconds after which listings must have a group that was just made.
        """
        self._api = api
        self._policies = policies
        self._forwards = forwards
        self._clock = clock
        self._settles = settles
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
        self._creates = api.turns("CreateContainerGroup", what="pods are made")
        self._deletes = api.turns("DeleteContainerGroup", what="pods are taken away")
        self._shortages = Shortages(clock)
        self._copies = Copies()
        self._bodies: dict[ObjectRef, ConfigMap | Secret] = {}
        self._unanswered: dict[UID, float] = {}
        """Creates of which nobody knows whether they made a group, and when the last was sent."""
        self._reused: dict[UID, float] = {}
        """Pods whose token made a group that nobody finds, and when that was said first."""
        self.out_of_stock: set[UID] = set()
        """Tenant pods whose last create found nothing to buy; some may have gone since."""
        self._stock_listeners: list[Callable[[], None]] = []
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

    # --- who hears of it ------------------------------------------------------------------------

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """See `PodBackend.subscribe`."""
        self._copies.subscribe(listener)

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self.observer.subscribe_events(listener)

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        """See `PodBackend.subscribe_objects`."""
        self._object_listeners.append(listener)

    def subscribe_places(self, listener: Callable[[str], None]) -> None:
        """See `PodBackend.subscribe_places`."""
        self._place_listeners.append(listener)

    def subscribe_link(self, listener: Callable[[], None]) -> None:
        """See `PodBackend.subscribe_link`."""
        self._link_listeners.append(listener)

    def subscribe_stock(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `out_of_stock` has changed."""
        self._stock_listeners.append(listener)

    def _found_stock(self, uid: UID, *, found: bool) -> None:
        before = len(self.out_of_stock)
        (self.out_of_stock.discard if found else self.out_of_stock.add)(uid)
        if len(self.out_of_stock) != before:
            for listener in self._stock_listeners:
                listener()

    def _returned(self) -> None:
        for namespace in sorted(self._namespaces):
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
        self._creates.wait(request.pod.metadata.uid)

    async def apply(self, request: PodRequest) -> ObservedPod:
        """See `PodBackend.apply`."""
        metadata, policy = request.pod.metadata, self._policy(request.node)
        known = self._copies.observed(metadata.key)
        if known is not None and known.uid == metadata.uid:
            if known.gone:
                raise Waiting("the copy has just gone", reason="ComputeConflict")
            self._is_clear(metadata.uid)
            return known
        if known is not None and not known.gone:
            text = "the copy of an older pod of that name is not gone yet"
            raise Waiting(text, reason="PredecessorExists", not_done=True)
        self._require_forwarded(metadata.namespace)
        unsure = await self._require_answer(metadata.uid)
        if isinstance(unsure, ObservedPod):
            return unsure
        wanted = (request.node, purchase(supported(request.pod, policy), policy))
        self._shortages.require(wanted, metadata.uid)
        self._creates.require(metadata.uid)  # Now: who waits for a Secret takes nobody's turn.
        self._shortages.tries(wanted, metadata.uid)
        try:
            self._creates.went(metadata.uid)
            group = await self._create(request, policy)
        except TokenReused as error:
            # An earlier create, by an agent before us or with what has changed since.
            if (found := await self._find(metadata.uid)) is not None:
                return found
            raise self._made_before(metadata.uid) from error
        except EciError as error:
            self._found_stock(metadata.uid, found=not isinstance(error, NoStock))
            _LOG.warning("no container group", pod=str(metadata.key), why=str(error))
            failed = meaning.create_failed(error)
            if isinstance(error, NoStock | QuotaExceeded):
                self._shortages.refused(wanted, metadata.uid, meaning.waiting(error))
            if isinstance(failed, Waiting) and not failed.not_done:
                raise failed from error
            if unsure:  # This one made none; the one before may have.
                raise _unseen() from error
            self._is_clear(metadata.uid)
            raise failed from error
        self._is_clear(metadata.uid)
        self._found_stock(metadata.uid, found=True)
        self._shortages.bought(wanted)
        made_at = rfc3339(self._clock.time())
        who = Identity(
            metadata.key, metadata.uid, request.node, request.digest, metadata.generation
        )
        return self._copies.learn(group, who, made_at=made_at, listed=False).shown()

    def _require_forwarded(self, namespace: str) -> None:
        if not self._forwards(namespace):
            text = f'namespace "{namespace}" is not forwarded to compute clusters'
            raise Waiting(text, reason="NamespaceNotReady", not_done=True)

    async def _require_answer(self, uid: UID) -> ObservedPod | bool:
        """Whether a create before this one may have made a group; the group, if it did.

        Lists show what was just made only after a while. Raises Waiting if nobody can say.
        """
        sent = self._unanswered.get(uid)
        if sent is None:
            return False
        if (found := await self._find(uid)) is not None:
            return found
        if self._may_be_unseen(uid) or not any(self._copies.there()):
            return True
        del self._unanswered[uid]
        return False

    async def _create(self, request: PodRequest, policy: EciPolicy) -> str:
        """Ask for a group; what the spot market has not, at the ordinary price if the pool says so.

        Both have one token: whichever was carried out, no second one is made.
        """
        try:
            return await self._ask_for(request, policy)
        except NoStock:
            if policy.spot is None or not policy.spot.fallback:
                raise
            return await self._ask_for(request, replace(policy, spot=None))

    async def _ask_for(self, request: PodRequest, policy: EciPolicy) -> str:
        group = container_group(request, bodies=self._bodies, tokens=request.tokens, policy=policy)
        uid = request.pod.metadata.uid
        before = self._unanswered.get(uid)
        self._unanswered[uid] = self._clock.monotonic()
        try:
            return await self._api.create(group, token=uid)
        except Withheld:
            self._unanswered.pop(uid)
            if before is not None:
                self._unanswered[uid] = before
            raise

    async def _find(self, uid: UID) -> ObservedPod | None:
        """The group of a tenant UID, by its tags. Raises Waiting if nobody can say."""
        try:
            async for group in self._api.groups(tags={**self._tags, POD_UID: uid}):
                self.observer.learn(group)
        except EciError as error:
            raise meaning.waiting(error) from error
        found = self._copies.of(uid)
        if found is None or found.gone:
            return None
        self._is_clear(uid)
        return found.shown()

    def _made_before(self, uid: UID) -> Waiting:
        """A token was used before, and no list has what it made.

        This call made nothing: what there may be is no younger than the first time this was said.
        """
        now = self._clock.monotonic()
        self._unanswered[uid] = self._reused.setdefault(uid, now)
        if self._may_be_unseen(uid) or not any(self._copies.there()):
            return _unseen()
        text = (
            "the pod was made in an earlier attempt, and what was made is gone or has lost its "
            "tags; it is not made twice: delete the pod"
        )
        return Waiting(text, reason="CopyNotSeen")

    def _is_clear(self, uid: UID) -> None:
        """Whether a create made a group is known now."""
        self._unanswered.pop(uid, None)
        self._reused.pop(uid, None)

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
        """See `PodBackend.confirm_gone`. An empty list is no proof: keys without the right get one.

        Proof is that the service does not know the group's id; or a list without the pod that has
        other groups; or that the account uses no vCPU at all. The last two are none before lists
        must have what another agent made just before this one began, and what we asked for
        without an answer.
        """
        gone = await self._is_gone(uid)
        if gone:
            self._is_clear(uid)
        return gone

    async def _is_gone(self, uid: UID) -> bool:
        try:
            known = self._copies.of(uid)
            if known is not None:
                return await self.observer.is_gone(known)
            if await self._any(POD_UID, uid):
                return False
            self.observer.require_settled()
            if self._may_be_unseen(uid):
                raise _unseen()
            if await self._any():
                return True
            used = (await self._api.usage()).get("UsedCpu")
        except EciError as error:
            raise meaning.waiting(error) from error
        if used == 0:
            return True
        raise Waiting(
            "whether the pod still runs cannot be seen: the list of what runs there is empty, "
            "which it is too where the agent's key has no right to it",
            reason="ComputeNotSeen",
        )

    def _may_be_unseen(self, uid: UID) -> bool:
        """Whether a group that we asked for may be there, and in no list yet."""
        sent = self._unanswered.get(uid)
        return sent is not None and self._clock.monotonic() - sent < self._settles

    async def _any(self, *tag: str) -> bool:
        """Whether a list has a group of ours (with this tag and value)."""
        more = {tag[0]: tag[1]} if tag else {}
        async for _ in self._api.groups(tags={**self._tags, **more}):
            return True
        return False

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


def _unseen() -> Waiting:
    text = "the pod was made in an earlier attempt, or may have been, but is not seen yet"
    return Waiting(text, reason="CopyNotSeen")


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
