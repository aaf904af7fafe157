"""Makes and removes what the tenant's claims need below, so that pods read them through Fluid.

In: the tenant's claims with a profile label, which pods use them (`Uses`), and what lies below
(`Below`). Out: claim, Secret, volume, Dataset and ThinRuntime, in this order, and a `Verdict` for
each claim, by which pods wait. All is level-based: state is what the objects' marks say.

Nothing is made for a claim that nobody uses. What was made stays while a pod wants it or a copy has
it, and `linger` longer, so that the next pod finds it; it goes at once when the claim or its label
has gone, but never under a copy. After a restart the time to linger begins anew. A claim that was
made again, whose label or whose volume is another, has another fingerprint: what the old one has
goes first. Run once per compute cluster, by the replica that serves it.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import structlog

from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.failures import is_missing_subresource, waiting
from federation.backends.kubernetes.injection import Asking
from federation.backends.kubernetes.prepared_claims import Surroundings
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_DIGEST,
    ANNOTATION_UID,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import FluidDialect
from federation.backends.kubernetes.watches import Watches, WatchFactory
from federation.claims.objects import Claim
from federation.config import FluidConfig
from federation.fluid import build, judged
from federation.fluid.below import Below
from federation.fluid.build import Wish
from federation.fluid.copies import ClaimCopies
from federation.fluid.judged import Verdict
from federation.fluid.names import PROFILE_LABEL, dataset_name
from federation.fluid.objects import (
    BOUND,
    DAEMON_SETS,
    DATA_LOADS,
    DATASETS,
    THIN_RUNTIMES,
    ClaimBelow,
    FluidObject,
)
from federation.fluid.uses import Uses
from federation.fluid.warm_up import WarmUps
from federation.fluid.wishes import Wishes
from vnode.backend import Sight, Waiting
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, Resource
from vnode.kube.types import UID, HasMetadata, NodeName, ObjectKey, PartialObject, Pod
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store
from vnode.runtime.workqueue import Priority, Result, WorkQueue, run_workers

_LOG = structlog.get_logger(__name__)

_WORKERS = 4
_SETTLE, _AGAIN, _SELDOM = 1.0, 2.0, 15.0
_FIRST = "what it was before goes first"
ASKING: Mapping[FluidDialect, Asking] = {
    FluidDialect.FLUID: Asking(
        {"serverless.fluid.io/inject": "true"},
        # Else the sidecars of two pods on one node mount over each other.
        {"default.fuse-sidecar.fluid.io/host-mount-path-mode": "random-suffix"},
    ),
    FluidDialect.ACK: Asking(
        {"alibabacloud.com/fluid-sidecar-target": "eci", "alibabacloud.com/eci": "true"}
    ),
}
"""By what a pod asks for its sidecars (fluid, pkg/common/label.go; ack-fluid's documentation)."""


class FluidClaims:
    """The claims of one tenant that one compute cluster reads through Fluid; see the module."""

    def __init__(
        self,
        client: KubeClient,
        tenant: KubeClient,
        *,
        cluster: str,
        claims: Store[Claim],
        secrets: Store[PartialObject],
        pods: Store[Pod],
        nodes: Collection[NodeName],
        pods_synced: Callable[[], bool],
        config: FluidConfig,
        owner: Owner,
        mapping: NamespaceMapping,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Wire it up.

        Args:
            client: of the compute cluster.
            tenant: client of the tenant cluster.
            cluster: name of the compute cluster, for stores.
            claims: the tenant's, filled by somebody else.
            secrets: the tenant's, metadata only.
            pods: the tenant's on virtual nodes of this cluster; still empty.
            nodes: virtual nodes where claims go through Fluid.
            pods_synced: whether `pods` and `claims` are complete.
            config: what the platform allows.
            owner: who we are.
            mapping: where tenant namespaces lie.
            clock: of the agent.
            rng: for jitter.
        """
        self._client = client
        self._claims = claims
        self._secrets = secrets
        self._pods_synced = pods_synced
        self._config = config
        self._mapping = mapping
        self._clock = clock
        self._own = config.dialect is FluidDialect.FLUID
        self._below = Below(
            client,
            cluster=cluster,
            owner=owner,
            mapping=mapping,
            copies=bool(config.volumes),
            datasets=self._own,
        )
        self._queue: WorkQueue[ObjectKey] = WorkQueue(f"{cluster} fluid claims", rng=rng)
        self._uses = Uses(nodes=nodes, changed=self._queue.add)
        self._uses.follow_pods(pods)
        self._below.subscribe(self._queue.add)
        self._verdicts: dict[ObjectKey, Verdict] = {}
        self._idle_since: dict[ObjectKey, float] = {}
        self._wishes = Wishes(tenant, config=config, owner=owner)
        self._copies = ClaimCopies(
            client, tenant, self._below, owner=owner, mapping=mapping, secrets=secrets
        )
        self._warm_ups = WarmUps(self._below)
        self._served: set[UID] = set()
        """UIDs of Datasets that were seen to have all that the webhook needs."""
        self._around: Surroundings | None = None

    # --- what the backend asks ------------------------------------------------------------------

    @property
    def asking(self) -> Asking:
        """See `PreparedClaims.asking`."""
        return ASKING[self._config.dialect]

    def watches(self, factory: WatchFactory) -> Sequence[Watches]:
        """See `PreparedClaims.watches`."""
        return self._below.watches(factory)

    def attach(self, surroundings: Surroundings) -> None:
        """See `PreparedClaims.attach`."""
        self._around = surroundings
        self._uses.follow_copies(surroundings.copies, surroundings.read)

    def among(self, namespace: str, names: Iterable[str]) -> tuple[str, ...]:
        """See `PreparedClaims.among`."""
        found = []
        for name in names:
            claim = self._claims.get(ObjectKey(namespace, name))
            if claim is None:
                raise Waiting(
                    f'PersistentVolumeClaim "{name}" not found',
                    reason="PersistentVolumeClaimNotFound",
                )
            if PROFILE_LABEL in claim.metadata.labels:
                found.append(name)
        return tuple(found)

    def require(self, namespace: str, names: Iterable[str]) -> None:
        """See `PreparedClaims.require`."""
        for name in names:
            key = ObjectKey(namespace, name)
            claim, verdict = self._claims.get(key), self._verdicts.get(key)
            uid = claim.metadata.uid if claim is not None else UID("")
            if verdict is None or verdict.uid != uid:
                self._queue.add(key)
                verdict = judged.preparing(uid, name, "it was not looked at yet")
            verdict.require()

    def any_in(self, below: str) -> bool:
        """See `PreparedClaims.any_in`."""
        return self._below.any_in(below)

    async def run(self) -> None:
        """See `PreparedClaims.run`."""
        ends = [self._claims.subscribe(self._claim_changed)]  # These stores outlive us.
        ends.append(self._secrets.subscribe(self._secret_changed))
        try:
            await run_workers(self._queue, self.reconcile, workers=_WORKERS, name="fluid claims")
        finally:
            for end in ends:
                end()

    def _claim_changed(self, change: Change[Claim]) -> None:
        self._queue.add(change.key, Priority.of(initial=change.initial))

    def _secret_changed(self, change: Change[PartialObject]) -> None:
        for key in self._wishes.of_secret(change.key):
            self._queue.add(key)

    # --- one claim ------------------------------------------------------------------------------

    async def reconcile(self, key: ObjectKey) -> Result:
        """Take one claim as far as it gets.

        Raises:
            Waiting: an API server did not take something; tried again with backoff.
        """
        around, below = self._around, self._mapping.below(key.namespace)
        if around is None or below is None:
            return Result()
        seen = around.sight(key.namespace) is Sight.COMPLETE
        if not (self._pods_synced() and seen and self._below.synced(around.scope(below))):
            if (error := self._below.error(below)) is not None:
                self._tell_refusal(key, _refused(error, below, key))
            known = self._below.of(key) or self._below.bereft(key) or key in self._verdicts
            return Result(requeue_after=_SETTLE if known or self._uses.any(key) else None)
        try:
            return await self._settle(key, below, around)
        except KubeError as error:
            raise self._tell_refusal(key, _refused(error, below, key)) from error
        except Waiting as refused:
            raise self._tell_refusal(key, refused) from None

    def _tell_refusal(self, key: ObjectKey, refused: Waiting) -> Waiting:
        claim = self._claims.get(key)
        if claim is not None:
            text = f'the data of PersistentVolumeClaim "{key.name}": {refused}'
            self._judge(key, Verdict(claim.metadata.uid, refused.reason, text))
        return refused

    async def _settle(self, key: ObjectKey, below: str, around: Surroundings) -> Result:
        if not self._uses.any(key) and not self._below.of(key):
            await self._clear(key, below, around)
            self._wishes.forget(key)
            self._verdicts.pop(key, None)
            self._idle_since.pop(key, None)
            return Result()
        wish, verdict = await self._wishes.of(self._claims.get(key), below)
        there = self._below.of(key)
        if wish is None or any(not _is_for(o.metadata.annotations, wish) for _, o in there):
            if wish is None and verdict is None:
                self._verdicts.pop(key, None)  # What was said of it would be wrong later.
            if there and not self._uses.is_mounted(key):  # Else it goes when the last copy has.
                await self._remove(key, below, around)
            if verdict is None and wish is not None:
                verdict = judged.preparing(wish.uid, key.name, _FIRST)
            if verdict is not None:
                self._judge(key, verdict)
            return Result()
        if not self._uses.any(key):
            return await self._linger(key, below, around)
        self._idle_since.pop(key, None)
        if any(_is_leaving(resource, seen) for resource, seen in there):
            # A pod that has it now would lose a part of it. The watch says when it is gone.
            self._judge(key, judged.preparing(wish.uid, key.name, _FIRST))
            return Result()
        verdict, again = await self._make(wish, key, around)
        self._judge(key, verdict)
        return Result(requeue_after=again)

    async def _linger(self, key: ObjectKey, below: str, around: Surroundings) -> Result:
        self._verdicts.pop(key, None)
        now = self._clock.monotonic()
        left = self._idle_since.setdefault(key, now) + self._config.linger - now
        if left > 0:
            return Result(requeue_after=left)
        await self._remove(key, below, around)
        return Result()

    async def _make(
        self, wish: Wish, key: ObjectKey, around: Surroundings
    ) -> tuple[Verdict, float | None]:
        """Make what is missing, in order; what there is to say, and when to look again."""
        name = wish.claim.metadata.name
        if (verdict := await self._copies.require(wish, around.secrets)) is not None:
            return verdict, _AGAIN if wish.volume is not None else _SELDOM
        if not self._own:
            return Verdict(wish.uid), None
        dataset = await self._below.make(
            DATASETS, build.dataset(wish), FluidObject, self._below.datasets
        )
        await self._below.make(
            THIN_RUNTIMES, build.thin_runtime(wish), PartialObject, self._below.runtimes
        )
        if dataset.status.phase != BOUND:
            names = Names(wish.below, key.namespace)
            return judged.not_bound(wish.uid, name, dataset, names=names), None
        if not await self._is_served(wish, dataset):
            return judged.preparing(wish.uid, name, "Fluid makes its sidecar"), _AGAIN
        asked = await self._warm_ups.ask(wish, self._uses.wanted_by(key), around.say)
        return Verdict(wish.uid), None if asked else _SELDOM

    async def _is_served(self, wish: Wish, dataset: FluidObject) -> bool:
        """Whether what the webhook reads is there: the DaemonSet, and a volume that is bound."""
        uid, name = dataset.metadata.uid, dataset_name(wish.uid)
        if uid in self._served:
            return True
        try:
            await self._client.get(
                DAEMON_SETS, PartialObject, name=f"{name}-fuse", namespace=wish.below
            )
            claim = await self._client.get(
                PERSISTENT_VOLUME_CLAIMS, ClaimBelow, name=name, namespace=wish.below
            )
        except NotFound:
            return False
        if claim.status.phase != BOUND:
            return False
        self._served.add(uid)
        return True

    async def _remove(self, key: ObjectKey, below: str, around: Surroundings) -> None:
        """What nobody uses goes: Fluid's part first, when that is gone the copies.

        The copy of the claim is last, since the others are found by it. Where somebody removed it,
        they are found by Fluid's part, and go before that.
        """
        await self._clear(key, below, around)
        there = self._below.of(key)
        first = [(r, o) for r, o in there if r is not PERSISTENT_VOLUME_CLAIMS]
        for resource, seen in first:
            await self._below.remove(resource, seen)
            self._served.discard(seen.metadata.uid)
            self._warm_ups.forget(seen.metadata.uid)
        if first:
            return
        self._idle_since.pop(key, None)
        for resource, seen in there:
            uid = UID(seen.metadata.annotations.get(ANNOTATION_UID, ""))
            await self._copies.forget(
                uid, below=below, namespace=key.namespace, held=around.secrets
            )
            await self._below.remove(resource, seen)
        _LOG.info("nothing is left of a claim", claim=str(key))

    async def _clear(self, key: ObjectKey, below: str, around: Surroundings) -> None:
        """What claims had whose copy others removed goes."""
        for uid in self._below.bereft(key):
            await self._copies.forget(
                uid, below=below, namespace=key.namespace, held=around.secrets
            )
            await self._below.remove_volume(uid, below=below)
            self._below.forget(key, uid)

    def _judge(self, key: ObjectKey, verdict: Verdict) -> None:
        before = self._verdicts.get(key)
        self._verdicts[key] = verdict
        if before != verdict and self._around is not None:
            self._around.opened(key.namespace)


def _refused(error: KubeError, below: str, key: ObjectKey) -> Waiting:
    if is_missing_subresource(error):
        return Waiting("the compute cluster does not know Fluid's objects", reason="FluidMissing")
    return waiting(error, what="preparing a claim", names=Names(below, key.namespace))


def _is_leaving(resource: Resource, seen: HasMetadata) -> bool:
    """Whether something goes that pods need; nobody waits for an older DataLoad."""
    return resource is not DATA_LOADS and seen.metadata.deletion_timestamp is not None


def _is_for(marks: Mapping[str, str], wish: Wish) -> bool:
    """Whether an object was made for this very wish."""
    return (marks.get(ANNOTATION_UID), marks.get(ANNOTATION_DIGEST)) == (wish.uid, wish.digest)
