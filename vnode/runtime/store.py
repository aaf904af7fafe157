"""What we know of one kind of object in one cluster, by key and by index.

Flow: reflectors put in what they list and watch, writers put in the answers to their own writes,
listeners hear of every change, reconcilers read. Memory only, owned by one event loop, no I/O.
Nothing here fails but a listener, whose exception is logged and goes no further.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from vnode.kube.types import HasMetadata, ObjectKey

__all__ = ["Change", "Store", "StoreStatistics"]

_log = structlog.get_logger(__name__)

_TOMBSTONES = 10_000


T = TypeVar("T", bound=HasMetadata)


@dataclass(frozen=True, slots=True, repr=False)
class Change(Generic[T]):
    """One object appeared (old is None), changed, or went (new is None; old is its last state)."""

    key: ObjectKey
    old: T | None
    new: T | None
    initial: bool
    """Found by a listing, not by a live event: less urgent."""

    def __repr__(self) -> str:
        return f"Change({self.key}, old={self.old is not None}, new={self.new is not None})"


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """Figures of a store."""

    objects: int
    changes: int
    """Changes that listeners heard of, since the start."""
    stale: int
    """Objects that were not taken because a newer version was known."""


class Store(Generic[T]):
    """Objects of one kind by namespace and name.

    A *scope* names the listing that an object belongs to: a reflector that lists one namespace
    replaces only what is in its own scope. "" is the whole cluster, and the scope of objects that
    only our own writes have brought in so far.
    """

    # Invariants:
    # 1. Versions never go back. Answers to our own writes, watch events and listings overtake each
    #    other; resourceVersions of one resource are comparable as integers (KEP-5504, 1.35; true
    #    in practice before), so an older one is dropped, also after the object was removed
    #    (tombstones), or a late answer would bring a deleted object back.
    # 2. Unless the server itself went back (etcd restored from a backup). Then a listing that has a
    #    lower resourceVersion than was seen before replaces everything. One that has a higher one
    #    is believed about each object that it shows as older than we knew it: a listing is complete
    #    up to its own version, so what we knew was taken back.
    # 3. Listeners are called after the store and its indexes have changed, in order of change.
    # 4. _scopes has exactly the keys of _objects, and _indexed those that an index has.

    def __init__(
        self, name: str, indexes: Mapping[str, Callable[[T], Iterable[str]]] | None = None
    ) -> None:
        self.name = name
        self._functions = dict(indexes or {})
        self._objects: dict[ObjectKey, T] = {}
        self._scopes: dict[ObjectKey, str] = {}
        self._indexed: dict[ObjectKey, tuple[tuple[str, str], ...]] = {}
        self._index: dict[tuple[str, str], dict[ObjectKey, None]] = {}
        self._tombstones: OrderedDict[ObjectKey, int] = OrderedDict()
        self._listed: dict[str, int] = {}
        self._synced: set[str] = set()
        self._listeners: list[Callable[[Change[T]], None]] = []
        self._changes = 0
        self._stale = 0

    def get(self, key: ObjectKey) -> T | None:
        """The object of that key, if there is one."""
        return self._objects.get(key)

    def keys(self) -> Iterable[ObjectKey]:
        """A snapshot of all keys."""
        return list(self._objects)

    def values(self) -> Iterable[T]:
        """A snapshot of all objects."""
        return list(self._objects.values())

    def __len__(self) -> int:
        """Number of objects."""
        return len(self._objects)

    def __iter__(self) -> Iterator[ObjectKey]:
        """Iterate over a snapshot of all keys, like a dict."""
        return iter(self.keys())

    def __contains__(self, key: object) -> bool:
        """Whether there is an object of that key."""
        return key in self._objects

    def by_index(self, index: str, value: str) -> list[T]:
        """Objects for which the index function of that name gave `value`. KeyError: no such."""
        if index not in self._functions:
            raise KeyError(index)
        return [self._objects[key] for key in self._index.get((index, value), ())]

    def subscribe(self, listener: Callable[[Change[T]], None]) -> Callable[[], None]:
        """Call `listener` with every change from now on; it must not block.

        Returns a function that ends this.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def synced(self, scope: str = "") -> bool:
        """Whether that scope has been listed completely at least once."""
        return scope in self._synced

    def mark_synced(self, scope: str = "") -> None:
        """Remember that the scope was listed completely."""
        self._synced.add(scope)

    def statistics(self) -> StoreStatistics:
        """Figures as of now."""
        return StoreStatistics(objects=len(self._objects), changes=self._changes, stale=self._stale)

    def upsert(self, obj: T, *, scope: str = "", initial: bool = False) -> None:
        """Take a newer version of an object; an older or the same one is no change."""
        key = obj.metadata.key
        old = self._objects.get(key)
        # A listing that is as new does not have the object: it was made and deleted before that.
        ghost = old is None and not initial and 0 < _version(obj) <= self._listed.get(scope, 0)
        if ghost or self._is_stale(obj, old):
            self._stale += 1
            return
        if scope or old is None:
            self._scopes[key] = scope
        if old is not None and _same(old, obj):
            return
        self._put(key, old, obj, initial=initial)

    def remove(self, key: ObjectKey, *, last: T | None = None) -> None:
        """Forget an object that was deleted; `last` is its final state, where known."""
        old = self._objects.get(key)
        if last is not None:
            if self._is_stale(last, old):  # a newer object of that name exists already
                self._stale += 1
                return
            self._bury(key, last)
        if old is not None:
            self._drop(key, last or old, initial=False)

    def replace(
        self,
        objects: Iterable[T],
        *,
        scope: str = "",
        resource_version: str = "",
        went_back: bool = False,
    ) -> None:
        """Make the scope equal to a complete listing; what is not in it has been deleted.

        `resource_version` is the listing's own. Objects that are newer than the listing (our own
        writes since) stay, unless it `went_back`: a watch or a listing had a higher one before.
        """
        version = _number(resource_version)
        went_back = went_back or version < self._listed.get(scope, 0)
        if went_back:
            _log.warning("resource versions went back", store=self.name, scope=scope)
            self._tombstones.clear()
        self._listed[scope] = version
        listed: set[ObjectKey] = set()
        taken_back = 0
        for obj in objects:
            key = obj.metadata.key
            listed.add(key)
            older = self._is_taken_back(obj, listed=version)
            taken_back += older
            if went_back or older:
                old = self._objects.get(key)
                self._scopes[key] = scope or self._scopes.get(key, scope)
                if old is None or not _same(old, obj):
                    self._put(key, old, obj, initial=True)
            else:
                self.upsert(obj, scope=scope, initial=True)
        if taken_back:
            _log.warning("objects went back", store=self.name, scope=scope, objects=taken_back)
        for key in [key for key in self._objects if key not in listed and self._in(scope, key)]:
            old = self._objects[key]
            if went_back or version == 0 or _version(old) <= version:
                self._drop(key, old, initial=True)
                if not went_back:
                    # It went at some time up to the listing: later answers to our writes that are
                    # older than that must not bring it back.
                    self._bury(key, old, at=version)

    def drop_scope(self, scope: str) -> None:
        """Forget a whole scope, whose objects we no longer watch; listeners hear of it."""
        self._synced.discard(scope)
        self._listed.pop(scope, None)
        for key in [key for key in self._objects if self._in(scope, key)]:
            self._drop(key, self._objects[key], initial=True)

    def _in(self, scope: str, key: ObjectKey) -> bool:
        own = self._scopes[key]
        return own == scope or (own == "" and key.namespace == scope)

    def _is_stale(self, obj: T, old: T | None) -> bool:
        version = _version(obj)
        if version == 0:
            return False
        if old is not None:
            return version < _version(old)
        return version <= self._tombstones.get(obj.metadata.key, -1)

    def _is_taken_back(self, obj: T, *, listed: int) -> bool:
        """Whether a listing of that version shows an object as older than we knew it before."""
        key = obj.metadata.key
        old = self._objects.get(key)
        # A deletion of our own may be known by the version that was deleted: not older than that.
        known = _version(old) if old is not None else self._tombstones.get(key, 0)
        return 0 < _version(obj) < known <= listed

    def _bury(self, key: ObjectKey, last: T, *, at: int = 0) -> None:
        self._tombstones[key] = max(_version(last), at, self._tombstones.pop(key, 0))
        if len(self._tombstones) > _TOMBSTONES:
            self._tombstones.popitem(last=False)

    def _put(self, key: ObjectKey, old: T | None, new: T, *, initial: bool) -> None:
        self._objects[key] = new
        self._tombstones.pop(key, None)
        self._reindex(key, new)
        self._notify(Change(key=key, old=old, new=new, initial=initial))

    def _drop(self, key: ObjectKey, old: T, *, initial: bool) -> None:
        del self._objects[key]
        del self._scopes[key]
        self._reindex(key, None)
        self._notify(Change(key=key, old=old, new=None, initial=initial))

    def _reindex(self, key: ObjectKey, obj: T | None) -> None:
        entries = (
            ()
            if obj is None
            else tuple(
                (index, value)
                for index, function in self._functions.items()
                for value in function(obj)
            )
        )
        before = self._indexed.pop(key, ())
        if before != entries:
            for entry in before:
                keys = self._index.get(entry, {})
                keys.pop(key, None)
                if not keys:
                    self._index.pop(entry, None)
            for entry in entries:
                self._index.setdefault(entry, {})[key] = None
        if entries:
            self._indexed[key] = entries

    def _notify(self, change: Change[T]) -> None:
        self._changes += 1
        for listener in tuple(self._listeners):
            try:
                listener(change)
            except Exception:
                _log.exception("listener failed", store=self.name, key=str(change.key))


def _number(resource_version: str) -> int:
    return int(resource_version) if resource_version.isascii() and resource_version.isdigit() else 0


def _version(obj: HasMetadata) -> int:
    """The resourceVersion as a number; 0 if it has none that is comparable."""
    return _number(obj.metadata.resource_version)


def _same(old: HasMetadata, new: HasMetadata) -> bool:
    if old.metadata.resource_version or new.metadata.resource_version:
        return old.metadata.resource_version == new.metadata.resource_version and (
            old.metadata.uid == new.metadata.uid
        )
    return old == new
