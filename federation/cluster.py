"""Everything that one replica does for one compute cluster while it holds that cluster's Lease.

In: the tenant's shared stores, and a `Side` (what differs between kinds of compute clusters). Out:
the side's backend, one virtual node per pool (Node object, lease, kubelet API), and the pod
controller with its queues. All of it lives in one task group: when leadership is lost the group is
cancelled and writes stop.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib.metadata import version
from operator import attrgetter

from federation.backends.kubernetes.translate.names import (
    Owner,
)
from federation.certificates import Certificates
from federation.config import (
    AnyClusterConfig,
    LimitsConfig,
    NetworkMode,
)
from federation.config import VirtualNode as ConfiguredNode
from federation.shared import Shared
from federation.sides.side import Backend, Compute, Side, Term
from federation.tenant import read_client_ca
from vnode.backend import ObjectRef
from vnode.kube.resources import PODS
from vnode.kube.types import UID, NodeName, ObjectKey, Pod
from vnode.kubelet.logs.last_words import LastWords
from vnode.kubelet.passing import Passing
from vnode.kubelet.server import KubeletServer
from vnode.locator import BackendPods
from vnode.node.controller import NodeController
from vnode.node.lease import NodeLease
from vnode.node.objects import Taint
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
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue, run_workers

_POD_WORKERS, _OBJECT_WORKERS = 96, 24
"""One tenant namespace may have two thirds of them, and new pods half of these
(`vnode.runtime.workqueue`)."""
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


class ComputeCluster:
    """Serves the virtual nodes of one compute cluster; see the module."""

    def __init__(
        self,
        shared: Shared,
        config: AnyClusterConfig,
        compute: Compute,
        *,
        may_write: Callable[[], bool],
    ) -> None:
        """`may_write`: whether the Lease is ours now; asked before each write to either cluster."""
        self._shared = shared
        self._config = config
        self._may_write = may_write
        self._compute = compute
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
        pods: Store[Pod] = Store(f"tenant pods for {self._config.name}")
        watches = list(self._pod_watches(pods))

        def synced() -> bool:
            return tenant.synced and all(pods.synced(w.scope) for w in watches)

        side = self._compute.lead(
            Term(
                shared=shared,
                owner=owner,
                nodes=self._nodes,
                tenant=self._tenant_client,
                may_write=self._may_write,
                pods=pods,
                pods_synced=synced,
            )
        )
        backend = side.backend
        # What was not said while we led is not said when we lead again.
        events = EventRecorder(self._tenant_client, clock=shared.clock)
        backend.subscribe_link(lambda: self._show_link(backend))
        # Tenant namespaces take turns: one that brings ten thousand pods does not hold up others.
        keys: WorkQueue[ObjectKey] = WorkQueue(
            f"{self._config.name} pods", rng=shared.rng, group=attrgetter("namespace")
        )
        refs = WorkQueue[ObjectRef](
            f"{self._config.name} objects", rng=shared.rng, group=attrgetter("namespace")
        )

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
                copies=side.copies,
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
            stack.callback(side.follow())
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
            for name, task in side.tasks():
                tasks.create_task(task, name=name)
            locator = BackendPods(pods, backend)
            for node in self._nodes:
                tasks.create_task(self._serve_node(node, side, locator, last_words, keeper, events))

    # --- one virtual node -----------------------------------------------------------------------

    async def _serve_node(
        self,
        node: ConfiguredNode,
        side: Side,
        locator: BackendPods,
        last_words: LastWords,
        keeper: FenceKeeper,
        events: EventRecorder,
    ) -> None:
        shared = self._shared
        client, clock, rng = self._tenant_client, shared.clock, shared.rng
        backend = side.backend
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
            self._virtual_node(node, side.node_labels(node)),
            capacity=side.capacity(node),
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

    def _show_link(self, backend: Backend) -> None:
        now, metrics = self._shared.clock.time(), self._shared.metrics
        metrics.link(self._config.name, reachable=backend.reachable, since=now)

    def _virtual_node(self, node: ConfiguredNode, labels: Mapping[str, str]) -> VirtualNode:
        shared = self._shared
        return VirtualNode(
            name=node.name,
            tenant=shared.config.tenant.name,
            cluster=self._config.name,
            pool=node.pool.name,
            address=shared.address,
            port=node.port,
            version=kubelet_version(shared.tenant.facts.version),
            labels={**node.pool.labels, **labels},
            taints=tuple(Taint(key=t.key, value=t.value, effect=t.effect) for t in node.taints),
            agent_version=version("vnode-federation"),
            declared_features=_sorted(node.pool.declared_features),
        )

    def _settings(self, node: ConfiguredNode) -> NodeSettings:
        flat = self._config.network is NetworkMode.FLAT
        return NodeSettings(node.name, self._shared.address, flat_network=flat)

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
