"""Compute clusters as `vnode gc` needs them: which copies are there, and how one is deleted.

In: the configuration of a cluster, and who we are. Out: a `Place` of its kind. Owned by the
command, which closes it. Only what is ours by its marks is shown or touched.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Protocol

from federation.backends.eci.api import EciApi
from federation.backends.eci.errors import EciError
from federation.backends.eci.errors import NotFound as GroupNotFound
from federation.backends.eci.translate.identity import CLUSTER_UID, TENANT, identity
from federation.backends.kubernetes.observe import tenant_key
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_NODE,
    ANNOTATION_UID,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.config import (
    AnyClusterConfig,
    ClusterConfig,
    EciClusterConfig,
    NamespaceCreation,
    TenantConfig,
)
from federation.sides.eci.account import open_account
from vnode.kube.client import KubeClient
from vnode.kube.config import Connection
from vnode.kube.errors import Conflict, Forbidden, NotFound, Unreachable
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import UID, NodeName, ObjectKey, PartialObject
from vnode.runtime.clock import SystemClock

__all__ = [
    "USER_AGENT",
    "EciPlace",
    "KubernetesPlace",
    "Place",
    "PlacedCopy",
    "forwarded",
    "place_of",
]

USER_AGENT = "vnode-gc"
_TERMINATING = "Terminating"


class PlacedCopy(NamedTuple):
    """One copy that is ours."""

    key: ObjectKey
    """Of the tenant pod that it was made for."""
    uid: UID
    """The same."""
    node: NodeName
    made_at: str
    """RFC 3339."""
    deleting: bool
    handle: str
    """Its own identity below."""
    below: ObjectKey | None = None
    """Where it lies, in a Kubernetes cluster."""


class Place(Protocol):
    """A compute cluster."""

    def copies(self) -> AsyncIterator[PlacedCopy]:
        """Yield what is ours there. Raises KubeError."""
        ...

    async def delete(self, copy: PlacedCopy) -> None:
        """Delete this very copy with its own grace period; gone already is success."""
        ...


class KubernetesPlace:
    """A Kubernetes cluster, by its API server."""

    def __init__(
        self,
        client: KubeClient,
        config: ClusterConfig,
        *,
        owner: Owner,
        namespaces: Callable[[], Awaitable[Sequence[str]]],
    ) -> None:
        self._client = client
        self._config = config
        self._owner = owner
        self._namespaces = namespaces

    async def copies(self) -> AsyncIterator[PlacedCopy]:
        """See `Place.copies`. Namespaces that we may not read are passed over."""
        settings, owner = self._config.namespaces, self._owner
        mapping = NamespaceMapping(tenant=owner.tenant, mode=settings.mode, table=settings.table)
        places: list[str | None] = [None]
        if settings.create is NamespaceCreation.NEVER:
            places = [mapping.below(name) for name in await self._namespaces()]
            places = [place for place in places if place is not None]
        for place in places:
            selection = Selection(
                PODS, place, label_selector=f"{LABEL_TENANT}={owner.tenant}", metadata_only=True
            )
            try:
                async for page in list_pages(self._client, selection, PartialObject):
                    for copy in page.items or ():
                        key = tenant_key(copy.metadata, owner=owner, namespaces=mapping)
                        if key is not None and key.name == copy.metadata.name:
                            yield _placed(key, copy)
            except Forbidden:
                if place is None:
                    raise  # Else it is not prepared, or not for us.

    async def delete(self, copy: PlacedCopy) -> None:
        """See `Place.delete`."""
        if copy.below is None:
            return
        with suppress(NotFound, Conflict):  # What has its name now is another object.
            await self._client.delete(
                PODS, name=copy.below.name, namespace=copy.below.namespace, uid=UID(copy.handle)
            )


class EciPlace:
    """An account of Alibaba Cloud ECI in one region. Its API's errors become Unreachable."""

    def __init__(self, api: EciApi, *, owner: Owner) -> None:
        self._api = api
        self._owner = owner

    async def copies(self) -> AsyncIterator[PlacedCopy]:
        """See `Place.copies`."""
        tenant, cluster_uid = self._owner.tenant, self._owner.cluster_uid
        try:
            async for group in self._api.groups(tags={TENANT: tenant, CLUSTER_UID: cluster_uid}):
                tags = {tag.key: tag.value for tag in group.tags}
                found = identity(
                    tags,
                    called=group.container_group_name,
                    tenant=tenant,
                    cluster_uid=cluster_uid,
                )
                if found is not None:
                    yield PlacedCopy(
                        key=found.key,
                        uid=found.uid,
                        node=found.node,
                        made_at=group.creation_time,
                        deleting=group.status == _TERMINATING,
                        handle=group.container_group_id,
                    )
        except EciError as error:
            raise Unreachable(str(error)) from None

    async def delete(self, copy: PlacedCopy) -> None:
        """See `Place.delete`."""
        try:
            await self._api.delete(copy.handle)
        except GroupNotFound:
            return
        except EciError as error:
            raise Unreachable(str(error)) from None


@asynccontextmanager
async def place_of(
    cluster: AnyClusterConfig,
    *,
    name: str,
    owner: Owner,
    namespaces: Callable[[], Awaitable[Sequence[str]]],
) -> AsyncIterator[Place]:
    """Open the way to a cluster. `namespaces`: those of the tenant. Raises KubeError."""
    if isinstance(cluster, EciClusterConfig):
        async with open_account(cluster, name=name, clock=SystemClock()) as account:
            yield EciPlace(account.api, owner=owner)
        return
    connection = Connection(
        name=name, kubeconfig=cluster.kubeconfig, context=cluster.context, user_agent=USER_AGENT
    )
    async with await KubeClient.connect(connection) as client:
        yield KubernetesPlace(client, cluster, owner=owner, namespaces=namespaces)


async def forwarded(tenant: KubeClient, config: TenantConfig) -> tuple[str, ...]:
    """Namespaces of the tenant whose pods may be forwarded. Raises KubeError."""
    if config.namespaces:
        return config.namespaces
    pages = list_pages(tenant, Selection(NAMESPACES, metadata_only=True), PartialObject)
    names = [item.metadata.name async for page in pages for item in page.items or ()]
    return tuple(name for name in names if config.forwards(name))


def _placed(key: ObjectKey, copy: PartialObject) -> PlacedCopy:
    metadata = copy.metadata
    return PlacedCopy(
        key=key,
        uid=UID(metadata.annotations.get(ANNOTATION_UID, "")),
        node=NodeName(metadata.annotations.get(ANNOTATION_NODE, "")),
        made_at=metadata.creation_timestamp or "",
        deleting=metadata.deletion_timestamp is not None,
        handle=metadata.uid,
        below=metadata.key,
    )
