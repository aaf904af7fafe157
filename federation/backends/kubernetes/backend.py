"""A compute Kubernetes cluster as a `vnode.backend.PodBackend`.

This module puts the parts together and says which of them answers. Down: pods go through
`PodWriter`; ConfigMaps, Secrets and tokens through `ObjectCopies`; both only where `NamespaceSight`
lets them. Up: watches on our labelled objects fill the stores of `PodCopies`, `ObjectCopies` and
`PodEvents`. All state is rebuilt from labels and annotations by the watches (DESIGN 4.8). It knows
no lifecycle rules.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

from federation.backends.kubernetes import streams
from federation.backends.kubernetes.capacity.quota import ResourceQuota
from federation.backends.kubernetes.claims import ClaimsBelow
from federation.backends.kubernetes.failures import nothing_sent
from federation.backends.kubernetes.held_up import PATIENCE, HeldUpCopies
from federation.backends.kubernetes.object_copies import ObjectCopies
from federation.backends.kubernetes.observe import foreign_containers
from federation.backends.kubernetes.on_demand import OnDemand, compute_namespaces
from federation.backends.kubernetes.places import Places
from federation.backends.kubernetes.pod_copies import PodCopies
from federation.backends.kubernetes.pod_events import EVENTS_TO_RELAY, PodEvents
from federation.backends.kubernetes.pod_writer import ClaimJudge, PodWriter
from federation.backends.kubernetes.prepared_claims import PreparedClaims, Surroundings
from federation.backends.kubernetes.reachability import Reachability
from federation.backends.kubernetes.sight import NamespaceSight
from federation.backends.kubernetes.translate.names import (
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from federation.backends.kubernetes.usage.reader import UsageMode, UsageReader, usage_sources
from federation.backends.kubernetes.usage.samples import RunningCopy, running_copy
from federation.backends.kubernetes.watches import Watches, WatchFactory
from vnode.backend import (
    Capabilities,
    ExecSession,
    HeldBack,
    LogOptions,
    ObjectRef,
    ObservedPod,
    PodEvent,
    PodRequest,
    Sight,
    StreamError,
    StreamRequest,
    Token,
    TokenKey,
    Updated,
    UpgradedConnection,
    Waiting,
    WaitingReason,
)
from vnode.kube.client import KubeClient
from vnode.kube.resources import (
    CONFIG_MAPS,
    EVENTS,
    PODS,
    RESOURCE_QUOTAS,
    SECRETS,
)
from vnode.kube.types import (
    UID,
    ConfigMap,
    Event,
    NodeName,
    ObjectKey,
    PartialObject,
    Pod,
    Secret,
)
from vnode.runtime.clock import Clock
from vnode.runtime.store import Store
from vnode.usage import UsageReport


class KubernetesBackend:
    """Runs the pods of one tenant cluster in one compute cluster."""

    capabilities = Capabilities(
        token_refresh=True,
        secret_objects=True,
        cluster_dns=True,
        upgrade_streams=True,
        session_streams=False,
        start_gates=True,
    )

    def __init__(
        self,
        client: KubeClient,
        *,
        cluster: str,
        owner: Owner,
        namespaces: NamespaceMapping,
        policies: Mapping[NodeName, TranslationPolicy],
        clock: Clock,
        rng: random.Random,
        usage: UsageMode = UsageMode.AUTO,
        on_demand: OnDemand | None = None,
        claim_check: ClaimJudge | None = None,
        prepared_claims: PreparedClaims | None = None,
        forwards: Callable[[str], bool] = lambda _: True,
        sidecar_patience: float = PATIENCE,
    ) -> None:
        """Make the stores and watches; nothing is asked of the cluster before `run`.

        Args:
            client: of the compute cluster.
            cluster: the name under which tenants know it.
            owner: who we are: tenant name and UID of the tenant cluster.
            namespaces: where tenant namespaces lie.
            policies: the translation policy of each virtual node's pool.
            clock: of the agent.
            rng: for jitter.
            usage: where resource usage is read.
            on_demand: how missing namespaces are made; None: they are prepared by others. The
                credential then reaches the whole cluster, and so do the watches.
            claim_check: raises Waiting for claims that mean nothing here, by what the tenant says
                of them; None: not asked.
            prepared_claims: who prepares claims here; None: nobody.
            forwards: whether pods of a tenant namespace may ever be brought here.
            sidecar_patience: seconds for which others may end what they put into a finished copy.
        """
        self._client = client
        self._mapping = namespaces
        self._reachability = Reachability(
            client, clock=clock, returned=self._answers_again, changed=self._tell_of_link
        )
        self._place_listeners: list[Callable[[str], None]] = []
        self._link_listeners: list[Callable[[], None]] = []
        self._objects = ObjectCopies(
            client,
            cluster=cluster,
            owner=owner,
            mapping=namespaces,
            tokens_gone=lambda key: self._copies.tell(key),
        )
        self._copies = PodCopies(
            cluster=cluster,
            owner=owner,
            mapping=namespaces,
            sight=self.sight,
            tokens_due=self._objects.tokens_due,
        )
        self._held_up = HeldUpCopies(
            client,
            self._copies,
            cluster=cluster,
            patience=sidecar_patience,
            clock=clock,
            rng=rng,
        )
        self._events = PodEvents(
            self._copies,
            cluster=cluster,
            made_here=lambda namespace: self.namespaces.made_here(namespace),
        )
        self.quotas: Store[ResourceQuota] = Store(f"{cluster} quotas")
        self._watching = WatchFactory(
            client,
            clock=clock,
            rng=rng,
            tenant_label=f"{LABEL_TENANT}={owner.tenant}",
            whole_cluster=on_demand is not None,
        )
        own = self._watch_own()
        self._prepared_claims = prepared_claims
        prepared = prepared_claims.watches(self._watching) if prepared_claims is not None else ()
        self._watches = (*own, *self._watch_others(), *prepared)
        self.namespaces = compute_namespaces(
            client,
            owner=owner,
            mapping=namespaces,
            watches=self._watches,
            vacant=self._is_vacant,
            opened=self._opened,
            on_demand=on_demand,
            clock=clock,
            rng=rng,
        )
        self._places = Places(client, mapping=namespaces, namespaces=self.namespaces)
        self._sight = NamespaceSight(
            self.namespaces,
            cluster=cluster,
            mapping=namespaces,
            watches=own,
            listed=self._is_listed,
            forwards=forwards,
            reachability=self._reachability,
        )
        self._writer = PodWriter(
            client,
            self._copies,
            owner=owner,
            mapping=namespaces,
            policies=policies,
            claims=ClaimsBelow(client, cluster=cluster, owner=owner, clock=clock),
            claim_check=claim_check,
            prepared_claims=prepared_claims,
            gates=lambda: self._reachability.start_gates,
            scope=self._watching.scope,
            missing=own[0].suspect,
        )
        if prepared_claims is not None:
            prepared_claims.attach(
                Surroundings(
                    copies=self.pods,
                    read=self._copies.read,
                    secrets=self._objects.secrets,
                    sight=self.sight,
                    scope=self._watching.scope,
                    opened=self._tell_of_place,
                    say=self._events.tell,
                )
            )
        self._usage = UsageReader(
            usage_sources(
                usage, client, cluster=cluster, tenant=owner.tenant, clock=clock, rng=rng
            ),
            copies=self._running,
            clock=clock,
        )

    def _watch_own(self) -> tuple[Watches, ...]:
        """What has to be listed before a namespace counts as seen; pods come first."""
        make, partial, objects = self._watching, PartialObject, self._objects
        return (
            make.ours(PODS, Pod, self.pods),
            make.ours(CONFIG_MAPS, partial, objects.config_maps, metadata_only=True),
            make.ours(SECRETS, partial, objects.secrets, metadata_only=True),
        )

    def _watch_others(self) -> tuple[Watches, ...]:
        make = self._watching
        return (
            make.others(EVENTS, Event, self._events.store, fields=EVENTS_TO_RELAY),
            make.others(RESOURCE_QUOTAS, ResourceQuota, self.quotas),
        )

    async def run(self) -> None:
        """Watch the compute cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches:
                tasks.create_task(watch.run())
            tasks.create_task(self.namespaces.run())
            tasks.create_task(self._reachability.run())
            tasks.create_task(self._held_up.run())
            if self._prepared_claims is not None:
                tasks.create_task(self._prepared_claims.run(), name="prepared claims")

    # --- what is there --------------------------------------------------------------------------

    @property
    def pods(self) -> Store[Pod]:
        """The copies as the compute cluster has them."""
        return self._copies.store

    @property
    def reachable(self) -> bool:
        """Whether the API server answered lately."""
        return self._reachability.reachable

    @property
    def refuses_us(self) -> bool:
        """Whether the API server answers, but refuses our credential."""
        return self._reachability.refuses_us

    @property
    def link_known(self) -> bool:
        """Whether `reachable` rests on anything yet."""
        return self._reachability.known

    @property
    def silent_for(self) -> float | None:
        """See `PodBackend.silent_for`."""
        return self._reachability.silent_for

    @property
    def websockets(self) -> bool:
        """Whether the API server takes exec, attach and port-forward over WebSocket."""
        return self._reachability.websockets

    def sight(self, namespace: str) -> Sight:
        """See `PodBackend.sight`."""
        return self._sight.of(namespace)

    def why_unseen(self, namespace: str) -> WaitingReason:
        """See `PodBackend.why_unseen`."""
        return self._sight.why_unseen(namespace)

    @property
    def settled(self) -> bool:
        """See `PodBackend.settled`: a list of an API server has all that was made before it."""
        return True

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """See `PodBackend.subscribe`."""
        self._copies.subscribe(listener)

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self._events.subscribe(listener)

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        """See `PodBackend.subscribe_objects`."""
        self._objects.subscribe(listener)

    def subscribe_places(self, listener: Callable[[str], None]) -> None:
        """See `PodBackend.subscribe_places`."""
        self._place_listeners.append(listener)

    def subscribe_link(self, listener: Callable[[], None]) -> None:
        """See `PodBackend.subscribe_link`."""
        self._link_listeners.append(listener)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """See `PodBackend.observed`."""
        return self._copies.observed(key)

    def forget(self, pod: ObservedPod) -> None:
        """See `PodBackend.forget`."""
        self._copies.forget(pod)

    def place(self, namespace: str) -> str:
        """See `PodBackend.place`."""
        return self._places.mark(namespace)

    async def require_place(self, namespace: str, made_in: str) -> None:
        """See `PodBackend.require_place`."""
        await self._places.require(namespace, made_in)

    def _is_listed(self, below: str) -> bool:
        scope = self._watching.scope(below)
        return self.pods.synced(scope) and self._objects.synced(scope)

    def _is_vacant(self, namespace: str) -> bool:
        """Whether all below is known and nothing of ours is left for a tenant namespace."""
        if self.sight(namespace) is not Sight.COMPLETE:
            return False
        below = self._mapping.below(namespace) or ""
        prepared = self._prepared_claims
        if prepared is not None and prepared.any_in(below):
            return False
        return not (self._objects.any_in(below) or self._copies.any_in(namespace))

    def _opened(self, namespace: str) -> None:
        """A namespace can be seen (again): what was known of it before was passed over."""
        self._copies.tell_all(namespace)
        self._objects.tell_all(namespace)
        self._tell_of_place(namespace)

    def _answers_again(self) -> None:
        for namespace in self.namespaces.open():
            self._tell_of_place(namespace)
        self._tell_of_link()

    def _tell_of_link(self) -> None:
        for listener in self._link_listeners:
            listener()

    def _tell_of_place(self, namespace: str) -> None:
        for listener in self._place_listeners:
            listener(namespace)

    # --- pods -----------------------------------------------------------------------------------

    def admit(self, request: PodRequest) -> None:
        """See `PodBackend.admit`."""
        if self._mapping.below(request.pod.metadata.namespace) is not None:
            self._writer.translated(request)

    async def apply(self, request: PodRequest) -> ObservedPod:
        """See `PodBackend.apply`."""
        namespace = request.pod.metadata.namespace
        with nothing_sent():
            await self._sight.require_place(namespace)
        try:
            return await self._writer.create(request)
        except Waiting as refused:
            self._sight.doubt(namespace, refused)
            raise

    async def ungate(self, copy: ObservedPod) -> ObservedPod:
        """See `PodBackend.ungate`."""
        return await self._writer.ungate(copy)

    def refused(self, request: PodRequest, copy: ObservedPod) -> tuple[HeldBack, ...]:
        """See `PodBackend.refused`."""
        self._sight.require(copy.key.namespace)
        return self._writer.refused(request, copy)

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        """See `PodBackend.update`."""
        self._sight.require(copy.key.namespace)
        return await self._writer.update(request, copy)

    async def confirm_gone(self, key: ObjectKey, uid: UID) -> bool:
        """See `PodBackend.confirm_gone`."""
        nowhere = self.sight(key.namespace) is Sight.NOWHERE
        excluded = nowhere and self._mapping.below(key.namespace) is not None
        if not excluded and self.namespaces.identity(key.namespace).namespace is None:
            self._sight.require(key.namespace)  # It is known not to be there, or nothing is.
        found = await self._writer.live(key)
        if found is not None and self._copies.holds(key, uid, found):
            return False
        if not excluded:  # Of that place nothing is known that it could be compared with.
            await self._places.require_same(key.namespace)
        return True

    async def delete(self, pod: ObservedPod, *, grace_seconds: int | None) -> None:
        """See `PodBackend.delete`."""
        await self._writer.delete(pod, grace_seconds=grace_seconds)

    # --- objects --------------------------------------------------------------------------------

    async def put_tokens(self, pod: ObservedPod, tokens: Mapping[TokenKey, Token]) -> None:
        """See `PodBackend.put_tokens`."""
        await self._objects.put_tokens(pod, self._copies.below(pod.key).namespace, tokens)

    def held_version(self, ref: ObjectRef) -> str | None:
        """See `PodBackend.held_version`."""
        return self._objects.version(ref)

    async def put_object(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        """See `PodBackend.put_object`."""
        if self.held_version(ref) is None:
            await self._sight.require_place(ref.namespace)
        else:
            self._sight.require(ref.namespace)
        try:
            await self._objects.put(ref, body)
        except Waiting as refused:
            self._sight.doubt(ref.namespace, refused)
            raise

    async def drop_object(self, ref: ObjectRef) -> None:
        """See `PodBackend.drop_object`."""
        await self._objects.drop(ref)

    # --- streams --------------------------------------------------------------------------------

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        """See `PodBackend.logs`."""
        self._require_own(pod, options.container)
        return streams.logs(
            self._client, self._copies.below(pod.key), self._copies.names(pod), options
        )

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        """See `PodBackend.upgrade`."""
        self._require_own(pod, request.container)
        return await streams.upgrade(
            self._client, self._copies.below(pod.key), self._copies.names(pod), request
        )

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        """Not the form of this backend: `capabilities.session_streams` is False."""
        raise StreamError(f"{request.verb} of {pod.key} has no session form", code=501)

    def _require_own(self, pod: ObservedPod, container: str) -> None:
        """Logs and streams are asked for by name, and a name may be another's by now.

        Of the pod: the copy was replaced. Of the container: somebody debugs the copy below.
        """
        found = self._copies.pod(pod.key)
        if found is None or found.metadata.uid != pod.handle:
            raise StreamError(
                f'pod "{pod.key.name}" is not there any more', code=404, reason="NotFound"
            )
        if container in foreign_containers(found):
            raise StreamError(
                f'container "{container}" is not running', code=404, reason="NotFound"
            )

    # --- usage ----------------------------------------------------------------------------------

    async def usage(self, node: NodeName) -> UsageReport:
        """See `PodBackend.usage`."""
        return await self._usage.report(node)

    def _running(self) -> Iterator[RunningCopy]:
        for pod, copy in self._copies.each():
            if (running := running_copy(pod, copy)) is not None:
                yield running
