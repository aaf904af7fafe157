"""Registers one virtual node with the tenant cluster and keeps its Node object as it should be.

In: the Node as a watch of that one name shows it, the capacity of a `CapacitySource`, whether
compute answers. Out: a Node that exists, is Ready and shows the newest capacity: created, or
adopted if its providerID is ours; made again when somebody deletes it; patched when a field of ours
differs. Never deleted. Bursts of changes become one write a second, lasting unrest of the capacity
one in ten seconds.

One `NodeController.run` task per virtual node owns all writes to its Node. API errors are retried
for ever with capped backoff; a Node of that name that belongs to somebody else is left alone, said
clearly, and looked at again until it is gone. The agent starts `vnode.node.lease` beside it.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Never

import structlog

from vnode.backend import Capacity, CapacitySource
from vnode.kube.client import KubeClient, PatchType
from vnode.kube.errors import AlreadyExists, Conflict, Invalid, KubeError, NotFound
from vnode.kube.resources import NODES
from vnode.kube.timestamps import rfc3339
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.node.objects import Node
from vnode.node.patches import node_patch, taint_patch
from vnode.node.spec import VirtualNode
from vnode.node.status import Desired, new_node, shown_reachable
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Change, Store

log = structlog.get_logger(__name__)

WRITE_INTERVAL = 1.0
"""Seconds between two rounds of writes at least."""
LONGEST_CAPACITY_INTERVAL = 10.0
"""Seconds to which the time between two publications of a capacity that keeps changing grows: every
controller and scheduler of the tenant cluster watches Nodes."""
HEARTBEAT_INTERVAL = 300.0
"""Seconds after which condition heartbeats are renewed (the kubelet's nodeStatusReportFrequency).
Liveness is the Lease's matter."""
POLL_INTERVAL = 2.0
"""Seconds between two looks at whether compute answers."""
LONGEST_RETRY = 5.0
"""Seconds; short, as a deleted Node must be back within 10 s or its pods are collected."""


class NodeNameTaken(Exception):
    """A Node of this name exists and is not ours."""

    def __init__(self, name: NodeName, *, found: str, wanted: str) -> None:
        super().__init__(
            f"Node {name} exists and belongs to somebody else (providerID {found or 'not set'},"
            f" ours is {wanted}): give this pool's virtual node another name, or, if nothing uses"
            f" that Node, remove it with `kubectl delete node {name}`"
        )


class NodeController:
    """Owns the Node object of one virtual node."""

    def __init__(
        self,
        client: KubeClient,
        node: VirtualNode,
        *,
        capacity: CapacitySource,
        reachable: Callable[[], bool | None],
        clock: Clock,
        rng: random.Random,
        refused: Callable[[], bool] = lambda: False,
        websockets: Callable[[], bool] = lambda: False,
        carried: Callable[[], Mapping[str, str]] = dict,
        link_changed: Callable[[UID, bool], None] = lambda _uid, _reachable: None,
    ) -> None:
        """Own the Node object of `node`.

        Args:
            client: of the tenant cluster.
            node: who it is.
            capacity: what it publishes.
            reachable: whether compute answers, asked again all the time; None: not known yet, what
                the Node shows is left as it is.
            clock: of the agent.
            rng: for jitter.
            refused: see `Desired`; asked again all the time.
            websockets: see `Desired`; asked again all the time.
            carried: annotations that a Node object which is made again must not lose.
            link_changed: told of the Node's UID when it shows another `reachable` than before.
        """
        self._client = client
        self._node = node
        self._source = capacity
        self._reachable = reachable
        self._refused = refused
        self._websockets = websockets
        self._carried = carried
        self._link_changed = link_changed
        self._clock = clock
        self._rng = rng
        self._key = ObjectKey("", node.name)
        self._nodes: Store[Node] = Store(f"node {node.name}")
        self._wake = asyncio.Event()
        self._node_differs = False
        self._capacity: Capacity | None = None
        self._capacity_differs = True
        self._capacity_pace = Backoff(WRITE_INTERVAL, LONGEST_CAPACITY_INTERVAL, rng=rng)
        self._publish_at = 0.0
        self._shown: tuple[bool | None, bool, bool] | None = None
        self._heartbeat_at = 0.0
        self._created = 0
        self._problem: str | None = None

    @property
    def uid(self) -> UID | None:
        """UID of our Node object; None while there is none (or while it is somebody else's)."""
        node = self._nodes.get(self._key)
        return node.uid if node is not None and self._is_ours(node) else None

    @property
    def born(self) -> str | None:
        """creationTimestamp of our Node object; None while there is none."""
        node = self._nodes.get(self._key)
        ours = node is not None and self._is_ours(node)
        return node.metadata.creation_timestamp if node is not None and ours else None

    async def run(self) -> Never:
        """Register the node and keep it; ends only by cancellation."""
        reflector = Reflector(
            self._client,
            NODES,
            Node,
            self._nodes,
            field_selector=f"metadata.name={self._node.name}",
            clock=self._clock,
            rng=self._rng,
        )
        self._nodes.subscribe(self._node_changed)
        self._source.subscribe(self._capacity_changed)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(reflector.run(), name=f"watch node {self._node.name}")
            await reflector.wait_synced()
            await self._serve()
        raise AssertionError("unreachable")

    def _node_changed(self, _change: Change[Node]) -> None:
        self._node_differs = True
        self._wake.set()

    def _capacity_changed(self) -> None:
        if not self._capacity_differs:  # It may change a hundred times until the next look.
            self._capacity_differs = True
            self._wake.set()

    async def _serve(self) -> Never:
        retry = Backoff(0.25, LONGEST_RETRY, rng=self._rng)
        while True:
            self._node_differs = False
            try:
                await self._reconcile()
            except (KubeError, NodeNameTaken) as error:
                self._failed(error)
                await self._clock.sleep(retry.next())
                continue
            retry.reset()
            self._problem = None
            await self._clock.sleep(WRITE_INTERVAL)
            await self._until_due()

    def _failed(self, error: Exception) -> None:
        known = self._problem == str(error)
        self._problem = str(error)
        # The same trouble again is not news.
        (log.debug if known else log.warning)(
            "node not written", node=self._node.name, error=self._problem
        )

    async def _until_due(self) -> None:
        while not self._node_differs and self._link() == self._shown:
            due = self._heartbeat_at
            if self._capacity_differs and self._source.synced:
                due = min(due, self._publish_at)
            left = due - self._clock.monotonic()
            if left <= 0:
                return
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, POLL_INTERVAL)):
                    await self._wake.wait()

    def _link(self) -> tuple[bool | None, bool, bool]:
        return self._reachable(), self._refused(), self._websockets()

    async def _reconcile(self) -> None:
        current = self._nodes.get(self._key)
        link = reachable, *_ = self._link()
        desired = self._desired(shown_reachable(current) if reachable is None else reachable)
        try:
            if current is None:
                current = await self._create(desired)
            if not self._is_ours(current):
                found, wanted = current.spec.provider_id, self._node.provider_id
                raise NodeNameTaken(self._node.name, found=found, wanted=wanted)
            await self._patch(current, desired)
        except (NotFound, Conflict, Invalid):
            # Somebody was faster, or our view is old (another UID is 409 or 422): look again.
            await self._refresh()
            raise
        self._shown = link

    def _desired(self, reachable: bool) -> Desired:
        self._take_capacity()
        return Desired(
            node=self._node,
            capacity=self._capacity,
            reachable=reachable,
            refused=self._refused(),
            websockets=self._websockets(),
            now=rfc3339(self._clock.time() + self._client.clock_offset),
        )

    def _take_capacity(self) -> None:
        """Look at the capacity, unless it is too early after the last look."""
        now = self._clock.monotonic()
        if not (self._capacity_differs and self._source.synced) or now < self._publish_at:
            return
        if now > self._publish_at + LONGEST_CAPACITY_INTERVAL:  # it was quiet
            self._capacity_pace.reset()
        self._publish_at = now + self._capacity_pace.next()
        self._capacity_differs = False
        self._capacity = self._source.capacity()

    async def _create(self, desired: Desired) -> Node:
        try:
            body = new_node(desired, carried=self._carried())
            created = await self._client.create(NODES, body, Node)
        except AlreadyExists:
            existing = await self._client.get(NODES, Node, name=self._node.name)
            self._nodes.upsert(existing)
            return existing
        self._created += 1
        self._nodes.upsert(created)
        self._heartbeat_done()
        log.info("node created", node=self._node.name, uid=created.uid, times=self._created)
        return created

    async def _patch(self, current: Node, desired: Desired) -> None:
        """Taint first: it keeps new pods away from a node whose compute side does not answer."""
        if (taints := taint_patch(current, desired)) is not None:
            current = await self._send(taints, PatchType.JSON)
        heartbeat = self._clock.monotonic() >= self._heartbeat_at
        if (rest := node_patch(current, desired, heartbeat=heartbeat)) is not None:
            await self._send(rest, PatchType.STRATEGIC, subresource="status")
        if shown_reachable(current) is not desired.reachable:
            self._link_changed(current.uid, desired.reachable)
        if heartbeat:
            self._heartbeat_done()

    async def _send(self, body: object, patch_type: PatchType, *, subresource: str = "") -> Node:
        node = await self._client.patch(
            NODES,
            body,
            Node,
            name=self._node.name,
            subresource=subresource,
            patch_type=patch_type,
        )
        self._nodes.upsert(node)
        return node

    async def _refresh(self) -> None:
        try:
            self._nodes.upsert(await self._client.get(NODES, Node, name=self._node.name))
        except NotFound:
            self._nodes.remove(self._key)

    def _heartbeat_done(self) -> None:
        spread = self._rng.uniform(0.9, 1.0)
        self._heartbeat_at = self._clock.monotonic() + HEARTBEAT_INTERVAL * spread

    def _is_ours(self, node: Node) -> bool:
        return node.spec.provider_id == self._node.provider_id
