"""Everything that one replica does for one compute cluster while it holds that cluster's Lease.

In: the tenant's shared stores and the cluster's configuration. Out: a backend with its watches, one
virtual node per pool (Node object, lease, kubelet API), and the pod controller with its queues. All
of it lives in one task group: when leadership is lost the group is cancelled and writes stop.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from operator import attrgetter

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.capacity.black_hole import NoBlackHole
from federation.backends.kubernetes.capacity.minimum import MinimumCapacity
from federation.backends.kubernetes.capacity.nodes import NodesCapacity
from federation.backends.kubernetes.capacity.pool import Pool
from federation.backends.kubernetes.capacity.pool import Toleration as PoolToleration
from federation.backends.kubernetes.capacity.quota import QuotaCapacity
from federation.backends.kubernetes.capacity.requests import RequestingPod
from federation.backends.kubernetes.capacity.shared_quota import SharedQuota
from federation.backends.kubernetes.capacity.static import StaticCapacity
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_NODE,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.translate.policy import (
    DEFAULT_DENIED_PREFIXES,
    TranslationPolicy,
)
from federation.certificates import Certificates
from federation.claims.binder import ClaimBinder
from federation.claims.check import ClaimCheck
from federation.claims.placeholder import NODE_LABEL, NODE_LABEL_VALUE
from federation.config import (
    AgentConfig,
    CapacitySourceKind,
    ClusterConfig,
    LimitsConfig,
    NamespaceCreation,
    NamespaceReclaim,
    NetworkMode,
    PoolConfig,
)
from federation.config import VirtualNode as ConfiguredNode
from federation.renewal import TokenRenewal
from federation.telemetry import FederationMetrics
from federation.tenant import Tenant, read_client_ca
from vnode.backend import CapacitySource, ObjectRef
from vnode.kube.client import KubeClient
from vnode.kube.resources import NODES, PODS
from vnode.kube.types import UID, NodeName, ObjectKey, ObjectMeta, Pod
from vnode.kubelet.access.authenticator import Authenticator
from vnode.kubelet.logs.last_words import LastWords
from vnode.kubelet.metrics import KubeletMetrics
from vnode.kubelet.passing import PassedConnections, Passing
from vnode.kubelet.server import KubeletServer
from vnode.kubelet.sessions import Sessions
from vnode.locator import BackendPods
from vnode.node.controller import NodeController
from vnode.node.lease import NodeLease
from vnode.node.objects import Node, Taint
from vnode.node.serving.renewal import keep_client_ca
from vnode.node.spec import VirtualNode, kubelet_version
from vnode.pods.controller import NodeSettings, PodController
from vnode.pods.events import EventRecorder, EventType
from vnode.pods.limits import Limits
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.orphans import HeldReason, OrphanGuard
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.status.addresses import AddressPool
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue, run_workers

_POD_WORKERS, _OBJECT_WORKERS = 48, 12
"""One tenant namespace may have two thirds of them (`vnode.runtime.workqueue`)."""
_DRAIN_SECONDS = 2.0
_LINK_EVENTS: Mapping[str, tuple[EventType, str, str]] = {
    "refused": (
        "Warning",
        "ComputeRefusesAgent",
        "The compute side of this node refuses the agent's credential; the platform team has to "
        "renew it (vnode join). Pods keep their last known state; new ones are not placed here",
    ),
    "lost": (
        "Warning",
        "ComputeUnreachable",
        "The compute side of this node does not answer: its pods keep their last known state and "
        "annotation vnode.dev/on-partition says how long they wait; new pods are not placed here",
    ),
    "holds": ("Normal", "ComputeAnswers", "The compute side of this node answers again"),
}
"""What is said of a virtual node when its link is found again or lost."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all clusters of one replica share."""

    config: AgentConfig
    tenant: Tenant
    address: str
    """Where the tenant's API server reaches the kubelet APIs."""
    own_address: str
    """Where other replicas reach this one, if connections come to any of them; else empty."""
    authenticator: Authenticator
    sessions: Sessions
    kubelet_metrics: KubeletMetrics
    passed: PassedConnections
    metrics: FederationMetrics
    clock: Clock
    rng: random.Random


class ComputeCluster:
    """Serves the virtual nodes of one compute cluster; see the module."""

    def __init__(
        self,
        shared: Shared,
        config: ClusterConfig,
        client: KubeClient,
        *,
        may_write: Callable[[], bool],
    ) -> None:
        """`may_write`: whether the Lease is ours now; asked before each write to either cluster."""
        self._shared = shared
        self._config = config
        self._may_write = may_write
        self._client = client.guarded(may_write)
        self._tenant_client = shared.tenant.client.guarded(may_write)
        self._nodes = tuple(n for n in shared.config.virtual_nodes if n.cluster.name == config.name)
        self._controllers: dict[NodeName, NodeController] = {}
        self._certificates = Certificates(
            self._tenant_client,
            shared.config.kubelet.certificate,
            address=shared.address,
            client_ca=shared.tenant.facts.client_ca,
            clock=shared.clock,
            rng=shared.rng,
        )
        self.served = False
        """Whether all its virtual nodes were served once."""

    @property
    def name(self) -> str:
        """Name of the cluster in the configuration."""
        return self._config.name

    def passing(self, holder: Callable[[], str]) -> Passing:
        """What passes connections on to `holder()` while another replica serves this cluster."""
        return Passing(
            host=self._shared.config.kubelet.listen,
            ports={node.port: node.passed_port for node in self._nodes},
            holder=holder,
            connections=self._shared.passed,
            clock=self._shared.clock,
        )

    def _node_born(self, name: NodeName) -> str | None:
        controller = self._controllers.get(name)
        return controller.born if controller is not None else None

    def _addresses(self) -> AddressPool:
        """This cluster's part of the range: replicas that lead other clusters use the others."""
        names = [c.name for c in self._shared.config.clusters]
        network = str(self._shared.config.pod_addresses)
        return AddressPool(network, part=names.index(self._config.name), parts=len(names))

    async def serve(self) -> None:
        """Do the work until cancelled."""
        shared, tenant = self._shared, self._shared.tenant
        owner = Owner(tenant=shared.config.tenant.name, cluster_uid=tenant.facts.cluster_uid)
        backend = self._make_backend(owner)
        # What was not said while we led is not said when we lead again.
        events = EventRecorder(self._tenant_client, clock=shared.clock)
        backend.subscribe_link(lambda: self._show_link(backend))
        pods: Store[Pod] = Store(f"tenant pods for {self._config.name}")
        watches = list(self._pod_watches(pods))
        # Tenant namespaces take turns: one that brings ten thousand pods does not hold up others.
        keys: WorkQueue[ObjectKey] = WorkQueue(
            f"{self._config.name} pods", rng=shared.rng, group=attrgetter("namespace")
        )
        refs: WorkQueue[ObjectRef] = WorkQueue(
            f"{self._config.name} objects", rng=shared.rng, group=attrgetter("namespace")
        )

        def synced() -> bool:
            return tenant.synced and all(pods.synced(w.scope) for w in watches)

        objects = ReferencedObjects(
            self._tenant_client,
            backend,
            metadata=tenant.metadata,
            services=tenant.service_variables,
            queue=refs,
            pods_synced=synced,
            limits=_limits(shared.config.limits),
        )
        last_words = LastWords(backend, pods)
        keeper = FenceKeeper(
            self._tenant_client,
            tenant.fences,
            nodes=[n.name for n in self._nodes],
            clock=shared.clock,
            rng=shared.rng,
            count=shared.metrics.fenced,
        )
        controller = PodController(
            client=self._tenant_client,
            pods=pods,
            backend=backend,
            nodes={n.name: self._settings(n) for n in self._nodes},
            objects=objects,
            tokens=TokenIssuer(self._tenant_client, shared.clock),
            events=events,
            addresses=self._addresses(),
            orphans=OrphanGuard(
                self._tenant_client,
                cluster_uid=tenant.facts.cluster_uid,
                node_born=self._node_born,
                copies=lambda: len(backend.pods),
                clock=shared.clock,
                rng=shared.rng,
                grace=self._config.orphan_grace,
                report=partial(shared.metrics.copies_held, self._config.name),
            ),
            queue=keys,
            pods_synced=synced,
            clock=shared.clock,
            rng=shared.rng,
            keeper=keeper,
            tolerations_changed=shared.metrics.tolerations_changed,
            leaving=last_words.leaving,
            start_once=self._config.start_once,
        )
        async with AsyncExitStack() as stack:
            # The tenant's stores outlive our leadership.
            stack.callback(objects.close)
            stack.callback(shared.metrics.link_left, self._config.name)
            stack.callback(shared.metrics.token_left, self._config.name)
            stack.callback(shared.metrics.copies_left, self._config.name, HeldReason)
            self._show_link(backend)
            names = [node.name for node in self._nodes]
            stack.enter_context(tenant.fences.reads.kept(names, lasts=self._may_write))
            stack.callback(controller.follow_fences())
            for node in self._nodes:
                stack.callback(shared.metrics.fences_left, node.name)
            places = backend.namespaces
            stack.callback(tenant.each_namespace(places.add, places.release))
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(events.run(), name="events")
            tasks.create_task(backend.run(), name="backend")
            tasks.create_task(last_words.run(), name="last words")
            tasks.create_task(keeper.run(), name="fences")
            for watch in watches:
                tasks.create_task(watch.run(), name="tenant pods")
            tasks.create_task(
                run_workers(keys, controller.reconcile, workers=_POD_WORKERS, name="pods")
            )
            tasks.create_task(
                run_workers(refs, objects.reconcile, workers=_OBJECT_WORKERS, name="objects")
            )
            if (binder := self._binder(owner)) is not None:
                tasks.create_task(binder.run(), name="claims")
            if (renewal := self._renewal()) is not None:
                tasks.create_task(renewal.run(), name="token renewal")
            locator = BackendPods(pods, backend)
            inventory = self._inventory(tasks)
            for node in self._nodes:
                capacity = self._capacity(node, backend, owner, inventory)
                tasks.create_task(
                    self._serve_node(node, backend, capacity, locator, last_words, keeper, events)
                )

    def _renewal(self) -> TokenRenewal | None:
        """Keeps our own token alive, where the configuration says in which Secret it is."""
        shared, config = self._shared, self._config
        if config.kubeconfig_secret is None:
            return None
        return TokenRenewal(
            self._tenant_client,
            self._client,
            cluster=config.name,
            namespace=shared.config.leader_election.namespace,
            secret=config.kubeconfig_secret,
            context=config.context,
            clock=shared.clock,
            rng=shared.rng,
            ends=partial(shared.metrics.token_ends, config.name),
        )

    # --- one virtual node -----------------------------------------------------------------------

    async def _serve_node(
        self,
        node: ConfiguredNode,
        backend: KubernetesBackend,
        capacity: CapacitySource,
        locator: BackendPods,
        last_words: LastWords,
        keeper: FenceKeeper,
        events: EventRecorder,
    ) -> None:
        shared = self._shared
        client, clock, rng = self._tenant_client, shared.clock, shared.rng
        serving, keep = await self._certificates.of(node.name)
        server = KubeletServer(
            node=node.name,
            pods=locator,
            usage=backend,
            authenticator=shared.authenticator,
            sessions=shared.sessions,
            metrics=shared.kubelet_metrics,
            host=shared.config.kubelet.listen,
            port=node.port,
            passed_port=node.passed_port if shared.own_address else None,
            tls=serving,
            clock=clock,
            last_words=last_words,
        )
        controller = NodeController(
            client,
            self._virtual_node(node),
            capacity=capacity,
            reachable=lambda: backend.reachable if backend.link_known else None,
            refused=lambda: backend.refuses_us,
            websockets=lambda: backend.websockets,
            carried=lambda: keeper.carried(node.name),
            link_changed=lambda uid, holds: _say_of_link(
                events,
                node.name,
                uid,
                link="holds" if holds else "refused" if backend.refuses_us else "lost",
            ),
            clock=clock,
            rng=rng,
        )
        self._controllers[node.name] = controller
        lease = NodeLease(client, node.name, node_uid=lambda: controller.uid, clock=clock, rng=rng)
        await server.start()
        self.served = True
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(keep(), name=f"certificate {node.name}")
                tasks.create_task(
                    keep_client_ca(serving, read=lambda: read_client_ca(client), clock=clock)
                )
                tasks.create_task(controller.run(), name=f"node {node.name}")
                tasks.create_task(lease.run(), name=f"lease {node.name}")
        finally:
            await server.stop(drain_seconds=_DRAIN_SECONDS)

    def _show_link(self, backend: KubernetesBackend) -> None:
        now, metrics = self._shared.clock.time(), self._shared.metrics
        metrics.link(self._config.name, reachable=backend.reachable, since=now)

    def _virtual_node(self, node: ConfiguredNode) -> VirtualNode:
        shared = self._shared
        return VirtualNode(
            name=node.name,
            tenant=shared.config.tenant.name,
            cluster=self._config.name,
            pool=node.pool.name,
            address=shared.address,
            port=node.port,
            version=kubelet_version(shared.tenant.facts.version),
            labels={**node.pool.labels, **self._claim_labels},
            taints=tuple(Taint(key=t.key, value=t.value, effect=t.effect) for t in node.taints),
            agent_version=version("vnode-federation"),
            declared_features=_sorted(node.pool.declared_features),
        )

    def _settings(self, node: ConfiguredNode) -> NodeSettings:
        flat = self._config.network is NetworkMode.FLAT
        return NodeSettings(node.name, self._shared.address, flat_network=flat)

    # --- claims ---------------------------------------------------------------------------------

    @property
    def _claim_labels(self) -> dict[str, str]:
        """Where placeholders of claims may be used."""
        shares = self._config in self._shared.config.clusters_with_claims
        return {NODE_LABEL: NODE_LABEL_VALUE} if shares else {}

    def _binder(self, owner: Owner) -> ClaimBinder | None:
        """One for all clusters that share claims: the first of them has it."""
        shared, tenant = self._shared, self._shared.tenant
        if shared.config.clusters_with_claims[:1] != (self._config,):
            return None
        return ClaimBinder(
            self._tenant_client,
            claims=tenant.claims,
            forwards=shared.config.tenant.forwards,
            owner=owner,
            clock=shared.clock,
            rng=shared.rng,
        )

    def _claim_check(self, owner: Owner) -> Callable[[Pod], Awaitable[None]] | None:
        if not self._claim_labels:
            return None
        tenant = self._shared.tenant
        return ClaimCheck(self._tenant_client, claim=tenant.claims.get, owner=owner).require

    # --- capacity -------------------------------------------------------------------------------

    def _inventory(
        self, tasks: asyncio.TaskGroup
    ) -> tuple[Store[Node], Store[RequestingPod]] | None:
        """Watches on the cluster's nodes and pods, where a pool's capacity comes from them."""
        if not any(CapacitySourceKind.NODES in n.pool.capacity.sources for n in self._nodes):
            return None
        nodes: Store[Node] = Store(f"{self._config.name} nodes")
        pods: Store[RequestingPod] = Store(f"{self._config.name} all pods")
        clock, rng = self._shared.clock, self._shared.rng
        # No scope of a namespace: these two need rights on the whole cluster.
        node_watch = Reflector(self._client, NODES, Node, nodes, clock=clock, rng=rng)
        pod_watch = Reflector(self._client, PODS, RequestingPod, pods, clock=clock, rng=rng)
        tasks.create_task(node_watch.run(), name="compute nodes")
        tasks.create_task(pod_watch.run(), name="all compute pods")
        return nodes, pods

    def _capacity(
        self,
        node: ConfiguredNode,
        backend: KubernetesBackend,
        owner: Owner,
        inventory: tuple[Store[Node], Store[RequestingPod]] | None,
    ) -> CapacitySource:
        settings = node.pool.capacity

        def is_own(metadata: ObjectMeta) -> bool:
            return owner.owns(metadata) and metadata.annotations.get(ANNOTATION_NODE) == node.name

        def is_others(metadata: ObjectMeta) -> bool:
            return owner.owns(metadata) and metadata.annotations.get(ANNOTATION_NODE) != node.name

        limits: list[CapacitySource] = []
        if CapacitySourceKind.STATIC in settings.sources and settings.static is not None:
            limits.append(StaticCapacity(settings.static))
        if CapacitySourceKind.QUOTA in settings.sources:
            places = backend.namespaces
            quota = QuotaCapacity(
                backend.quotas, scopes=places.ready, complete=lambda: places.judged
            )
            limits.append(SharedQuota(quota, backend.pods, is_others=is_others))
        counted = None
        if CapacitySourceKind.NODES in settings.sources and inventory is not None:
            nodes, pods = inventory
            counted = NodesCapacity(nodes, pods, pool=_pool(node.pool), is_own=is_own)
        least = MinimumCapacity(limits, inventory=counted)
        return NoBlackHole(least, backend.pods, is_own=is_own)

    def _policy(self, pool: PoolConfig) -> TranslationPolicy:
        policy = self._config.policy
        denied = policy.deny_prefixes
        return TranslationPolicy(
            node_selector=pool.node_selector,
            tolerations=tuple(
                t.model_dump(mode="json", by_alias=True, exclude_none=True)
                for t in pool.tolerations
            ),
            passthrough=frozenset(policy.passthrough),
            scheduling_keys=frozenset(policy.scheduling_keys),
            denied_prefixes=DEFAULT_DENIED_PREFIXES if denied is None else denied,
            priority_classes=policy.priority_classes,
            runtime_classes=policy.runtime_classes,
            scheduler_names=policy.scheduler_names,
            allow=frozenset(policy.allow),
            overlay_labels=policy.overlay.labels,
            overlay_annotations=policy.overlay.annotations,
            expose_host_ip=policy.expose_host_ip,
            pvc=policy.pvc,
            namespaces=frozenset(self._shared.config.tenant.namespaces),
        )

    # --- pods -----------------------------------------------------------------------------------

    def _pod_watches(self, pods: Store[Pod]) -> Iterable[Reflector[Pod]]:
        """One watch per virtual node (and granted namespace) on the tenant's pods bound to it."""
        shared = self._shared
        for node in self._nodes:
            for namespace in shared.tenant.scopes:
                yield Reflector(
                    self._tenant_client,
                    PODS,
                    Pod,
                    pods,
                    namespace=namespace,
                    field_selector=f"spec.nodeName={node.name}",
                    scope=f"{node.name}/{namespace or ''}",
                    clock=shared.clock,
                    rng=shared.rng,
                )

    def _make_backend(self, owner: Owner) -> KubernetesBackend:
        namespaces = self._config.namespaces
        return KubernetesBackend(
            self._client,
            cluster=self._config.name,
            owner=owner,
            namespaces=NamespaceMapping(
                tenant=owner.tenant,
                mode=namespaces.mode,
                table=namespaces.table,
            ),
            policies={n.name: self._policy(n.pool) for n in self._nodes},
            on_demand=self._on_demand(),
            claim_check=self._claim_check(owner),
            forwards=self._shared.config.tenant.forwards,
            clock=self._shared.clock,
            rng=self._shared.rng,
            usage=self._config.usage,
        )

    def _on_demand(self) -> OnDemand | None:
        namespaces, metrics = self._config.namespaces, self._shared.metrics
        if namespaces.create is NamespaceCreation.NEVER:
            return None
        return OnDemand(
            is_gone=self._shared.tenant.is_gone,
            labels=namespaces.labels_of_new,
            delete=namespaces.reclaim is NamespaceReclaim.DELETE,
            report=lambda counts: metrics.namespaces_kept(self._config.name, counts),
        )


def _sorted(names: Collection[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(set(names)))


def _say_of_link(events: EventRecorder, node: NodeName, uid: UID, *, link: str) -> None:
    kind, reason, text = _LINK_EVENTS[link]
    events.say_of_node(node, uid, type=kind, reason=reason, message=text)


def _limits(config: LimitsConfig) -> Limits:
    return Limits(
        pods=config.pods_per_namespace,
        objects=config.objects_per_namespace,
        references=config.references_per_pod,
    )


def _pool(pool: PoolConfig) -> Pool:
    return Pool(
        selector=pool.node_selector,
        tolerations=[
            PoolToleration(
                key=t.key or "", operator=t.operator, value=t.value, effect=t.effect or ""
            )
            for t in pool.tolerations
        ],
    )
