"""A compute Kubernetes cluster as a `vnode.backend.PodBackend`.

Down: `apply` translates (pure) and creates, `update` compares (pure) and patches what differs;
ConfigMaps, Secrets and tokens go through `ObjectWriter`. Up: watches on our labelled objects fill
stores; `observed` reads them. All state is rebuilt from labels and annotations by the watches
(DESIGN 4.8). It knows no lifecycle rules.
"""

import asyncio
import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import NoReturn, TypeVar

from federation.backends.kubernetes import streams
from federation.backends.kubernetes.capacity.quota import ResourceQuota
from federation.backends.kubernetes.claims import ClaimsBelow, claim_names
from federation.backends.kubernetes.conceal import Names
from federation.backends.kubernetes.copies import ObjectCopies
from federation.backends.kubernetes.failures import pod_refused, unseen, waiting
from federation.backends.kubernetes.namespaces import NamespaceState
from federation.backends.kubernetes.observe import foreign_containers, names_of, observed_pod
from federation.backends.kubernetes.on_demand import OnDemand, compute_namespaces
from federation.backends.kubernetes.places import Places
from federation.backends.kubernetes.pod_updates import carry_out
from federation.backends.kubernetes.reachability import Reachability
from federation.backends.kubernetes.translate.names import (
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from federation.backends.kubernetes.translate.rules import JSONObject
from federation.backends.kubernetes.translate.update import Update, update
from federation.backends.kubernetes.usage.reader import UsageMode, UsageReader, usage_sources
from federation.backends.kubernetes.usage.samples import RunningCopy, running_copy
from federation.backends.kubernetes.watches import Watches, WatchFactory
from vnode.backend import (
    Capabilities,
    ExecSession,
    HeldBack,
    LogOptions,
    NameConflict,
    ObjectRef,
    ObservedPod,
    PodEvent,
    PodRequest,
    Rejected,
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
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
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
    HasMetadata,
    NodeName,
    ObjectKey,
    PartialObject,
    Pod,
    Secret,
)
from vnode.runtime.clock import Clock
from vnode.runtime.store import Change, Store
from vnode.usage import UsageReport

T = TypeVar("T", bound=HasMetadata)

_SAID_ALREADY = "Scheduled"
"""The tenant's scheduler has said where the pod goes; which compute node it is, is not shown."""
_OPEN = frozenset({NamespaceState.READY, NamespaceState.ABSENT})
"""Where copies can be, or can be made. What is absent is in no listing of the whole cluster."""
_NO_PLACE = frozenset({"NamespaceNotReady", "NamespaceTerminating"})
"""Reasons of refusals that make us doubt the namespace."""


class KubernetesBackend:
    """Runs the pods of one tenant cluster in one compute cluster."""

    capabilities = Capabilities(
        token_refresh=True,
        secret_objects=True,
        cluster_dns=True,
        upgrade_streams=True,
        session_streams=False,
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
        claim_check: Callable[[Pod], Awaitable[None]] | None = None,
        forwards: Callable[[str], bool] = lambda _: True,
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
            claim_check: raises Waiting for a pod whose claims mean nothing here, by what the tenant
                says of them; None: not asked.
            forwards: whether pods of a tenant namespace may ever be brought here.
        """
        self._client = client
        self._cluster = cluster
        self._owner = owner
        self._mapping = namespaces
        self._policies = policies
        self._clock = clock
        self._rng = rng
        self.pods: Store[Pod] = Store(f"{cluster} pods")
        self._events: Store[Event] = Store(f"{cluster} events")
        self._copies = ObjectCopies(
            client, cluster=cluster, owner=owner, mapping=namespaces, tokens_gone=self._tell
        )
        self.quotas: Store[ResourceQuota] = Store(f"{cluster} quotas")
        self._read: dict[ObjectKey, tuple[str, ObservedPod | None]] = {}
        self._gone: dict[ObjectKey, ObservedPod] = {}
        self._in_doubt: set[str] = set()
        """Copies of which an update was not answered well: they may be newer than the watch."""
        self._listeners: list[Callable[[ObjectKey], None]] = []
        self._event_listeners: list[Callable[[PodEvent], None]] = []
        self._reachability = Reachability(client, clock=clock)
        self._usage = UsageReader(
            usage_sources(
                usage, client, cluster=cluster, tenant=owner.tenant, clock=clock, rng=rng
            ),
            copies=self._running,
            clock=clock,
        )
        self._claims = ClaimsBelow(client, cluster=cluster, clock=clock)
        self._claim_check = claim_check
        self._forwards = forwards
        self._watching = WatchFactory(
            client,
            clock=clock,
            rng=rng,
            tenant_label=f"{LABEL_TENANT}={owner.tenant}",
            whole_cluster=on_demand is not None,
        )
        self._own_watches = self._watch_own()
        self._watches = (*self._own_watches, *self._watch_others())
        self.namespaces = compute_namespaces(
            client,
            owner=owner,
            mapping=namespaces,
            watches=self._watches,
            vacant=self._is_vacant,
            opened=self._tell_all,
            on_demand=on_demand,
            clock=clock,
            rng=rng,
        )
        self._places = Places(client, mapping=namespaces, namespaces=self.namespaces)
        self.pods.subscribe(self._pod_changed)
        self._events.subscribe(self._event_changed)

    def _watch_own(self) -> tuple[Watches, ...]:
        """What has to be listed before a namespace counts as seen."""
        make, partial, copies = self._watching, PartialObject, self._copies
        return (
            make.ours(PODS, Pod, self.pods),
            make.ours(CONFIG_MAPS, partial, copies.config_maps, metadata_only=True),
            make.ours(SECRETS, partial, copies.secrets, metadata_only=True),
        )

    def _watch_others(self) -> tuple[Watches, ...]:
        make = self._watching
        return (
            make.others(EVENTS, Event, self._events, fields="involvedObject.kind=Pod"),
            make.others(RESOURCE_QUOTAS, ResourceQuota, self.quotas),
        )

    async def run(self) -> None:
        """Watch the compute cluster until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for watch in self._watches:
                tasks.create_task(watch.run())
            tasks.create_task(self.namespaces.run())
            tasks.create_task(self._reachability.run())

    # --- what is there --------------------------------------------------------------------------

    def sight(self, namespace: str) -> Sight:
        """See `PodBackend.sight`."""
        state = self.namespaces.state(namespace)
        if state is NamespaceState.UNKNOWN:
            return Sight.UNKNOWN
        if state is NamespaceState.NOT_FORWARDED and not self._forwards(namespace):
            return Sight.NOWHERE
        if state not in _OPEN:
            return Sight.BARRED
        scope = self._watching.scope(self._mapping.below(namespace) or "")
        listed = self.pods.synced(scope) and self._copies.synced(scope)
        return Sight.COMPLETE if listed else Sight.UNKNOWN

    def why_unseen(self, namespace: str) -> WaitingReason:
        """See `PodBackend.why_unseen`."""
        below = self._mapping.below(namespace) or ""
        errors = (watch.error(below) for watch in self._own_watches)
        return unseen(next((e for e in errors if e is not None), self._reachability.error))

    def _is_vacant(self, namespace: str) -> bool:
        """Whether all below is known and nothing of ours is left for a tenant namespace."""
        if self.sight(namespace) is not Sight.COMPLETE:
            return False
        below = self._mapping.below(namespace) or ""
        return not (
            self._copies.any_in(below)
            or any(key.namespace == below for key in self.pods)
            or any(key.namespace == namespace for key in self._gone)
        )

    @property
    def reachable(self) -> bool:
        """Whether the API server answered lately."""
        return self._reachability.reachable

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """See `PodBackend.subscribe`."""
        self._listeners.append(listener)

    def subscribe_events(self, listener: Callable[[PodEvent], None]) -> None:
        """See `PodBackend.subscribe_events`."""
        self._event_listeners.append(listener)

    def subscribe_objects(self, listener: Callable[[ObjectRef], None]) -> None:
        """See `PodBackend.subscribe_objects`."""
        self._copies.subscribe(listener)

    def observed(self, key: ObjectKey) -> ObservedPod | None:
        """See `PodBackend.observed`."""
        below = self._mapping.below(key.namespace)
        pod = self.pods.get(ObjectKey(below, key.name)) if below is not None else None
        live = self._observe(pod) if pod is not None else None
        return live if live is not None else self._gone.get(key)

    def forget(self, pod: ObservedPod) -> None:
        """See `PodBackend.forget`."""
        kept = self._gone.get(pod.key)
        if kept is not None and kept.handle == pod.handle:
            del self._gone[pod.key]

    def _observe(self, pod: Pod) -> ObservedPod | None:
        key, version = pod.metadata.key, pod.metadata.resource_version
        cached = self._read.get(key)
        if cached is None or cached[0] != version:
            seen = observed_pod(pod, owner=self._owner, namespaces=self._mapping)
            before = cached[1] if cached is not None else None
            if seen is not None and before is not None and before.handle == seen.handle:
                # The last step of a deletion sets the time anew: the first one counts.
                asked = before.removal_requested or seen.removal_requested
                seen = dataclasses.replace(seen, removal_requested=asked)
            cached = self._read[key] = (version, seen)
        seen = cached[1]
        if seen is None:
            return None
        due = self._copies.tokens_due(seen.uid, key.namespace)
        return seen if due is None else dataclasses.replace(seen, tokens_refresh_at=due)

    def _pod_changed(self, change: Change[Pod]) -> None:
        seen = change.new or change.old
        copy = self._observe(seen) if seen is not None else None
        if change.new is None:
            self._read.pop(change.key, None)
        if change.old is not None and (
            change.new is None or change.new.metadata.uid != change.old.metadata.uid
        ):
            self._in_doubt.discard(change.old.metadata.uid)
        if copy is None:
            return
        kept = self._gone.get(copy.key)
        if change.new is not None:
            if kept is not None and kept.handle == copy.handle:
                del self._gone[copy.key]  # It is there after all.
        elif self.sight(copy.key.namespace) not in (Sight.BARRED, Sight.NOWHERE):
            # Kept until the lifecycle rules have written its final states. A namespace that we may
            # no longer watch says nothing about what is in it.
            self._gone[copy.key] = dataclasses.replace(copy, gone=True)
        self._tell(copy.key)

    def _tell(self, key: ObjectKey) -> None:
        for listener in self._listeners:
            listener(key)

    def _tell_all(self, namespace: str) -> None:
        """A namespace can be seen (again): what was known of it before was passed over."""
        below = self._mapping.below(namespace)
        here = [pod for pod in self.pods.values() if pod.metadata.namespace == below]
        copies = [copy for pod in here if (copy := self._observe(pod)) is not None]
        copies += [copy for copy in self._gone.values() if copy.key.namespace == namespace]
        for copy in copies:
            self._tell(copy.key)
        self._copies.tell_all(namespace)

    def _event_changed(self, change: Change[Event]) -> None:
        event = change.new
        if event is None or event.reason == _SAID_ALREADY:
            return
        about = ObjectKey(event.involved_object.namespace, event.involved_object.name)
        pod = self.pods.get(about)
        copy = self._observe(pod) if pod is not None else None
        if pod is None or copy is None or copy.handle != event.involved_object.uid:
            return
        if change.initial and not self.namespaces.made_here(copy.key.namespace):
            return  # What a listing brings was said long ago.
        said = PodEvent(
            key=copy.key,
            uid=copy.uid,
            node=copy.node,
            type=event.type,
            reason=event.reason,
            message=names_of(pod).conceal(event.message),
            by_kubelet=event.source.component == "kubelet",
        )
        for listener in self._event_listeners:
            listener(said)

    # --- pods -----------------------------------------------------------------------------------

    def admit(self, request: PodRequest) -> None:
        """See `PodBackend.admit`."""
        if self._mapping.below(request.pod.metadata.namespace) is not None:
            self._translate(request)

    def refused(self, request: PodRequest, copy: ObservedPod) -> tuple[HeldBack, ...]:
        """See `PodBackend.refused`."""
        self._require_sight(copy.key.namespace)
        pod = self.pods.get(self._below(copy.key))
        return self._compare(request, copy, pod)[1].refused

    def _translate(self, request: PodRequest) -> JSONObject:
        return translate(
            request,
            owner=self._owner,
            namespaces=self._mapping,
            policy=self._policies[request.node],
        )

    async def apply(self, request: PodRequest) -> ObservedPod:
        """See `PodBackend.apply`."""
        key = request.pod.metadata.key
        await self._require_place(key.namespace)
        known = self.observed(key)
        if known is None or known.uid != request.pod.metadata.uid:
            await self._require_claims(request)
        body = self._translate(request)
        copy = self.observed(key)
        if copy is not None and copy.uid == request.pod.metadata.uid:
            return copy  # Also one that came and went while we were on the way here.
        if copy is not None and not copy.gone:
            self._refuse_predecessor()
        below = self._below(key)
        names = Names(below.namespace, key.namespace)
        try:
            # An older API server must not leave out a part of the pod and say nothing.
            made = await self._client.create(
                PODS, body, Pod, namespace=below.namespace, strict=True
            )
        except AlreadyExists:
            made = await self._adopt(request, below)
        except KubeError as error:
            refused = pod_refused(error, names=names)
            self._doubt(key.namespace, refused)
            raise refused from error
        return self._remember(key, made)

    async def update(self, request: PodRequest, copy: ObservedPod) -> Updated:
        """See `PodBackend.update`."""
        self._require_sight(copy.key.namespace)
        below = self._below(copy.key)
        pod = self.pods.get(below)
        if pod is not None and copy.handle in self._in_doubt:
            pod = await self._live(below)
        pod, wanted = self._compare(request, copy, pod)
        self._in_doubt.add(copy.handle)
        pod, held_back = await carry_out(self._client, wanted, pod)
        self._in_doubt.discard(copy.handle)
        return Updated(self._remember(copy.key, pod), held_back)

    def _compare(
        self, request: PodRequest, copy: ObservedPod, pod: Pod | None
    ) -> tuple[Pod, Update]:
        """The copy as it is below, and what has to change in it."""
        if pod is None or pod.metadata.uid != copy.handle:
            raise Waiting("the copy has just gone", reason="ComputeConflict")
        wanted = update(
            request,
            pod,
            owner=self._owner,
            namespaces=self._mapping,
            policy=self._policies[request.node],
        )
        return pod, wanted

    async def _adopt(self, request: PodRequest, below: ObjectKey) -> Pod:
        """A pod of that name exists: ours of the same UID is the copy, nothing else is touched."""
        found = await self._live(below)
        if found is None:
            raise Waiting("a pod of that name is just going away", reason="PredecessorExists")
        copy = observed_pod(found, owner=self._owner, namespaces=self._mapping)
        if copy is None:
            raise NameConflict(
                f'a pod named "{below.name}" exists in the compute cluster '
                "and does not belong to this tenant"
            )
        if copy.uid != request.pod.metadata.uid:
            self._refuse_predecessor()
        return found

    def _remember(self, key: ObjectKey, made: Pod) -> ObservedPod:
        """Know our own write before the watch brings it, unless it is gone again already."""
        kept = self._gone.get(key)
        if kept is not None and kept.handle == made.metadata.uid:
            return kept
        self._gone.pop(key, None)
        self.pods.upsert(made, scope=self._watching.scope(made.metadata.namespace))
        copy = self._observe(made)
        if copy is None:
            raise Waiting("the copy lost its marks on the way", reason="ComputeConflict")
        return copy

    async def confirm_gone(self, key: ObjectKey, uid: UID) -> bool:
        """See `PodBackend.confirm_gone`."""
        self._require_sight(key.namespace)
        found = await self._live(self._below(key))
        if found is None:
            await self._require_same_place(key.namespace)
            return True
        copy = observed_pod(found, owner=self._owner, namespaces=self._mapping)
        if copy is None:
            # Unmarked, but the very pod that was our copy: somebody took its labels.
            kept = self._gone.get(key)
            return kept is None or kept.handle != found.metadata.uid
        return copy.uid != uid

    async def _require_same_place(self, namespace: str) -> None:
        """A pod that another cluster does not have is not gone: was the kubeconfig exchanged?"""
        below = self._mapping.below(namespace) or ""
        try:
            same = await self.namespaces.is_same(namespace)
        except KubeError as error:
            names = Names(below, namespace)
            raise waiting(error, what="look-up in the compute cluster", names=names) from error
        if not same:
            raise Waiting(
                "the compute namespace behind the virtual node has been exchanged",
                reason="ComputeReplaced",
            )

    def place(self, namespace: str) -> str:
        """See `PodBackend.place`."""
        return self._places.mark(namespace)

    async def require_place(self, namespace: str, made_in: str) -> None:
        """See `PodBackend.require_place`."""
        await self._places.require(namespace, made_in)

    async def delete(self, pod: ObservedPod, *, grace_seconds: int | None) -> None:
        """See `PodBackend.delete`."""
        below = self._below(pod.key)
        try:
            await self._client.delete(
                PODS,
                name=below.name,
                namespace=below.namespace,
                uid=UID(pod.handle),
                grace_seconds=grace_seconds,
            )
        except (NotFound, Conflict):
            return  # It is gone; what may have its name now is another object.
        except KubeError as error:
            names = Names(below.namespace, pod.key.namespace, pod.handle, pod.uid)
            raise waiting(error, what="deletion in the compute cluster", names=names) from error

    async def _live(self, below: ObjectKey) -> Pod | None:
        try:
            return await self._client.get(PODS, Pod, name=below.name, namespace=below.namespace)
        except NotFound:
            return None
        except KubeError as error:
            names = Names(below.namespace, "the pod's namespace")
            raise waiting(error, what="look-up in the compute cluster", names=names) from error

    # --- objects --------------------------------------------------------------------------------

    async def put_tokens(self, pod: ObservedPod, tokens: Mapping[TokenKey, Token]) -> None:
        """See `PodBackend.put_tokens`."""
        await self._copies.put_tokens(pod, self._below(pod.key).namespace, tokens)

    def held_version(self, ref: ObjectRef) -> str | None:
        """See `PodBackend.held_version`."""
        return self._copies.version(ref)

    async def put_object(self, ref: ObjectRef, body: ConfigMap | Secret) -> None:
        """See `PodBackend.put_object`."""
        await self._require_place(ref.namespace)
        try:
            await self._copies.put(ref, body)
        except Waiting as refused:
            self._doubt(ref.namespace, refused)
            raise

    async def drop_object(self, ref: ObjectRef) -> None:
        """See `PodBackend.drop_object`."""
        await self._copies.drop(ref)

    # --- streams --------------------------------------------------------------------------------

    def logs(self, pod: ObservedPod, options: LogOptions) -> AsyncIterator[bytes]:
        """See `PodBackend.logs`."""
        self._refuse_foreign_container(pod, options.container)
        return streams.logs(self._client, self._below(pod.key), self._names(pod), options)

    async def upgrade(self, pod: ObservedPod, request: StreamRequest) -> UpgradedConnection:
        """See `PodBackend.upgrade`."""
        self._refuse_foreign_container(pod, request.container)
        return await streams.upgrade(self._client, self._below(pod.key), self._names(pod), request)

    async def session(self, pod: ObservedPod, request: StreamRequest) -> ExecSession:
        """Not the form of this backend: `capabilities.session_streams` is False."""
        raise StreamError(f"{request.verb} of {pod.key} has no session form", code=501)

    def _refuse_foreign_container(self, pod: ObservedPod, container: str) -> None:
        """A name of the tenant's may have been taken by somebody who debugs the copy below."""
        found = self.pods.get(self._below(pod.key))
        if found is not None and container in foreign_containers(found):
            raise StreamError(
                f'container "{container}" is not running', code=404, reason="NotFound"
            )

    def _names(self, pod: ObservedPod) -> Names:
        found = self.pods.get(self._below(pod.key))
        below = self._below(pod.key).namespace
        return names_of(found) if found else Names(below, pod.key.namespace, pod.handle, pod.uid)

    # --- usage ----------------------------------------------------------------------------------

    async def usage(self, node: NodeName) -> UsageReport:
        """See `PodBackend.usage`."""
        return await self._usage.report(node)

    def _running(self) -> Iterator[RunningCopy]:
        for pod in self.pods.values():
            copy = self._observe(pod)
            running = running_copy(pod, copy) if copy is not None else None
            if running is not None:
                yield running

    # --- small things ---------------------------------------------------------------------------

    def _below(self, key: ObjectKey) -> ObjectKey:
        return ObjectKey(self._mapping.below(key.namespace) or "", key.name)

    async def _require_claims(self, request: PodRequest) -> None:
        """What the pod's claims stand for is there. Raises Waiting."""
        names, key = claim_names(request.pod.spec), request.pod.metadata.key
        if not names or self._policies[request.node].pvc is not PvcMode.SHARED:
            return
        if self._claim_check is not None:
            await self._claim_check(request.pod)
        below = self._below(key).namespace
        await self._claims.require(names, below=below, namespace=key.namespace)

    async def _require_place(self, namespace: str) -> None:
        """A namespace in which something can be made. Raises Waiting."""
        try:
            await self.namespaces.require(namespace)
        except KubeError as error:
            names = Names(self._mapping.below(namespace) or "", namespace)
            what = "making the pod's namespace in the compute cluster"
            raise waiting(error, what=what, names=names) from error
        self._require_sight(namespace)

    def _doubt(self, namespace: str, refused: Rejected | Waiting) -> None:
        if isinstance(refused, Waiting) and refused.reason in _NO_PLACE:
            self.namespaces.look_again(namespace)

    def _require_sight(self, namespace: str) -> None:
        """A namespace in which all of ours is known. Raises Waiting."""
        state = self.namespaces.state(namespace)
        if self.sight(namespace) is Sight.COMPLETE:
            return
        why = "is being looked at" if state is NamespaceState.READY else state.value
        raise Waiting(
            f'namespace "{namespace}" {why} (cluster "{self._cluster}"); '
            "ask the platform team to prepare it for this tenant",
            reason="NamespaceNotReady",
            not_done=True,
        )

    @staticmethod
    def _refuse_predecessor() -> NoReturn:
        raise Waiting(
            "the copy of an older pod of the same name is not gone yet",
            reason="PredecessorExists",
            not_done=True,
        )
