"""ConfigMaps and Secrets that pods refer to: copied below while somebody uses them.

In: tenant pods (who refers to what), the *metadata* of tenant ConfigMaps and Secrets, and service
variables, which are ConfigMaps that the tenant does not have. Out: `PodBackend.put_object` and
`drop_object`. A body is fetched once per version of an object that a pod on our nodes refers to,
and kept nowhere; of the bodies only the key names are remembered.

Invariants:

* an object goes down first when a pod that is about to be made or changed needs it (`ensure`), so
  what only refused pods and refused ephemeral containers refer to does not travel; from then on it
  is kept up to date;
* an object is dropped below when no tenant pod on our nodes needs it, judged under the same lock
  under which it is put. A pod or an ephemeral container that was refused needs nothing, nor
  does a pod that ended and has no copy. As long as a pod was not judged, as after a restart, it
  needs what is there already;
* nothing is dropped in a namespace with a copy that has no tenant pod: what that one refers to is
  not known any more, and it may be held for long (`orphans`);
* one that vanished in the tenant stays below for the pods that need it: their containers can start
  again. Where it is optional to all of them it goes, as its files do on any node.
"""

import asyncio
import functools
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from vnode.backend import ObjectRef, PodBackend, ReferenceKind, Sight
from vnode.kube.client import KubeClient
from vnode.kube.errors import NotFound
from vnode.kube.resources import CONFIG_MAPS, SECRETS
from vnode.kube.types import ConfigMap, ObjectKey, PartialObject, Pod, Secret
from vnode.pods.limits import CopiedObjects, Limits, Line, NoRoom
from vnode.pods.objects.references import ReferenceUse, references
from vnode.pods.objects.service_variables import ServiceVariables
from vnode.runtime.store import Change, Store
from vnode.runtime.workqueue import Priority, Result, WorkQueue

_LOG = structlog.get_logger(__name__)
_RECHECK_SECONDS = 1.0
_BARRED_SECONDS = 60.0
_NO_SETTINGS = Limits()
_LONGEST_NAME = 253


@dataclass(frozen=True, slots=True)
class Missing:
    """A reference that cannot be resolved; `key` empty means the whole object is missing."""

    use: ReferenceUse
    key: str = ""

    @property
    def reason(self) -> str:
        """Event reason, as virtual-kubelet words it (e.g. `MandatorySecretNotFound`)."""
        need = "Optional" if self.use.optional else "Mandatory"
        return f"{need}{self.use.ref.kind}{'Key' if self.key else ''}NotFound"

    @property
    def message(self) -> str:
        """Text for the event: what is missing, and where the pod asks for it."""
        ref = self.use.ref
        what = f'{ref.kind} "{_short(ref.name)}"'
        if self.key:
            what = f'key "{_short(self.key)}" of {what}'
        return f"{what} not found ({self.use.where})"


def _short(name: str) -> str:
    """Names in a PodSpec are free text, of up to a megabyte."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


class _Need(NamedTuple):
    """How a pod needs an object."""

    optional: bool
    """It may start without."""
    ephemeral: bool
    """Only ephemeral containers refer to it, and these may have been refused."""


@dataclass(frozen=True, slots=True)
class _Keys:
    version: str
    names: frozenset[str]


@dataclass(slots=True)
class _Turn:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


def _needs(pod: Pod) -> dict[ObjectRef, _Need]:
    needs: dict[ObjectRef, _Need] = {}
    for use in references(pod.spec):
        ref = ObjectRef(pod.metadata.namespace, *use.ref)
        need = needs.get(ref, _Need(optional=True, ephemeral=True))
        needs[ref] = _Need(need.optional and use.optional, need.ephemeral and bool(use.ephemeral))
    return needs


@functools.lru_cache(maxsize=4096)
def _shared(refs: frozenset[ObjectRef]) -> frozenset[ObjectRef]:
    """The same set for all pods that refer to the same: those of a Deployment do."""
    return refs


@contextmanager
def _in_line(line: Line, key: ObjectKey) -> Iterator[None]:
    """A pod that is refused for want of room waits in line."""
    line.leave(key)
    try:
        yield
    except NoRoom:
        line.join(key)
        raise


class ReferencedObjects:
    """Keeps the copies of referenced objects in one backend up to date."""

    def __init__(
        self,
        client: KubeClient,
        backend: PodBackend,
        *,
        metadata: Mapping[ReferenceKind, Store[PartialObject]],
        services: ServiceVariables,
        queue: WorkQueue[ObjectRef],
        pods_synced: Callable[[], bool],
        limits: Limits = _NO_SETTINGS,
    ) -> None:
        """Wire it up.

        Args:
            client: of the tenant cluster.
            backend: where the copies go.
            metadata: stores of the tenant's ConfigMaps and Secrets, metadata only.
            services: bodies of the references to service variables.
            queue: worked off by `reconcile`.
            pods_synced: whether all tenant pods of our nodes are known.
            limits: how much a tenant namespace may have below.
        """
        self.limits = limits
        self._client = client
        self._backend = backend
        self._metadata = metadata
        self._services = services
        self._queue = queue
        self._pods_synced = pods_synced
        self._listeners: list[Callable[[ObjectKey], None]] = []
        self._users: defaultdict[ObjectRef, dict[ObjectKey, _Need]] = defaultdict(dict)
        """The pods that refer to an object."""
        self._used_by: dict[ObjectKey, frozenset[ObjectRef]] = {}
        self._granted: dict[ObjectKey, frozenset[ObjectRef]] = {}
        """What was brought for a pod when it was judged last: all, less what was refused. Its copy
        may be made before it is observed."""
        self._waiting: defaultdict[ObjectRef, set[ObjectKey]] = defaultdict(set)
        self._copies: defaultdict[str, set[ObjectKey]] = defaultdict(set)
        """Pods that live below, by namespace."""
        self._kept: defaultdict[str, set[ObjectRef]] = defaultdict(set)
        """What nobody refers to, by namespace, while a copy has no tenant pod there."""
        self._keys: dict[ObjectRef, _Keys] = {}
        self._copied = CopiedObjects(limits)
        self._for_pods, self._for_objects = Line(), Line()
        self._turns: defaultdict[ObjectRef, _Turn] = defaultdict(_Turn)
        self._ends = [store.subscribe(self._listener(kind)) for kind, store in metadata.items()]
        self._ends.append(services.subscribe(self._refresh))
        backend.subscribe(self._copy_changed)
        backend.subscribe_objects(queue.add)

    def close(self) -> None:
        """Stop listening to the tenant's stores, which outlive us."""
        for end in self._ends:
            end()

    def subscribe(self, listener: Callable[[ObjectKey], None]) -> None:
        """Call `listener` with the key of each pod that waited for an object, or has room now."""
        self._listeners.append(listener)

    def pod_changed(self, change: Change[Pod]) -> None:
        """Count references: called with every change of the store of tenant pods."""
        after = _needs(change.new) if change.new else {}
        before = self._used_by.pop(change.key, frozenset())
        if after:
            self._used_by[change.key] = _shared(frozenset(after))
        if change.old and (not change.new or change.new.metadata.uid != change.old.metadata.uid):
            self._granted.pop(change.key, None)
            self._for_pods.leave(change.key)
            self._for_objects.leave(change.key)
        for ref, need in after.items():
            self._users[ref][change.key] = need
            if change.initial and ref not in before:
                # What became of the copy while nobody looked, no event will tell.
                self._queue.add(ref, Priority.LOW)
        for ref in before - after.keys():
            self._waiting[ref].discard(change.key)
            self._users[ref].pop(change.key, None)
            if not self._users[ref]:
                del self._users[ref]
            self._queue.add(ref)  # Those that are left may not need it.
        self._release(change.key.namespace)

    async def ensure(self, key: ObjectKey, uses: Iterable[ReferenceUse]) -> list[Missing]:
        """Bring everything a pod refers to below, and say what is missing in the tenant.

        Raises:
            KubeError: the tenant API server did not answer.
            Waiting: the compute side did not take an object, or the namespace has too many.
        """
        missing: list[Missing] = []
        uses = list(uses)
        refs = frozenset(ObjectRef(key.namespace, *use.ref) for use in uses)
        with _in_line(self._for_objects, key):
            self._copied.require_room(key.namespace, refs)
        self._grant(key, refs)
        for use in sorted(uses, key=lambda use: use.where):
            ref = ObjectRef(key.namespace, *use.ref)
            async with self._alone(ref):
                names = await self._bring(ref, need_keys=bool(use.keys))
            if names is None:
                missing.append(Missing(use))
            else:
                self._copied.add(ref)
                missing += [Missing(use, k) for k in sorted(use.keys - names)]
        for m in missing:
            self._waiting[ObjectRef(key.namespace, *m.use.ref)].add(key)
        return missing

    def require_room(self, key: ObjectKey) -> None:
        """See that the pod's tenant namespace may have one more copy below. Raises Waiting."""
        copies = self._copies.get(key.namespace, ())
        with _in_line(self._for_pods, key):
            self.limits.require_room_for_pod(key.namespace, copies=len(copies))

    def adds(self, namespace: str, uses: Iterable[ReferenceUse]) -> bool:
        """Whether something of it does not lie below yet."""
        refs = {ObjectRef(namespace, *use.ref) for use in uses}
        return any(self._backend.held_version(ref) is None for ref in refs)

    def withdraw(self, key: ObjectKey) -> None:
        """A pod has no copy and gets none as it is: what only it refers to nobody needs."""
        self._grant(key, frozenset())

    async def reconcile(self, ref: ObjectRef) -> Result:
        """Refresh or drop the copy of one object."""
        sight = self._backend.sight(ref.namespace)
        if not self._pods_synced() or sight is Sight.UNKNOWN:
            return Result(requeue_after=_RECHECK_SECONDS)
        if sight is not Sight.COMPLETE:
            if ref in self._users:
                return Result(requeue_after=_BARRED_SECONDS)
            # Nobody will look at it again: if it is there when it can be seen, we are told then.
            self._made_room(ref)
            return Result()
        async with self._alone(ref):
            needed = any(self._needs(ref))
            held = self._backend.held_version(ref) is not None
            if not needed and held and self._has_orphans(ref.namespace):
                self._kept[ref.namespace].add(ref)
                self._copied.add(ref)
                return Result()
            gone = not needed or await self._bring(ref, need_keys=False) is None
            # Asked again: pods came and went meanwhile.
            if gone and held and all(need.optional for need in self._needs(ref)):
                await self._backend.drop_object(ref)
                held = False
                _LOG.info("dropped copy", object=str(ref))
            if gone:
                self._keys.pop(ref, None)
            if not gone or held:
                self._copied.add(ref)
            else:
                self._made_room(ref)
            if ref not in self._users:
                self._waiting.pop(ref, None)
        return Result()

    def _grant(self, key: ObjectKey, refs: frozenset[ObjectRef]) -> None:
        used = self._used_by.get(key)
        if used is None:
            return
        before = self._granted.get(key, used)
        self._granted[key] = _shared(refs)
        for ref in (used & before) - refs:
            self._queue.add(ref)

    def _needs(self, ref: ObjectRef) -> Iterator[_Need]:
        """How those need an object whose copies have it, or may have it at any time."""
        held = self._backend.held_version(ref) is not None
        for key, need in self._users.get(ref, {}).items():
            granted = self._granted.get(key)
            if (held if granted is None else ref in granted) or (
                not need.ephemeral and self._backend.observed(key) is not None
            ):
                yield need

    def _copy_changed(self, key: ObjectKey) -> None:
        copy = self._backend.observed(key)
        if copy is not None and not copy.gone:
            self._copies[key.namespace].add(key)
            return
        self._copies[key.namespace].discard(key)
        left = len(self._copies[key.namespace])
        if not left:
            del self._copies[key.namespace]
        self._release(key.namespace)
        self._wake(self._for_pods.first(key.namespace, self.limits.pods - left))

    def _made_room(self, ref: ObjectRef) -> None:
        """An object does not lie below any more. Pods need different numbers: one is tried."""
        if self._copied.discard(ref):
            self._wake(self._for_objects.first(ref.namespace, 1))

    def _wake(self, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            for listener in self._listeners:
                listener(key)

    def _release(self, namespace: str) -> None:
        """Look again at what was kept, once the last copy without tenant pod went or got one."""
        if namespace in self._kept and not self._has_orphans(namespace):
            for ref in self._kept.pop(namespace):
                self._queue.add(ref)

    def _has_orphans(self, namespace: str) -> bool:
        # Every pod refers to something, if only to service variables.
        return any(key not in self._used_by for key in self._copies.get(namespace, ()))

    async def _bring(self, ref: ObjectRef, *, need_keys: bool) -> frozenset[str] | None:
        """Copy the newest version below; return its key names, or None if it does not exist.

        The caller holds the object's lock.
        """
        version = self._known_version(ref)
        known = self._keys.get(ref)
        fresh = known is not None and known.version == version
        if version is not None and self._backend.held_version(ref) == version:
            if fresh and known is not None:
                return known.names
            if not need_keys:
                return frozenset()
        # A miss in the store may only mean that the watch is behind: ask once.
        body = await self._fetch(ref)
        if body is None:
            return None
        version = f"{body.metadata.uid}/{body.metadata.resource_version}"
        if self._backend.held_version(ref) != version:
            await self._backend.put_object(ref, body)
        names = frozenset(body.data)
        if isinstance(body, ConfigMap):
            names |= frozenset(body.binary_data)
        self._keys[ref] = _Keys(version, names)
        return names

    @asynccontextmanager
    async def _alone(self, ref: ObjectRef) -> AsyncIterator[None]:
        """Hold the object's lock; it is kept only while somebody has or wants it."""
        turn = self._turns[ref]
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[ref]

    def _known_version(self, ref: ObjectRef) -> str | None:
        if (made := self._services.version(ref)) is not None:
            return f"/{made}"
        found = self._metadata[ref.kind].get(ObjectKey(ref.namespace, ref.name))
        return f"{found.metadata.uid}/{found.metadata.resource_version}" if found else None

    async def _fetch(self, ref: ObjectRef) -> ConfigMap | Secret | None:
        if (made := self._services.body(ref)) is not None:
            return made
        try:
            if ref.kind is ReferenceKind.SECRET:
                return await self._client.get(
                    SECRETS, Secret, name=ref.name, namespace=ref.namespace
                )
            return await self._client.get(
                CONFIG_MAPS, ConfigMap, name=ref.name, namespace=ref.namespace
            )
        except NotFound:
            return None

    def _listener(self, kind: ReferenceKind) -> Callable[[Change[PartialObject]], None]:
        def changed(change: Change[PartialObject]) -> None:
            ref = ObjectRef(change.key.namespace, kind, change.key.name)
            self._refresh(ref)
            if ref in self._users and change.new is not None:
                self._wake(self._waiting.pop(ref, ()))

        return changed

    def _refresh(self, ref: ObjectRef) -> None:
        if ref in self._users:
            self._queue.add(ref)
