"""A tenant and a compute cluster with watches, and the pod controller on the Kubernetes backend.

`Sides` is what stays: the objects of both clusters. Each `start` is one life of an agent that makes
its namespaces on demand; what it names (`backend.namespaces.add`) is up to the test.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from federation.backends.kubernetes.backend import KubernetesBackend
from federation.backends.kubernetes.on_demand import OnDemand
from federation.backends.kubernetes.translate.names import NamespaceMapping
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.builders import NODE, NODE_ADDRESS, NOW, OWNER, make_key, make_metadata, make_pod
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from vnode.backend import ObjectRef, PodBackend, ReferenceKind
from vnode.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS
from vnode.kube.types import UID, ObjectKey, PartialObject, Pod
from vnode.pods.controller import NodeSettings, PodController
from vnode.pods.events import EventRecorder
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.orphans import OrphanGuard
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.fences import Fences
from vnode.pods.start_once import StartOnce
from vnode.pods.status.addresses import AddressPool
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue, run_workers

BELOW = "red--team-a"
COPY = ObjectKey(BELOW, "job-0")
_RESOURCES = {ReferenceKind.CONFIG_MAP: CONFIG_MAPS, ReferenceKind.SECRET: SECRETS}
LONG = 7200.0
"""Seconds after which everything has happened that ever will."""


def agent_work(
    tenant: WatchingClient,
    backend: PodBackend,
    *,
    cluster_uid: UID,
    copies: Callable[[], int],
    start_once: StartOnce,
    clock: Clock,
    rng: random.Random,
) -> tuple[Coroutine[Any, Any, None], ...]:
    """All that one life of an agent does for the tenant, with its backend not run yet."""
    client = tenant.client
    pods: Store[Pod] = Store("tenant pods")
    metadata = {kind: Store[PartialObject](str(kind)) for kind in ReferenceKind}

    def synced() -> bool:
        return pods.synced() and all(store.synced() for store in metadata.values())

    keys: WorkQueue[ObjectKey] = WorkQueue("pods", rng=rng)
    refs: WorkQueue[ObjectRef] = WorkQueue("objects", rng=rng)
    events = EventRecorder(client, clock=clock)
    objects = ReferencedObjects(
        client,
        backend,
        metadata=metadata,
        services=ServiceVariables(service_store("services"), {}),
        queue=refs,
        pods_synced=synced,
    )
    fences = Fences(client, Store("virtual nodes"), ours=[], clock=clock)
    controller = PodController(
        client=client,
        pods=pods,
        backend=backend,
        nodes={NODE: NodeSettings(NODE, NODE_ADDRESS, flat_network=True)},
        objects=objects,
        tokens=TokenIssuer(client, clock),
        events=events,
        addresses=AddressPool("198.18.0.0/24"),
        orphans=OrphanGuard(
            client,
            cluster_uid=cluster_uid,
            node_born=lambda _: "2000-01-01T00:00:00Z",
            copies=copies,
            clock=clock,
            rng=rng,
        ),
        queue=keys,
        pods_synced=synced,
        clock=clock,
        rng=rng,
        start_once=start_once,
        keeper=FenceKeeper(client, fences, nodes=[NODE], clock=clock, rng=rng),
    )
    watch = Reflector(client, PODS, Pod, pods, clock=clock, rng=rng)
    partial = (
        Reflector(
            client,
            _RESOURCES[kind],
            PartialObject,
            store,
            metadata_only=True,
            clock=clock,
            rng=rng,
        )
        for kind, store in metadata.items()
    )
    return (
        watch.run(),
        *(each.run() for each in partial),
        events.run(),
        run_workers(keys, controller.reconcile, workers=3, name="pods"),
        run_workers(refs, objects.reconcile, workers=1, name="objects"),
    )


class Sides:
    """Both clusters, and the agent of now."""

    def __init__(self, *, latency: float = 0.0) -> None:
        """`latency`: seconds that a call takes to get there, and as many back."""
        time = LoopClock().time
        settings = {"unix_time": time, "latency": lambda: latency}
        self.compute = WatchingClient(name="compute", **settings)
        self.tenant = WatchingClient(name="tenant", **settings)
        for side, uid in ((self.tenant, OWNER.cluster_uid), (self.compute, "the-compute-cluster")):
            side.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": uid}})
        self.compute.put(SERVICE_ACCOUNTS, make_metadata("default", namespace=BELOW))
        self.tenant_has = {"team-a"}
        self.excluded: set[str] = set()
        """Tenant namespaces that the configuration does not forward."""
        self.owner = OWNER
        """Whom agents take themselves for."""
        self.start_once = StartOnce.RELAXED
        self._tasks: list[asyncio.Task[Any]] = []

    async def _is_gone(self, namespace: str) -> bool:
        return namespace not in self.tenant_has

    def start(self) -> None:
        """Start an agent that remembers nothing and has heard of no tenant namespace."""
        rng, clock = random.Random(1), LoopClock()
        self.backend = KubernetesBackend(
            self.compute.client,
            cluster="home",
            owner=self.owner,
            namespaces=NamespaceMapping(self.owner.tenant),
            policies={NODE: TranslationPolicy()},
            clock=clock,
            rng=rng,
            on_demand=OnDemand(is_gone=self._is_gone, delete=True),
            forwards=lambda namespace: namespace not in self.excluded,
        )
        work = agent_work(
            self.tenant,
            self.backend,
            cluster_uid=UID(self.owner.cluster_uid),
            copies=lambda: len(self.backend.pods),
            start_once=self.start_once,
            clock=clock,
            rng=rng,
        )
        self._tasks = [asyncio.ensure_future(each) for each in (self.backend.run(), *work)]

    async def stop(self) -> None:
        """Kill the agent."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def begin_again(self) -> None:
        """A new agent, which has had its first look."""
        await self.stop()
        self.start()
        self.backend.namespaces.add("team-a")
        await asyncio.sleep(20)

    async def run_a_pod(self, *, phase: str = "Running", **pod: Any) -> None:
        """The first agent: a tenant pod, and its copy in that phase."""
        self.tenant.put(PODS, make_pod(**pod))
        self.start()
        self.backend.namespaces.add("team-a")
        await asyncio.sleep(20)
        status = {"phase": phase, "startTime": NOW}
        self.compute.edit(PODS, COPY, lambda body: body["status"].update(status))
        await asyncio.sleep(20)
        assert self.pod()["status"]["phase"] == phase

    def pod(self) -> Any:
        """The tenant pod; None: it is gone."""
        return self.tenant.get_body(PODS, make_key())

    def copy(self) -> Any:
        """The pod below; None: it is gone."""
        return self.compute.get_body(PODS, COPY)

    def copied_objects(self) -> list[str]:
        """Names of ConfigMaps and Secrets below."""
        plurals = (CONFIG_MAPS.plural, SECRETS.plural)
        return [key.name for plural, key in self.compute.objects if plural in plurals]

    def namespace(self) -> Any:
        """The compute namespace; None: it is gone."""
        return self.compute.get_body(NAMESPACES, ObjectKey("", BELOW))

    def vanish(self) -> None:
        """Somebody deletes the compute namespace, and it goes with all that is in it."""
        for plural, key in list(self.compute.objects):
            if key.namespace == BELOW and plural != SERVICE_ACCOUNTS.plural:
                del self.compute.objects[plural, key]
        self.compute.drop(NAMESPACES, ObjectKey("", BELOW))

    def events(self) -> list[str]:
        """Reasons of the events in the tenant."""
        return [
            body["reason"] for (kind, _), body in self.tenant.objects.items() if kind == "events"
        ]
