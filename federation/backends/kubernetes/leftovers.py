"""What becomes of compute namespaces that the agent made and that no tenant namespace needs.

In: compute namespaces with our marks, in which nothing of ours is left. Out: they are deleted, or
kept and reported with the reason (log and metric). A deletion takes everything with it and cannot
be taken back, so all of this has to hold (DESIGN 4.2): the configuration says so, the agent made
the namespace (its annotation), the tenant's API server itself says that the tenant namespace is
gone, and the compute API server that no pod and no PersistentVolumeClaim is in it. Whoever calls
`settle` keeps new pods out meanwhile.

Every few minutes all namespaces with our marks are looked for, so what was kept is judged again,
and what a dead agent left behind is found.
"""

import enum
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Never

import structlog

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_MADE,
    ANNOTATION_NAMESPACE,
    LABEL_TENANT,
    MADE_ON_DEMAND,
    NamespaceMapping,
    Owner,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import KubeError, NotFound
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NAMESPACES, PERSISTENT_VOLUME_CLAIMS, PODS, Resource
from vnode.kube.types import PartialObject
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)

_EVERY_SECONDS, _JITTER = 300.0, 0.1


class Kept(enum.StrEnum):
    """Why a compute namespace without tenant namespace is still there."""

    BY_POLICY = "Policy"
    NOT_MADE_BY_US = "NotMadeByAgent"
    TENANT_NAMESPACE = "TenantNamespaceExists"
    PODS = "Pods"
    CLAIMS = "PersistentVolumeClaims"
    FAILED = "Failed"
    """An API server did not answer or refused; tried again."""


class Leftovers:
    """Finds and judges the compute namespaces that one tenant cluster left in one cluster."""

    def __init__(
        self,
        client: KubeClient,
        *,
        owner: Owner,
        mapping: NamespaceMapping,
        delete: bool,
        is_gone: Callable[[str], Awaitable[bool]],
        report: Callable[[Mapping[str, int]], None],
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Wire it up.

        Args:
            client: of the compute cluster.
            owner: who we are.
            mapping: where tenant namespaces lie.
            delete: whether any may be deleted at all.
            is_gone: asks the tenant's API server whether a tenant namespace is gone; KubeError.
            report: called with how many are kept for each reason, when that changed.
            clock: of the agent.
            rng: for jitter.
        """
        self._client = client
        self._owner = owner
        self._mapping = mapping
        self._delete = delete
        self._is_gone = is_gone
        self._report = report
        self._clock = clock
        self._rng = rng
        self._kept: dict[str, Kept] = {}

    def needed(self, namespace: str) -> None:
        """The tenant namespace is there (again)."""
        self._note(namespace, None)

    async def settle(self, namespace: str, found: PartialObject) -> bool:
        """Delete the compute namespace of a tenant namespace, or say why not; True: it goes."""
        if not self._owner.owns(found.metadata):
            return False  # Prepared by the platform, for the platform to remove.
        try:
            why = await self._judge(namespace, found)
            if why is None:
                await self._remove(namespace, found)
        except KubeError as error:
            _LOG.warning("compute namespace not judged", **self._about(namespace), error=str(error))
            why = Kept.FAILED
        if why not in (None, Kept.FAILED) and self._kept.get(namespace) is not why:
            _LOG.info("compute namespace kept", **self._about(namespace), why=str(why))
        self._note(namespace, why)
        return why is None

    async def run(self, revisit: Callable[[str], None]) -> Never:
        """Call `revisit` with the tenant namespace of each namespace of ours, now and then."""
        while True:
            spread = self._rng.uniform(1 - _JITTER, 1 + _JITTER)
            await self._clock.sleep(_EVERY_SECONDS * spread)
            try:
                found = await self._ours()
            except KubeError as error:
                _LOG.warning(
                    "compute namespaces not listed", cluster=self._client.name, error=str(error)
                )
                continue
            for gone in self._kept.keys() - found:
                self._note(gone, None)
            for namespace in found:
                revisit(namespace)

    async def _remove(self, namespace: str, found: PartialObject) -> None:
        """Delete it as it was judged. Raises Conflict: its marks may have been changed since."""
        try:
            await self._client.delete(
                NAMESPACES,
                name=found.metadata.name,
                uid=found.metadata.uid,
                resource_version=found.metadata.resource_version,
            )
        except NotFound:
            return
        _LOG.info("compute namespace deleted", **self._about(namespace))

    async def _judge(self, namespace: str, found: PartialObject) -> Kept | None:
        """The first reason to keep it. Raises KubeError."""
        if found.metadata.annotations.get(ANNOTATION_MADE) != MADE_ON_DEMAND:
            return Kept.NOT_MADE_BY_US
        if not self._delete:
            return Kept.BY_POLICY
        if not await self._is_gone(namespace):
            return Kept.TENANT_NAMESPACE
        if await self._holds(PODS, found.metadata.name):
            return Kept.PODS
        if await self._holds(PERSISTENT_VOLUME_CLAIMS, found.metadata.name):
            return Kept.CLAIMS
        return None

    async def _holds(self, resource: Resource, below: str) -> bool:
        """Whether there is any object of a kind, whoever's, as of now."""
        selection = Selection(resource=resource, namespace=below, metadata_only=True)
        pages = list_pages(self._client, selection, PartialObject, page_size=1)
        async with aclosing(pages):
            return bool((await anext(pages)).items)

    async def _ours(self) -> set[str]:
        """Tenant namespaces that our compute namespaces say they belong to."""
        label = f"{LABEL_TENANT}={self._owner.tenant}"
        selection = Selection(resource=NAMESPACES, label_selector=label, metadata_only=True)
        found: set[str] = set()
        pages = list_pages(self._client, selection, PartialObject)
        async with aclosing(pages):
            async for page in pages:
                for each in page.items or ():
                    namespace = each.metadata.annotations.get(ANNOTATION_NAMESPACE, "")
                    fits = self._mapping.below(namespace) == each.metadata.name
                    if namespace and fits and self._owner.owns(each.metadata):
                        found.add(namespace)
        return found

    def _note(self, namespace: str, why: Kept | None) -> None:
        if self._kept.get(namespace) is why:
            return
        if why is None:
            del self._kept[namespace]
        else:
            self._kept[namespace] = why
        counts = Counter(self._kept.values())
        self._report({str(each): counts[each] for each in Kept})

    def _about(self, namespace: str) -> dict[str, str]:
        return {"cluster": self._client.name, "namespace": namespace}
