"""What one tenant has below for its claims: stores of it, and how it is made and removed.

In: bodies from `build`, and what the backend's watches bring of our labelled objects. Out: creates
and deletes, each deletion with the UID of what was seen. An object of that name that is not ours is
never touched (`NameConflict`). Volumes are not watched: rights on them know no labels and no names,
so an agent that may list them would see all tenants'. One is found by its name, which follows from
the marks of the claim's copy; so the claim is made first and goes last.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from federation.backends.kubernetes.observe import tenant_key
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_UID,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.watches import Watches, WatchFactory
from federation.claims.objects import PERSISTENT_VOLUMES, Volume
from federation.fluid.names import volume_name
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
        self._lost: dict[ObjectKey, set[UID]] = {}
        """UIDs of the tenant's claims whose copy has gone, and maybe not its volume and Secret."""
        self.claims.subscribe(self._claim_changed)

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

    def of(self, key: ObjectKey) -> list[tuple[Resource, HasMetadata]]:
        """All that a tenant's claim has, in the order in which it goes; not its volume."""
        claim = str(key)
        return [
            *((DATA_LOADS, o) for o in self.loads.by_index(_BY_CLAIM, claim)),
            *((THIN_RUNTIMES, o) for o in self.runtimes.by_index(_BY_CLAIM, claim)),
            *((DATASETS, o) for o in self.datasets.by_index(_BY_CLAIM, claim)),
            *((PERSISTENT_VOLUME_CLAIMS, o) for o in self.claims.by_index(_BY_CLAIM, claim)),
        ]

    def loads_of(self, key: ObjectKey) -> list[FluidObject]:
        """The DataLoads of a tenant's claim."""
        return list(self.loads.by_index(_BY_CLAIM, str(key)))

    def bereft(self, key: ObjectKey) -> set[UID]:
        """UIDs of claims of that name whose copy others removed: what else it had may be there."""
        if not self._copies:
            return set()
        there = self.of(key)
        copies = {_claim_uid(o) for r, o in there if r is PERSISTENT_VOLUME_CLAIMS}
        return ({_claim_uid(o) for _, o in there} | self._lost.get(key, set())) - copies

    def forget(self, key: ObjectKey, claim: UID) -> None:
        """Nothing is left of a claim whose copy had gone."""
        lost = self._lost.get(key, set())
        lost.discard(claim)
        if not lost:
            self._lost.pop(key, None)

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

    async def make_volume(self, body: JSONObject, claim: UID) -> None:
        """Create the volume for the copy of a claim, or ask for the deletion of an older one.

        Raises NameConflict or KubeError.
        """
        try:
            await self._client.create(PERSISTENT_VOLUMES, body, PartialObject)
        except AlreadyExists:
            metadata = body["metadata"]
            assert isinstance(metadata, dict)  # noqa: S101 - built by `build`
            found = await self._volume(str(metadata["name"]))
            if found is None:
                return
            if found.spec.claim_ref is None or found.spec.claim_ref.uid != claim:
                await self._remove(PERSISTENT_VOLUMES, found)

    async def remove(self, resource: Resource, seen: HasMetadata) -> None:
        """Ask for the deletion of an object, of a claim's copy with its volume. KubeError."""
        if resource is PERSISTENT_VOLUME_CLAIMS:
            await self.remove_volume(_claim_uid(seen), below=seen.metadata.namespace)
        if seen.metadata.deletion_timestamp is None:
            await self._remove(resource, seen)

    async def remove_volume(self, claim: UID, *, below: str) -> None:
        """Ask for the deletion of the copy of a tenant claim's volume. Raises KubeError."""
        try:
            volume = await self._volume(volume_name(claim, owner=self._owner, below=below))
        except NameConflict:
            return  # Somebody else's is not what we made.
        if volume is not None and volume.metadata.deletion_timestamp is None:
            await self._remove(PERSISTENT_VOLUMES, volume)

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

    def _claim_changed(self, change: Change[ClaimBelow]) -> None:
        seen = change.new or change.old
        if seen is None or (key := self._key(seen)) is None:
            return
        if change.new is not None:
            self.forget(key, _claim_uid(seen))
        elif self.claims.synced(seen.metadata.namespace):  # Else it is not watched any more.
            self._lost.setdefault(key, set()).add(_claim_uid(seen))

    def _key(self, seen: HasMetadata) -> ObjectKey | None:
        return tenant_key(seen.metadata, owner=self._owner, namespaces=self._mapping)

    def _claim_of(self, seen: HasMetadata) -> Iterator[str]:
        if (key := self._key(seen)) is not None:
            yield str(key)


def _claim_uid(seen: HasMetadata) -> UID:
    """Of the tenant's claim that an object was made for."""
    return UID(seen.metadata.annotations.get(ANNOTATION_UID, ""))
