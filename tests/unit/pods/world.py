"""A tenant cluster, a compute side and agents between them, all in memory and in virtual time.

`World` is what stays: the tenant's objects (`RecordingClient`) and the copies below (`Below`).
`Agent` is one life of the controller with its queues, stores and watches; killing it and starting
another is what a restart does. Watches deliver in order but late, calls take their time, so own
writes and watch events overtake each other as they do in earnest.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from operator import attrgetter
from typing import Any

from tests.builders import NODE, NODE_ADDRESS
from tests.fakes.backend import Below, FakeBackend
from tests.fakes.client import Body, RecordingClient
from tests.fakes.clock import LoopClock
from vnode.backend import ObjectRef, ReferenceKind, Sight
from vnode.kube.decode import decode
from vnode.kube.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS, SECRETS, Resource
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject, Pod, encode
from vnode.pods.controller import NodeSettings, PodController
from vnode.pods.events import EventRecorder
from vnode.pods.limits import Limits
from vnode.pods.objects.copies import ReferencedObjects
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.pods.objects.tokens import TokenIssuer
from vnode.pods.orphans import OrphanGuard
from vnode.pods.partition.fence_keeper import FenceKeeper
from vnode.pods.partition.fence_list import FENCED, Fence
from vnode.pods.partition.fence_list import decode as fence_list
from vnode.pods.partition.fences import Fences
from vnode.pods.start_once import StartOnce
from vnode.pods.status.addresses import AddressPool
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue, run_workers

SETTLED = 400.0
"""Seconds after which everything that can happen by itself has happened, retries included."""


CLUSTER_UID = UID("5c1a5be0-0000-4000-8000-000000000000")
OTHER_NODE = NodeName("vnode-b")
"""A virtual node of another cluster, which another replica serves."""
NODE_BORN = "2000-01-01T00:00:00Z"


class World:
    """Both clusters, and the agent of now."""

    def __init__(self, *, seed: int = 0, lag: float = 0.0, latency: float = 0.0) -> None:
        self.rng = random.Random(seed)
        self.clock = LoopClock()
        self._lag, self._latency = lag, latency
        self.tenant = RecordingClient(unix_time=self.clock.time, latency=self.latency)
        system = {"metadata": {"name": "kube-system", "uid": CLUSTER_UID}}
        self.tenant.put(NAMESPACES, system)
        self.below = Below()
        self.sights: dict[str, Sight] = {}
        """How much agents see of a tenant namespace below; all, where nothing is said."""
        self.leaving: list[tuple[UID, UID]] = []
        """UIDs of tenant pods and their copies that were told of as being removed by others."""
        self.flat_network = True
        self.start_once = StartOnce.RELAXED
        self.limits = Limits()
        self.others: tuple[NodeName, ...] = ()
        """Virtual nodes in the configuration that another replica serves."""
        self._lost_at: float | None = None
        for name in (NODE, OTHER_NODE):
            self.tenant.put(NODES, {"metadata": {"name": name}})
        self.agent: Agent | None = None

    def lag(self) -> float:
        return self.rng.random() * self._lag

    def latency(self) -> float:
        return self.rng.random() * self._latency

    # --- the compute link -----------------------------------------------------------------------

    def cut(self) -> None:
        """The compute side does not answer any more."""
        self._lost_at = self.clock.time()
        self.below.cut = True
        self._tell_of_link()

    def mend(self) -> None:
        """It answers again."""
        self._lost_at, self.below.cut = None, False
        self._tell_of_link()

    def silent_for(self) -> Callable[[], float | None]:
        """An agent that starts now counts from now."""
        began = self.clock.time()

        def seconds() -> float | None:
            lost = self._lost_at
            return None if lost is None else self.clock.time() - max(began, lost)

        return seconds

    def _tell_of_link(self) -> None:
        if self.agent is not None:
            if not self.below.cut:
                self.agent.backend.answer_again()
            for listener in self.agent.backend.link_listeners:
                listener()

    def fenced(self, node: str = NODE) -> list[Fence]:
        """The fence list of a virtual node."""
        body = self.tenant.get_body(NODES, ObjectKey("", node))
        assert body is not None
        return list(fence_list(body["metadata"].get("annotations", {}).get(FENCED, "")))

    def start(self) -> "Agent":
        """Start an agent that remembers nothing."""
        self.agent = Agent(self)
        return self.agent

    async def stop(self) -> None:
        """Kill the agent, whatever it does just now."""
        if self.agent is not None:
            await self.agent.stop()
            self.agent = None

    async def restart(self) -> "Agent":
        await self.stop()
        return self.start()

    async def settle(self, seconds: float = SETTLED) -> None:
        """Let (virtual) time pass."""
        await asyncio.sleep(seconds)

    # --- what the tenant's users see and do -----------------------------------------------------

    def create(self, pod: Pod) -> ObjectKey:
        self.tenant.put(PODS, pod)
        return pod.metadata.key

    def delete(self, key: ObjectKey, *, grace: int = 30) -> None:
        """`kubectl delete`; grace 0 is --force."""
        if (PODS.plural, key) in self.tenant.objects:
            self.tenant.delete_gracefully(PODS, key, grace)

    def pod(self, key: ObjectKey) -> Body | None:
        return self.tenant.get_body(PODS, key)

    def status(self, key: ObjectKey) -> Body:
        body = self.pod(key)
        assert body is not None
        status: Body = body["status"]
        return status

    def condition(self, key: ObjectKey, kind: str) -> Body | None:
        found = [c for c in self.status(key).get("conditions", []) if c["type"] == kind]
        return found[0] if found else None

    def edit_status(self, key: ObjectKey, **fields: Any) -> None:
        """Another controller writes the tenant pod's status."""
        self.tenant.edit(PODS, key, lambda body: body["status"].update(fields))

    def events(self) -> list[str]:
        """Reasons of the events in the tenant."""
        return [b["reason"] for (plural, _), b in self.tenant.objects.items() if plural == "events"]


class Agent:
    """One life of the controller."""

    def __init__(self, world: World) -> None:
        self._world = world
        client = world.tenant.client
        self.pods: Store[Pod] = Store("tenant pods")
        self.metadata = {kind: Store[PartialObject](str(kind)) for kind in ReferenceKind}
        self.backend = FakeBackend(world.below, lag=world.lag, latency=world.latency)
        self.backend.sights = world.sights
        keys: WorkQueue[ObjectKey] = WorkQueue("pods", rng=world.rng, group=attrgetter("namespace"))
        refs: WorkQueue[ObjectRef] = WorkQueue(
            "objects", rng=world.rng, group=attrgetter("namespace")
        )
        self.queue = keys
        self.events = EventRecorder(client, clock=world.clock)
        self.addresses = AddressPool("198.18.0.0/24")
        self.objects = ReferencedObjects(
            client,
            self.backend.backend,
            metadata=self.metadata,
            services=ServiceVariables(service_store("services"), {}),
            queue=refs,
            pods_synced=lambda: self.pods.synced(),
            limits=world.limits,
        )
        nodes: Store[PartialObject] = Store("virtual nodes")
        self.fences = Fences(client, nodes, ours=[NODE, *world.others], clock=world.clock)
        self.nodes = nodes
        self.keeper = FenceKeeper(
            client, self.fences, nodes=[NODE], clock=world.clock, rng=world.rng
        )
        self.controller = PodController(
            client=client,
            pods=self.pods,
            backend=self.backend.backend,
            nodes={NODE: NodeSettings(NODE, NODE_ADDRESS, flat_network=world.flat_network)},
            objects=self.objects,
            tokens=TokenIssuer(client, world.clock),
            events=self.events,
            addresses=self.addresses,
            orphans=OrphanGuard(
                client,
                cluster_uid=CLUSTER_UID,
                node_born=lambda _: NODE_BORN,
                copies=lambda: len(world.below.copies),
                clock=world.clock,
                rng=world.rng,
            ),
            queue=keys,
            pods_synced=lambda: self.pods.synced(),
            clock=world.clock,
            rng=world.rng,
            keeper=self.keeper,
            leaving=lambda pod, copy: world.leaving.append((pod.metadata.uid, copy.uid)),
            start_once=world.start_once,
        )
        self._due = 0.0
        self._running = asyncio.ensure_future(
            _together(
                run_workers(keys, self.controller.reconcile, workers=3, name="pods"),
                run_workers(refs, self.objects.reconcile, workers=1, name="objects"),
                self.events.run(),
                self.keeper.run(),
            )
        )
        world.tenant.on_change.append(self._hear)
        self.backend.lost_for = world.silent_for()
        self._forget_fences = ExitStack()
        kept = self.fences.reads.kept([NODE], lasts=lambda: True)
        self._forget_fences.enter_context(kept)
        self._forget_fences.callback(self.controller.follow_fences())
        self._list()
        self.backend.start()

    async def stop(self) -> None:
        self._forget_fences.close()
        self._world.tenant.on_change.remove(self._hear)
        self.backend.stop()
        self._running.cancel()
        await asyncio.wait([self._running])

    def _list(self) -> None:
        objects = list(self._world.tenant.objects.items())
        listed = {
            plural: [body for (p, _), body in objects if p == plural]
            for plural in (PODS.plural, CONFIG_MAPS.plural, SECRETS.plural)
        }
        for kind, store in self.metadata.items():
            plural = _resource(kind).plural
            store.replace([decode(encode(b), PartialObject) for b in listed[plural]], scope="")
            store.mark_synced()
        for (plural, _), body in objects:
            if plural == NODES.plural:
                self.nodes.upsert(decode(encode(body), PartialObject))
        ours = [b for b in listed[PODS.plural] if b["spec"].get("nodeName") == NODE]
        self._later(lambda: self._listed([decode(encode(b), Pod) for b in ours]))

    def _listed(self, pods: list[Pod]) -> None:
        self.pods.replace(pods, scope="")
        self.pods.mark_synced()

    def _hear(self, plural: str, body: Body, exists: bool) -> None:
        if plural == PODS.plural and body["spec"].get("nodeName") == NODE:
            pod = decode(encode(body), Pod)
            self._later(lambda: _take(self.pods, pod, exists=exists))
        if plural == NODES.plural:
            node = decode(encode(body), PartialObject)
            self._later(lambda: _take(self.nodes, node, exists=exists))
        for kind, store in self.metadata.items():
            if plural == _resource(kind).plural:
                _take_later(self._later, store, decode(encode(body), PartialObject), exists=exists)

    def _later(self, act: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._due = max(self._due + 1e-6, loop.time() + self._world.lag())
        loop.call_at(self._due, act)


def _take_later(
    later: Callable[[Callable[[], None]], None],
    store: Store[PartialObject],
    value: PartialObject,
    *,
    exists: bool,
) -> None:
    later(lambda: _take(store, value, exists=exists))


def _take(store: Store[Any], value: Any, *, exists: bool) -> None:
    if exists:
        store.upsert(value)
    else:
        store.remove(value.metadata.key, last=value)


def _resource(kind: ReferenceKind) -> Resource:
    return SECRETS if kind is ReferenceKind.SECRET else CONFIG_MAPS


async def _together(*coroutines: Awaitable[None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for coroutine in coroutines:
            tasks.create_task(_run(coroutine))


async def _run(coroutine: Awaitable[None]) -> None:
    await coroutine
