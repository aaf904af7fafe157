"""Binds claims of StorageClass `vnode-shared` in the tenant by placeholder volumes.

In: the tenant's claims (a store that all clusters share) and our placeholders (a watch of our own).
Out: one placeholder for each claim that waits for one; Kubernetes' own controller does the binding.
A placeholder goes when the API server itself says that the claim of its UID is gone. Volumes of
others are never touched. Run by one replica: the one that serves the first of the clusters that
share claims.
"""

import asyncio
import random
from collections.abc import Callable

import structlog

from federation.backends.kubernetes.translate.names import LABEL_MANAGED_BY, MANAGED_BY, Owner
from federation.claims.objects import PERSISTENT_VOLUMES, Claim, Volume
from federation.claims.placeholder import (
    is_placeholder,
    placeholder,
    placeholder_name,
    wants_placeholder,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, Conflict, NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS
from vnode.kube.types import ObjectKey, PartialObject
from vnode.runtime.clock import Clock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Change, Store
from vnode.runtime.workqueue import Priority, Result, WorkQueue, run_workers

_LOG = structlog.get_logger(__name__)

_WORKERS = 2
_LATER = 60.0
_BY_CLAIM = "claim"


class ClaimBinder:
    """Makes and removes placeholders; see the module."""

    def __init__(
        self,
        client: KubeClient,
        *,
        claims: Store[Claim],
        forwards: Callable[[str], bool],
        owner: Owner,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Wire it up.

        Args:
            client: of the tenant cluster.
            claims: its claims, filled by somebody else.
            forwards: whether pods of a tenant namespace may be forwarded.
            owner: who we are.
            clock: of the agent.
            rng: for jitter.
        """
        self._client = client
        self._claims = claims
        self._forwards = forwards
        self._owner = owner
        self._volumes: Store[Volume] = Store("placeholder volumes", {_BY_CLAIM: _claim_of})
        self._queue: WorkQueue[ObjectKey] = WorkQueue("claims", rng=rng)
        self._reflector = Reflector(
            client,
            PERSISTENT_VOLUMES,
            Volume,
            self._volumes,
            label_selector=f"{LABEL_MANAGED_BY}={MANAGED_BY}",
            clock=clock,
            rng=rng,
        )

    async def run(self) -> None:
        """Bind until cancelled."""
        self._volumes.subscribe(self._volume_changed)
        end = self._claims.subscribe(self._claim_changed)  # The store outlives us.
        try:
            for key in self._claims:
                self._queue.add(key, Priority.LOW)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._reflector.run(), name="placeholder volumes")
                await self._reflector.wait_synced()
                tasks.create_task(
                    run_workers(self._queue, self.reconcile, workers=_WORKERS, name="claims")
                )
        finally:
            end()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Make the placeholder of a claim, and remove those of claims that it replaced.

        Raises:
            KubeError: the API server did not answer or refused; tried again.
        """
        if not self._forwards(key.namespace):
            return Result()
        claim = self._claims.get(key)
        for volume in self._volumes.by_index(_BY_CLAIM, str(key)):
            made_for = volume.spec.claim_ref.uid if volume.spec.claim_ref else ""
            if claim is None or claim.metadata.uid != made_for:
                await self._release(key, volume)
        if claim is not None and wants_placeholder(claim):
            return await self._bind(claim)
        return Result()

    async def _bind(self, claim: Claim) -> Result:
        name = placeholder_name(claim.metadata.uid)
        if ObjectKey("", name) in self._volumes:
            return Result()  # Kubernetes is about to bind it.
        try:
            body = placeholder(claim, owner=self._owner)
            made = await self._client.create(PERSISTENT_VOLUMES, body, Volume)
        except AlreadyExists:
            made = await self._client.get(PERSISTENT_VOLUMES, Volume, name=name)
            if not is_placeholder(made, owner=self._owner):
                _LOG.warning("a volume of our name is not ours", volume=name)
                return Result(requeue_after=_LATER)
        else:
            _LOG.info("claim gets a placeholder", claim=str(claim.metadata.key), volume=name)
        self._volumes.upsert(made)
        return Result()

    async def _release(self, key: ObjectKey, volume: Volume) -> None:
        """Remove a placeholder once the API server says that its claim is gone."""
        metadata, claim_ref = volume.metadata, volume.spec.claim_ref
        ours = is_placeholder(volume, owner=self._owner)
        if claim_ref is None or not ours or metadata.deletion_timestamp is not None:
            return
        try:
            live = await self._client.get(
                PERSISTENT_VOLUME_CLAIMS, PartialObject, name=key.name, namespace=key.namespace
            )
        except NotFound:
            pass
        else:
            if live.metadata.uid == claim_ref.uid:
                return  # Our watch is behind.
        try:
            await self._client.delete(PERSISTENT_VOLUMES, name=metadata.name, uid=metadata.uid)
        except (NotFound, Conflict):
            return
        _LOG.info("placeholder removed", claim=str(key), volume=metadata.name)

    def _claim_changed(self, change: Change[Claim]) -> None:
        self._queue.add(change.key, Priority.of(initial=change.initial))

    def _volume_changed(self, change: Change[Volume]) -> None:
        seen = change.new or change.old
        claim_ref = seen.spec.claim_ref if seen is not None else None
        if claim_ref is not None:
            key = ObjectKey(claim_ref.namespace, claim_ref.name)
            self._queue.add(key, Priority.of(initial=change.initial))


def _claim_of(volume: Volume) -> tuple[str, ...]:
    ref = volume.spec.claim_ref
    return (str(ObjectKey(ref.namespace, ref.name)),) if ref is not None else ()
