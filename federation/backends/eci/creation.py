"""Makes container groups: once for each tenant pod, whatever becomes of an answer.

    line, stock and quota, claims -> translate (pure) -> CreateContainerGroup, ClientToken = pod UID

In: a `PodRequest` that has no copy. Out: its copy, or Waiting or Rejected. A create that got no
answer is looked for by its tags before it is repeated, and repeated with the same token; of which
pods that is so is kept here, and asked for before anybody takes a group for gone. So is which pods
found nothing to buy. Owned by `EciBackend`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import structlog

from federation.backends.eci import meaning
from federation.backends.eci.api import EciApi
from federation.backends.eci.claims import Claims, ClaimSource
from federation.backends.eci.copies import Copies
from federation.backends.eci.errors import EciError, NoStock, QuotaExceeded, TokenReused
from federation.backends.eci.observe import Observer
from federation.backends.eci.shortages import Shortages
from federation.backends.eci.translate.features import supported
from federation.backends.eci.translate.group import container_group
from federation.backends.eci.translate.identity import POD_UID, Identity
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.eci.translate.purchase import purchase
from vnode.backend import ObjectRef, ObservedPod, PodRequest, Waiting
from vnode.kube.errors import Withheld
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, ConfigMap, Secret
from vnode.runtime.clock import Clock

__all__ = ["Creation", "unseen"]

_LOG = structlog.get_logger(__name__)


class Creation:
    """Makes the groups of one tenant cluster."""

    def __init__(
        self,
        api: EciApi,
        copies: Copies,
        observer: Observer,
        *,
        tags: Mapping[str, str],
        bodies: Mapping[ObjectRef, ConfigMap | Secret],
        claims: ClaimSource,
        clock: Clock,
        settles: float,
    ) -> None:
        """Nothing is asked yet.

        Args:
            api: of the account.
            copies: where groups are known.
            observer: learns of groups that are found.
            tags: of all our groups.
            bodies: ConfigMaps and Secrets that pods refer to; filled by others.
            claims: says what claims of pods need.
            clock: of the agent.
            settles: seconds after which listings must have a group that was just made.
        """
        self._api = api
        self._copies = copies
        self._observer = observer
        self._tags = tags
        self._bodies = bodies
        self._claims = claims
        self._clock = clock
        self._settles = settles
        self._turns = api.turns("CreateContainerGroup", what="pods are made")
        self._shortages = Shortages(clock)
        self._unanswered: dict[UID, float] = {}
        """Creates of which nobody knows whether they made a group, and when the last was sent."""
        self._reused: dict[UID, float] = {}
        """Pods whose token made a group that nobody finds, and when that was said first."""
        self.out_of_stock: set[UID] = set()
        """Tenant pods whose last create found nothing to buy; some may have gone since."""
        self._stock_listeners: list[Callable[[], None]] = []

    def require_turn(self, uid: UID) -> None:
        """Raise InLine while a pod stands in line and its turn has not come."""
        self._turns.wait(uid)

    def may_be_unseen(self, uid: UID) -> bool:
        """Whether a group that we asked for may be there, and in no list yet."""
        sent = self._unanswered.get(uid)
        return sent is not None and self._clock.monotonic() - sent < self._settles

    def is_clear(self, uid: UID) -> None:
        """Whether a create made a group is known now."""
        self._unanswered.pop(uid, None)
        self._reused.pop(uid, None)

    async def make(self, request: PodRequest, policy: EciPolicy) -> ObservedPod:
        """See `PodBackend.apply`; there is no copy yet."""
        metadata = request.pod.metadata
        unsure = await self._require_answer(metadata.uid)
        if isinstance(unsure, ObservedPod):
            return unsure
        spec = supported(request.pod, policy)
        beside = self._claims.beside(request.pod)
        wanted = (request.node, purchase(spec, policy, beside=beside))
        self._shortages.require(wanted, metadata.uid)  # Before claims, which cost calls.
        claims = await self._claims.of(request.pod)
        self._shortages.require(wanted, metadata.uid)  # Again: others may have asked meanwhile.
        self._turns.require(metadata.uid)  # Now: who waits for a Secret takes nobody's turn.
        self._shortages.tries(wanted, metadata.uid)
        try:
            self._turns.went(metadata.uid)
            group = await self._create(request, policy, claims)
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
                raise unseen() from error
            self.is_clear(metadata.uid)
            raise failed from error
        self.is_clear(metadata.uid)
        self._found_stock(metadata.uid, found=True)
        self._shortages.bought(wanted)
        made_at = rfc3339(self._clock.time())
        who = Identity(
            metadata.key, metadata.uid, request.node, request.digest, metadata.generation
        )
        learnt = self._copies.learn(
            group,
            who,
            made_at=made_at,
            listed=False,
            restarts=spec.restart_policy,
            images=frozenset(one.image for one in claims.values() if one.image),
        )
        return learnt.shown()

    async def _require_answer(self, uid: UID) -> ObservedPod | bool:
        """Whether a create before this one may have made a group; the group, if it did.

        Lists show what was just made only after a while. Raises Waiting if nobody can say.
        """
        sent = self._unanswered.get(uid)
        if sent is None:
            return False
        if (found := await self._find(uid)) is not None:
            return found
        if self.may_be_unseen(uid) or not any(self._copies.there()):
            return True
        del self._unanswered[uid]
        return False

    async def _create(self, request: PodRequest, policy: EciPolicy, claims: Claims) -> str:
        """Ask for a group; what the spot market has not, at the ordinary price if the pool says so.

        Both have one token: whichever was carried out, no second one is made.
        """
        try:
            return await self._ask_for(request, policy, claims)
        except NoStock:
            if policy.spot is None or not policy.spot.fallback:
                raise
            return await self._ask_for(request, replace(policy, spot=None), claims)

    async def _ask_for(self, request: PodRequest, policy: EciPolicy, claims: Claims) -> str:
        group = container_group(
            request, bodies=self._bodies, tokens=request.tokens, policy=policy, claims=claims
        )
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
                self._observer.learn(group)
        except EciError as error:
            raise meaning.waiting(error) from error
        found = self._copies.of(uid)
        if found is None or found.gone:
            return None
        self.is_clear(uid)
        return found.shown()

    def _made_before(self, uid: UID) -> Waiting:
        """A token was used before, and no list has what it made.

        This call made nothing: what there may be is no younger than the first time this was said.
        """
        now = self._clock.monotonic()
        self._unanswered[uid] = self._reused.setdefault(uid, now)
        if self.may_be_unseen(uid) or not any(self._copies.there()):
            return unseen()
        text = (
            "the pod was made in an earlier attempt, and what was made is gone or has lost its "
            "tags; it is not made twice: delete the pod"
        )
        return Waiting(text, reason="CopyNotSeen")

    def subscribe_stock(self, listener: Callable[[], None]) -> None:
        """Call `listener` when `out_of_stock` has changed."""
        self._stock_listeners.append(listener)

    def _found_stock(self, uid: UID, *, found: bool) -> None:
        before = len(self.out_of_stock)
        (self.out_of_stock.discard if found else self.out_of_stock.add)(uid)
        if len(self.out_of_stock) != before:
            for listener in self._stock_listeners:
                listener()


def unseen() -> Waiting:
    """What is said of a pod that may have been made."""
    text = "the pod was made in an earlier attempt, or may have been, but is not seen yet"
    return Waiting(text, reason="CopyNotSeen")
