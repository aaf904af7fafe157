"""The Lease by which the tenant's node lifecycle controller knows that a virtual node lives.

In: the UID of the Node object. Out: `kube-node-lease/<node>`, renewed every 10 s on the client's
own lease connection, whatever else is busy; 50 s of silence and the node is called unreachable.
Renewals are optimistic: a patch on the version that we wrote last, a read only after a conflict.
Errors are retried quickly and for ever. One `NodeLease.run` task per virtual node.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Never

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import Conflict, Invalid, KubeError, NotFound, Unreachable
from vnode.kube.resources import LEASES, NODES
from vnode.kube.timestamps import rfc3339_micro
from vnode.kube.types import JSON, UID, NodeName, PartialObject
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

log = structlog.get_logger(__name__)

NAMESPACE = "kube-node-lease"
DURATION_SECONDS = 40
RENEW_INTERVAL = 10.0
"""Seconds between renewals; spread by 4 % so that many nodes do not write at once."""
ATTEMPT_TIMEOUT = 8.0
"""Seconds for one attempt, so that several fit into DURATION_SECONDS."""
LONGEST_RETRY = 5.0
"""Seconds between two attempts at most."""
WAIT_FOR_NODE = 1.0
"""Seconds between two looks for a Node that does not exist yet."""


class NodeLease:
    """Keeps the Lease of one virtual node."""

    def __init__(
        self,
        client: KubeClient,
        name: NodeName,
        *,
        node_uid: Callable[[], UID | None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._client = client
        self._name = name
        self._node_uid = node_uid
        self._clock = clock
        self._rng = rng
        self._lease: PartialObject | None = None
        self._problem: str | None = None

    async def run(self) -> Never:
        """Renew the Lease for as long as the Node exists; ends only by cancellation."""
        retry = Backoff(0.2, LONGEST_RETRY, rng=self._rng)
        while True:
            uid = self._node_uid()
            if uid is None:
                await self._clock.sleep(WAIT_FOR_NODE)
                continue
            try:
                await self._attempt(uid)
            except KubeError as error:
                self._failed(error)
                await self._clock.sleep(retry.next())
                continue
            retry.reset()
            self._problem = None
            await self._clock.sleep(RENEW_INTERVAL * self._rng.uniform(0.96, 1.0))

    def _failed(self, error: KubeError) -> None:
        known = self._problem == str(error)
        self._problem = str(error)
        # The same trouble again is not news.
        (log.debug if known else log.warning)(
            "node lease not renewed", node=self._name, error=self._problem
        )

    async def _attempt(self, uid: UID) -> None:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                await self._renew(uid)
        except TimeoutError:
            raise Unreachable(f"no answer within {ATTEMPT_TIMEOUT:g} s") from None

    async def _renew(self, uid: UID) -> None:
        lease, self._lease = self._lease, None  # unknown until the answer is here
        try:
            self._lease = await (self._create(uid) if lease is None else self._patch(lease, uid))
        except (NotFound, Conflict, Invalid):
            # Deleted, changed by others, or made by an earlier run: go on from what is there.
            self._lease = await self._current_or_new(uid)

    async def _current_or_new(self, uid: UID) -> PartialObject:
        try:
            existing = await self._client.get(
                LEASES, PartialObject, name=self._name, namespace=NAMESPACE, session="lease"
            )
        except NotFound:
            return await self._create(uid)
        return await self._patch(existing, uid)

    async def _create(self, uid: UID) -> PartialObject:
        body: dict[str, JSON] = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "ownerReferences": self._owners(uid)},
            "spec": self._spec(),
        }
        return await self._client.create(
            LEASES, body, PartialObject, namespace=NAMESPACE, session="lease"
        )

    async def _patch(self, lease: PartialObject, uid: UID) -> PartialObject:
        metadata: dict[str, JSON] = {
            "uid": lease.metadata.uid,
            "resourceVersion": lease.metadata.resource_version,
        }
        if all(owner.uid != uid for owner in lease.metadata.owner_references):
            metadata["ownerReferences"] = self._owners(uid)
        body: dict[str, JSON] = {"metadata": metadata, "spec": self._spec()}
        return await self._client.patch(
            LEASES,
            body,
            PartialObject,
            name=self._name,
            namespace=NAMESPACE,
            session="lease",
        )

    def _spec(self) -> dict[str, JSON]:
        return {
            "holderIdentity": self._name,
            "leaseDurationSeconds": DURATION_SECONDS,
            "renewTime": rfc3339_micro(self._clock.time() + self._client.clock_offset),
        }

    def _owners(self, uid: UID) -> list[JSON]:
        return [{"apiVersion": "v1", "kind": NODES.kind, "name": self._name, "uid": uid}]
