"""Which compute namespaces are ready for this tenant, and the watches in them.

In: tenant namespaces that may be forwarded. Out: the state of each one's compute namespace, and
watches in those that exist and carry our owner label. A namespace of somebody else is refused. One
that is missing is looked for again and again, or made when a pod needs it (`NamespaceMaker`); one
that is ready is looked at now and then (DESIGN 4.1, 4.2). When the tenant namespace is gone, looks
and watches go on until nothing of ours is left below; what then becomes of the compute namespace is
decided in `leftovers`.
"""

import asyncio
import enum
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import structlog

from federation.backends.kubernetes.leftovers import Leftovers
from federation.backends.kubernetes.namespace_maker import NamespaceMaker
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_NAMESPACE,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from federation.backends.kubernetes.watches import Watches
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, KubeError, NotFound
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import UID, PartialObject
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)
_RELOOK_SECONDS = 300.0
"""A namespace that is ready is looked at again: its owner label may have changed."""
_BETWEEN_LOOKS = 1.0
"""Seconds between two looks, however often somebody asks for one."""


class NamespaceState(enum.Enum):
    """What is known of one compute namespace; the value is the text for the tenant's users."""

    NOT_FORWARDED = "is not forwarded to compute clusters"
    UNKNOWN = "was not looked at yet"
    READY = "is ready"
    ABSENT = "is made there when a pod needs it"
    UNMAPPED = "is not in the table of namespaces that may be forwarded"
    MISSING = "is not prepared there"
    FORBIDDEN = "is not prepared there, or the virtual node has no right in it"
    FOREIGN = "is prepared there for somebody else"


_DOUBT_SECONDS, _DOUBTS_SECONDS = 45.0, 135.0
"""An API server that just started may say 403 or 404 of what is there: a namespace that was ready
is looked at so often then, or as soon as somebody asks, and given up when all looks have said the
same for so long."""


_SETTLED = frozenset({NamespaceState.READY, NamespaceState.ABSENT, NamespaceState.UNMAPPED})


@dataclass(slots=True)
class _Place:
    """What is known of the compute namespace of one tenant namespace."""

    state: NamespaceState = NamespaceState.UNKNOWN
    wanted: bool = True
    """The tenant namespace exists, as far as its watch has told."""
    found: PartialObject | None = None
    """As it was when it was last seen."""
    ending: bool = False
    """It was being deleted when it was last seen: when it is not found any more, it is gone."""
    settling: bool = False
    """It is being decided whether it may be deleted: nothing new may be made in it."""
    missed: tuple[NamespaceState, float] | None = None
    """What looks have said in a row although it was ready, and monotonic time of the first."""
    doubtful: bool = False
    """The newest look did not find it, or could not be taken, although it was ready."""
    cluster: UID | None = None
    """UID of the cluster in which it was found; None: no right to know."""
    since: float = 0.0
    """Monotonic time since when it is this one, or none."""
    made_here: bool = False
    """Made by this process: whatever is in it is news."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever looks, makes or deletes."""

    @property
    def uid(self) -> UID | None:
        """UID of the compute namespace, if it is known."""
        return self.found.metadata.uid if self.found is not None else None


class Identity(NamedTuple):
    """UIDs of a compute namespace and of the cluster that it is in; None: not known."""

    namespace: UID | None
    cluster: UID | None


async def cluster_uid(client: KubeClient) -> UID | None:
    """Ask for the UID of a cluster: its kube-system namespace's. None: we may not know.

    Raises KubeError.
    """
    try:
        found = await client.get(NAMESPACES, PartialObject, name="kube-system")
    except (Forbidden, NotFound):
        return None
    return found.metadata.uid


class ComputeNamespaces:
    """Finds the compute namespaces of tenant namespaces and starts the watches in them."""

    def __init__(
        self,
        client: KubeClient,
        *,
        owner: Owner,
        mapping: NamespaceMapping,
        watches: Iterable[Watches],
        clock: Clock,
        backoff: Callable[[], Backoff],
        vacant: Callable[[str], bool],
        opened: Callable[[str], None] = lambda _: None,
        maker: NamespaceMaker | None = None,
        leftovers: Leftovers | None = None,
    ) -> None:
        """Wire it up.

        Args:
            client: of the compute cluster.
            owner: who we are.
            mapping: where tenant namespaces lie.
            watches: get the compute namespaces that are ready.
            clock: of the agent.
            backoff: between looks at one namespace that is not ready.
            vacant: whether nothing of ours is left below for a tenant namespace.
            opened: called with a tenant namespace whose compute namespace became ready. What is in
                it may have been listed, and passed over, before that.
            maker: makes missing ones; without it they have to be prepared by somebody else.
            leftovers: judges those that are not needed any more; None: they are left alone.
        """
        self._client = client
        self._owner = owner
        self._mapping = mapping
        self._watches = tuple(watches)
        self._clock = clock
        self._backoff = backoff
        self._vacant = vacant
        self._opened = opened
        self._maker = maker
        self._leftovers = leftovers
        self._places: dict[str, _Place] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def state(self, namespace: str) -> NamespaceState:
        """State of the compute namespace of a tenant namespace."""
        place = self._places.get(namespace)
        return place.state if place is not None else NamespaceState.NOT_FORWARDED

    @property
    def judged(self) -> bool:
        """Whether every namespace was looked at and at least one is ready or can be made."""
        states = {place.state for place in self._places.values()}
        usable = self._maker is not None or NamespaceState.READY in states
        return usable and NamespaceState.UNKNOWN not in states

    def identity(self, namespace: str) -> Identity:
        """Which compute namespace this is, whatever its name, as of the last look."""
        place = self._places.get(namespace)
        if place is None or place.uid is None:
            return Identity(None, None)
        return Identity(place.uid, place.cluster)

    def known_for(self, namespace: str) -> float:
        """Seconds for which the compute namespace has been this one, or not there at all."""
        place = self._places.get(namespace)
        if place is None or place.state not in (NamespaceState.READY, NamespaceState.ABSENT):
            return 0.0
        return 0.0 if place.doubtful else self._clock.monotonic() - place.since

    def made_here(self, namespace: str) -> bool:
        """Whether this process made the compute namespace, so that nothing in it is old news."""
        place = self._places.get(namespace)
        return place is not None and place.made_here

    async def is_same(self, namespace: str) -> bool:
        """Ask whether this still is the compute namespace that was looked at. Raises KubeError."""
        place = self._places.get(namespace)
        below = self._mapping.below(namespace)
        try:
            found = await self._client.get(NAMESPACES, PartialObject, name=str(below))
        except NotFound:
            if place is not None and place.state is NamespaceState.ABSENT:
                return True
            raise
        return place is not None and found.metadata.uid == place.uid

    def ready(self) -> Iterable[str]:
        """Compute namespaces that are watched."""
        return [below for n in self.open() if (below := self._mapping.below(n)) is not None]

    def open(self) -> Iterable[str]:
        """Tenant namespaces whose compute namespace is ready."""
        return [n for n, place in self._places.items() if place.state is NamespaceState.READY]

    def add(self, namespace: str) -> None:
        """Look for the compute namespace of a tenant namespace, now and until it is released."""
        place = self._enrol(namespace, wanted=True)
        if not place.wanted:
            place.wanted = True
            place.wake.set()
        if self._leftovers is not None:
            self._leftovers.needed(namespace)

    def release(self, namespace: str) -> None:
        """The tenant namespace is gone: what is left below is seen through, and no more."""
        if (place := self._places.get(namespace)) is not None:
            place.wanted = False
            place.wake.set()

    def revisit(self, namespace: str) -> None:
        """Something of ours was found below for a tenant namespace that nobody has named."""
        self._enrol(namespace, wanted=False)

    def _enrol(self, namespace: str, *, wanted: bool) -> _Place:
        if (place := self._places.get(namespace)) is None:
            place = self._places[namespace] = _Place(wanted=wanted)
            self._start(namespace)
        return place

    def look_again(self, namespace: str) -> None:
        """Look at a compute namespace soon: somebody could not work in it."""
        if (place := self._places.get(namespace)) is not None:
            place.wake.set()

    async def require(self, namespace: str) -> None:
        """Make the compute namespace if it is missing and may be made. Raises KubeError."""
        place = self._places.get(namespace)
        if place is None or self._maker is None or not _may_be_missing(place):
            return
        async with place.turn:
            if self._places.get(namespace) is not place:
                return  # It was given up while we waited.
            if place.state is not NamespaceState.ABSENT:
                await self._look(namespace, place)
            below = self._mapping.below(namespace)
            if place.state is not NamespaceState.ABSENT or below is None:
                return
            found, made = await self._maker.make(namespace, below)
            self._found(namespace, place, found, await self._cluster_of(place, found))
            place.made_here = made

    async def run(self) -> None:
        """Own the look-ups until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                if self._leftovers is not None:
                    tasks.create_task(self._leftovers.run(self.revisit), name="left namespaces")
                for namespace in self._places:
                    self._start(namespace)
                await asyncio.Event().wait()
        finally:
            self._tasks = None

    def _start(self, namespace: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._find(namespace), name=f"namespace {namespace}")

    async def _find(self, namespace: str) -> None:
        backoff, place = self._backoff(), self._places[namespace]
        while True:
            async with place.turn:
                await self._look(namespace, place)
                if not place.wanted and await self._give_up(namespace, place):
                    return
            if place.doubtful:
                pause = max(backoff.next(), _DOUBT_SECONDS)
            elif place.state in _SETTLED and place.wanted and not place.ending:
                backoff.reset()
                pause = _RELOOK_SECONDS
            else:
                pause = backoff.next()
            await self._pause(place, pause)

    async def _give_up(self, namespace: str, place: _Place) -> bool:
        """Let go of a place that nobody wants, once it holds nothing of ours."""
        if place.state is NamespaceState.UNKNOWN or place.doubtful:
            return False  # What is not seen now is not judged.
        if place.state is NamespaceState.READY:
            if not self._vacant(namespace):
                return False
            await self._settle(namespace, place)
            if place.wanted:  # It came back in the meantime.
                place.wake.set()
                return False
        del self._places[namespace]
        if place.state is NamespaceState.READY:
            self._unwatch(namespace)
        return True

    async def _settle(self, namespace: str, place: _Place) -> None:
        if self._leftovers is None or place.found is None or place.ending:
            return
        place.settling = True
        try:
            place.ending = await self._leftovers.settle(namespace, place.found)
        finally:
            place.settling = False

    async def _pause(self, place: _Place, seconds: float) -> None:
        await self._clock.sleep(min(seconds, _BETWEEN_LOOKS))
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds - _BETWEEN_LOOKS)):
                await place.wake.wait()
        place.wake.clear()

    async def _look(self, namespace: str, place: _Place) -> None:
        """One look; what it says is believed, or makes a namespace that was ready doubtful."""
        below = self._mapping.below(namespace)
        if below is None:
            return self._enter(namespace, place, NamespaceState.UNMAPPED)
        try:
            found = await self._client.get(NAMESPACES, PartialObject, name=below)
            cluster = await self._cluster_of(place, found)
        except NotFound:
            may_be_made = self._maker is not None
            state = NamespaceState.ABSENT if may_be_made else NamespaceState.MISSING
        except Forbidden:
            state = NamespaceState.FORBIDDEN
        except KubeError as error:
            _LOG.warning("compute namespace not read", cluster=self._client.name, why=str(error))
            state = NamespaceState.UNKNOWN
        else:
            return self._found(namespace, place, found, cluster)
        if not _stays(place, state, now=self._clock.monotonic()):
            self._enter(namespace, place, state)
        return None

    async def _cluster_of(self, place: _Place, found: PartialObject) -> UID | None:
        """The cluster in which a namespace was just found. Raises KubeError."""
        if found.metadata.uid == place.uid:
            return place.cluster
        return await cluster_uid(self._client)

    def _found(
        self, namespace: str, place: _Place, found: PartialObject, cluster: UID | None
    ) -> None:
        place.ending = found.metadata.deletion_timestamp is not None
        if found.metadata.uid != place.uid:
            place.made_here, place.since = False, self._clock.monotonic()
        place.found, place.cluster = found, cluster
        self._enter(namespace, place, self._judge(namespace, found))

    def _enter(self, namespace: str, place: _Place, state: NamespaceState) -> None:
        """Begin or stop to watch."""
        before, place.state = place.state, state
        missed, place.missed, place.doubtful = place.missed, None, False
        if state is not NamespaceState.READY:
            place.ending = place.made_here = False
        if state is NamespaceState.ABSENT:
            place.found = place.cluster = None
            if state is not before:
                place.since = missed[1] if missed is not None else self._clock.monotonic()
        if state is before:
            return
        _LOG.info(
            "compute namespace", cluster=self._client.name, namespace=namespace, state=state.name
        )
        if state is NamespaceState.READY:
            for watch in self._watches:
                watch.add(str(self._mapping.below(namespace)))
            self._opened(namespace)
        elif before is NamespaceState.READY:
            self._unwatch(namespace)

    def _unwatch(self, namespace: str) -> None:
        for watch in self._watches:
            watch.remove(str(self._mapping.below(namespace)))

    def _judge(self, namespace: str, found: PartialObject) -> NamespaceState:
        """Ours by label; if it names a tenant cluster or namespace, then by that too.

        The names of two long tenant namespaces may be cut to the same one.
        """
        marks = found.metadata.annotations
        ours = (
            found.metadata.labels.get(LABEL_TENANT) == self._owner.tenant
            and marks.get(ANNOTATION_CLUSTER_UID, self._owner.cluster_uid)
            == self._owner.cluster_uid
            and marks.get(ANNOTATION_NAMESPACE, namespace) == namespace
        )
        return NamespaceState.READY if ours else NamespaceState.FOREIGN


def _stays(place: _Place, state: NamespaceState, *, now: float) -> bool:
    """Whether a namespace that was ready stays so although the newest look did not find it."""
    if place.state is not NamespaceState.READY:
        return False
    place.doubtful = True
    if state is NamespaceState.UNKNOWN:  # It could not be read.
        place.missed = None
        return True
    if place.missed is None or place.missed[0] is not state:
        place.missed = state, now
    gone = place.ending and state is not NamespaceState.FORBIDDEN
    return now - place.missed[1] < _DOUBTS_SECONDS and not gone


def _may_be_missing(place: _Place) -> bool:
    leaving = place.ending or place.settling or not place.wanted
    return leaving or place.state is NamespaceState.ABSENT
