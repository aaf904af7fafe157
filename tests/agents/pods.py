"""What makes copies of a virtual node's pods, wired from `vnode/` alone.

In: a client of the tenant and any backend. Out: a task that watches the node's pods and what they
refer to, and reconciles them until it is cancelled. The Node object, its Lease and its kubelet API
are somebody else's (`memory_node`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, TypeVar

from vnode.backend import ObjectRef, PodBackend, ReferenceKind
from vnode.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICES, Resource
from vnode.kube.types import HasMetadata, NodeName, ObjectKey, PartialObject, Pod
from vnode.pods.controller import PodController
from vnode.pods.events import EventRecorder
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.service_env import Service
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.orphans import OrphanGuard
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.fences import Fences
from vnode.pods.start_once import StartOnce
from vnode.pods.status.addresses import AddressPool
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue, run_workers

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from vnode.kube.client import KubeClient
    from vnode.pods.status.mirror import NodeSettings
    from vnode.runtime.clock import Clock

T = TypeVar("T", bound=HasMetadata)


class RunningBackend(PodBackend, Protocol):
    """A backend that has something to do all the time."""

    async def run(self) -> None:
        """Look at the place until cancelled; listeners have subscribed before."""
        ...


async def run_pods(
    client: KubeClient,
    backend: RunningBackend,
    pods: Store[Pod],
    *,
    node: NodeSettings,
    born: Callable[[NodeName], str | None],
    clock: Clock,
    rng: random.Random,
    copies: Callable[[], int] = lambda: 0,
    start_once: StartOnce = StartOnce.RELAXED,
) -> None:
    """Reconcile the pods bound to `node`, which come into `pods`, until cancelled.

    Args:
        client: of the tenant.
        backend: where the copies are; it is run here, as soon as all listen to it.
        pods: an empty store; it is filled here.
        node: the virtual node.
        born: creationTimestamp of its Node object.
        clock: of the agent.
        rng: for jitter.
        copies: how many copies there are below.
        start_once: see `vnode.pods.start_once`.
    """
    config_maps: Store[PartialObject] = Store("configmaps")
    secrets: Store[PartialObject] = Store("secrets")
    services = service_store("services")

    def watch(
        resource: Resource, kind: type[T], store: Store[T], *, fields: str = "", brief: bool = False
    ) -> Reflector[T]:
        return Reflector(
            client,
            resource,
            kind,
            store,
            field_selector=fields,
            metadata_only=brief,
            clock=clock,
            rng=rng,
        )

    watches = (
        watch(PODS, Pod, pods, fields=f"spec.nodeName={node.name}"),
        watch(CONFIG_MAPS, PartialObject, config_maps, brief=True),
        watch(SECRETS, PartialObject, secrets, brief=True),
        watch(SERVICES, Service, services),
    )
    keys: WorkQueue[ObjectKey] = WorkQueue("pods", rng=rng)
    refs: WorkQueue[ObjectRef] = WorkQueue("objects", rng=rng)
    objects = ReferencedObjects(
        client,
        backend,
        metadata={ReferenceKind.CONFIG_MAP: config_maps, ReferenceKind.SECRET: secrets},
        services=ServiceVariables(services, {}),
        queue=refs,
        pods_synced=pods.synced,
    )
    events = EventRecorder(client, clock=clock)
    system = await client.get(NAMESPACES, PartialObject, name="kube-system")
    fences = Fences(client, Store("virtual nodes"), ours=[], clock=clock)
    controller = PodController(
        client=client,
        pods=pods,
        backend=backend,
        nodes={node.name: node},
        objects=objects,
        tokens=TokenIssuer(client, clock),
        events=events,
        addresses=AddressPool("240.0.0.0/16"),
        orphans=OrphanGuard(
            client,
            cluster_uid=system.metadata.uid,
            node_born=born,
            copies=copies,
            clock=clock,
            rng=rng,
        ),
        queue=keys,
        pods_synced=pods.synced,
        clock=clock,
        rng=rng,
        keeper=FenceKeeper(client, fences, nodes=[node.name], clock=clock, rng=rng),
        start_once=start_once,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(backend.run())
        for each in watches:
            tasks.create_task(each.run())
        tasks.create_task(events.run())
        tasks.create_task(run_workers(keys, controller.reconcile, workers=4, name="pods"))
        tasks.create_task(run_workers(refs, objects.reconcile, workers=2, name="objects"))
