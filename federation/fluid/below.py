"""What one tenant has below for its claims: stores of it, and how it is made and removed.

In: bodies from `build`, and what the backend's watches bring of our labelled objects. Out: creates
and deletes, each deletion with the UID of what was seen. An object of that name that is not ours is
never touched (`NameConflict`). Volumes are not watched: rights on them know no labels and no names,
so an agent that may list them would see all tenants'. One is found by its name, which the copy of
the claim holds; so the claim is made first and goes last.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from federation.backends.kubernetes.observe import tenant_key
from federation.backends.kubernetes.translate.names import NamespaceMapping, Owner
from federation.backends.kubernetes.watches import Watches, WatchFactory
from federation.claims.objects import PERSISTENT_VOLUMES, Volume
from federation.fluid.objects import (
    DATA_LOADS,
    DATASETS,
    THIN_RUNTIMES,
    ClaimBelow,
    FluidObject,
)
from vnode.backend import NameConflict
from vnode.kube.client import KubeClient
from vnode.kube.errors import AlreadyExists, Conflict, KubeError, NotFound
from vnode.kube.resources import PERSISTENT_VOLUME_CLAIMS, Resource
from vnode.kube.types import UID, HasMetadata, JSONObject, ObjectKey, PartialObject
from vnode.runtime.store import Change, Store

T = TypeVar("T", bound=HasMetadata)
_BY_CLAIM = "claim"


class Below:
    """Objects of one tenant's claims in one compute cluster."""

    def __init__(
        self,
        client: KubeClient,
        *,
        cluster: str,
        owner: Owner,
        mapping: NamespaceMapping,
        copies: bool,
        datasets: bool,
    ) -> None:
        """Nothing is asked here.

        Args:
            client: of the compute cluster.
            cluster: its name, for stores.
            owner: who we are.
            mapping: where tenant namespaces lie.
            copies: claims and volumes are made by us; else all are the platform's.
            datasets: Datasets are made by us, and not by a wrapper there.
        """
        self._client = client
        self._owner = owner
        self._mapping = mapping
        by: Callable[[HasMetadata], Iterator[str]] = self._claim_of
        self.claims: Store[ClaimBelow] = Store(f"{cluster} claims", {_BY_CLAIM: by})
        self.datasets: Store[FluidObject] = Store(f"{cluster} datasets", {_BY_CLAIM: by})
        self.runtimes: Store[PartialObject] = Store(f"{cluster} runtimes", {_BY_CLAIM: by})
        self.loads: Store[FluidObject] = Store(f"{cluster} loads", {_BY_CLAIM: by})
        self._copies = copies
        self._datasets = datasets
        self._watches: tuple[Watches, ...] = ()

    def watches(self, factory: WatchFactory) -> Sequence[Watches]:
        """What has to be watched."""
        watches: list[Watches] = []
        if self._copies:
            watches.append(factory.ours(PERSISTENT_VOLUME_CLAIMS, ClaimBelow, self.claims))
        if self._datasets:
            watches += [
                factory.ours(DATASETS, FluidObject, self.datasets),
                factory.ours(THIN_RUNTIMES, PartialObject, self.runtimes, metadata_only=True),
                factory.ours(DATA_LOADS, FluidObject, self.loads),
            ]
        self._watches = tuple(watches)
        return watches

    def error(self, below: str) -> KubeError | None:
        """Why a compute namespace is not listed; None: nothing is wrong with it."""
        errors = (watch.error(below) for watch in self._watches)
        return next((error for error in errors if error is not None), None)

    def synced(self, scope: str) -> bool:
        """Whether all of ours was listed."""
        if self._copies and not self.claims.synced(scope):
            return False
        made = (self.datasets, self.runtimes, self.loads)
        return not self._datasets or all(store.synced(scope) for store in made)

    def any_in(self, below: str) -> bool:
        """Whether there is any of ours in a compute namespace."""
        stores = (self.claims, self.datasets, self.runtimes, self.loads)
        return any(key.namespace == below for store in stores for key in store)

    def subscribe(self, changed: Callable[[ObjectKey], None]) -> None:
        """Call `changed` with the tenant's claim of every object that changed."""

        def heard(change: Change[T]) -> None:
            seen = change.new or change.old
            if seen is not None and (key := self._key(seen)) is not None:
                changed(key)

        self.claims.subscribe(heard)
        self.datasets.subscribe(heard)
        self.runtimes.subscribe(heard)
        self.loads.subscribe(heard)

    def claim(self, key: ObjectKey) -> ClaimBelow | None:
        """The copy of a tenant's claim."""
        return next(iter(self.claims.by_index(_BY_CLAIM, str(key))), None)

    def dataset(self, key: ObjectKey) -> FluidObject | None:
        """The Dataset of a tenant's claim."""
        return next(iter(self.datasets.by_index(_BY_CLAIM, str(key))), None)

    def of(self, key: ObjectKey) -> list[tuple[Resource, HasMetadata]]:
        """All that a tenant's claim has, in the order in which it goes; not its volume."""
        claim = str(key)
        return [
            *((DATA_LOADS, o) for o in self.loads.by_index(_BY_CLAIM, claim)),
            *((THIN_RUNTIMES, o) for o in self.runtimes.by_index(_BY_CLAIM, claim)),
            *((DATASETS, o) for o in self.datasets.by_index(_BY_CLAIM, claim)),
            *((PERSISTENT_VOLUME_CLAIMS, o) for o in self.claims.by_index(_BY_CLAIM, claim)),
        ]

    async def make(self, resource: Resource, body: JSONObject, kind: type[T], store: Store[T]) -> T:
        """Create an object, unless it is seen already. Raises NameConflict or KubeError."""
        metadata = body["metadata"]
        assert isinstance(metadata, dict)  # noqa: S101 - built by `build`
        key = ObjectKey(str(metadata["namespace"]), str(metadata["name"]))
        if (known := store.get(key)) is not None:
            return known
        try:
            made = await self._client.create(resource, body, kind, namespace=key.namespace)
        except AlreadyExists:
            # The store is complete; one of ours that was just made comes with the watch.
            raise NameConflict(
                f"a {resource.kind} of that name exists there and is not known as this tenant's"
            ) from None
        store.upsert(made)
        return made

    async def make_volume(self, body: JSONObject, claim: UID) -> bool:
        """Create the volume for the copy of a claim; False: an older one has to go first.

        Raises NameConflict or KubeError.
        """
        try:
            await self._client.create(PERSISTENT_VOLUMES, body, PartialObject)
        except AlreadyExists:
            metadata = body["metadata"]
            assert isinstance(metadata, dict)  # noqa: S101 - built by `build`
            found = await self._volume(str(metadata["name"]))
            if found is None:
                return False
            if found.spec.claim_ref is not None and found.spec.claim_ref.uid == claim:
                return found.metadata.deletion_timestamp is None
            await self._remove(PERSISTENT_VOLUMES, found)
            return False
        return True

    async def remove(self, resource: Resource, seen: HasMetadata) -> None:
        """Ask for the deletion of an object, of a claim's copy with its volume. KubeError."""
        if isinstance(seen, ClaimBelow) and seen.spec.volume_name:
            try:
                volume = await self._volume(seen.spec.volume_name)
            except NameConflict:
                volume = None  # Somebody else's is not what we made.
            if volume is not None and volume.metadata.deletion_timestamp is None:
                await self._remove(PERSISTENT_VOLUMES, volume)
        if seen.metadata.deletion_timestamp is None:
            await self._remove(resource, seen)

    async def _volume(self, name: str) -> Volume | None:
        try:
            found = await self._client.get(PERSISTENT_VOLUMES, Volume, name=name)
        except NotFound:
            return None
        if not self._owner.owns(found.metadata):
            raise NameConflict("a volume of that name exists there and is not this tenant's")
        return found

    async def _remove(self, resource: Resource, seen: HasMetadata) -> None:
        metadata = seen.metadata
        try:
            await self._client.delete(
                resource,
                name=metadata.name,
                namespace=metadata.namespace or None,
                uid=metadata.uid,
            )
        except (NotFound, Conflict):
            return

    def _key(self, seen: HasMetadata) -> ObjectKey | None:
        return tenant_key(seen.metadata, owner=self._owner, namespaces=self._mapping)

    def _claim_of(self, seen: HasMetadata) -> Iterator[str]:
        if (key := self._key(seen)) is not None:
            yield str(key)
