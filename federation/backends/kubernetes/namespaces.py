"""Which compute namespaces are ready for this tenant, and the watches in them.

In: tenant namespaces that may be forwarded. Out: one set of reflectors per compute namespace that
exists and carries our owner label. A namespace of somebody else is refused; one that is missing is
looked for again and again, and one that is ready is looked at now and then (DESIGN 4.1, 4.2).
"""

import asyncio
import enum
import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_TENANT,
    NamespaceMapping,
    Owner,
)
from vnode.kube.client import KubeClient
from vnode.kube.errors import Forbidden, KubeError, NotFound
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import UID, PartialObject
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock

_LOG = structlog.get_logger(__name__)
_RELOOK_SECONDS = 300.0
"""A namespace that is ready is looked at again: its owner label may have changed."""


class NamespaceState(enum.Enum):
    """What is known of one compute namespace; the value is the text for the tenant's users."""

    NOT_FORWARDED = "is not forwarded to compute clusters"
    UNKNOWN = "was not looked at yet"
    READY = "is ready"
    UNMAPPED = "is not in the table of namespaces that may be forwarded"
    MISSING = "is not prepared there"
    FORBIDDEN = "is not prepared there, or the virtual node has no right in it"
    FOREIGN = "is prepared there for somebody else"


_DOUBTFUL = frozenset({NamespaceState.MISSING, NamespaceState.FORBIDDEN})
_DOUBTS, _DOUBT_SECONDS = 4, 45.0
"""An API server that just started may say 403 or 404 of what is there: so many looks, that far
apart, have to agree before a namespace that was ready is given up."""


class Watches(Protocol):
    """A set of namespaces that reflectors watch."""

    def add(self, namespace: str) -> None:
        """Start to watch a namespace."""
        ...

    def remove(self, namespace: str) -> None:
        """Stop watching a namespace and forget what is in it."""
        ...

    async def run(self) -> None:
        """Watch until cancelled."""
        ...


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
    ) -> None:
        """Wire it up; `watches` get the compute namespaces that are ready."""
        self._client = client
        self._owner = owner
        self._mapping = mapping
        self._watches = tuple(watches)
        self._clock = clock
        self._backoff = backoff
        self._states: dict[str, NamespaceState] = {}
        self._uids: dict[str, UID] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def state(self, namespace: str) -> NamespaceState:
        """State of the compute namespace of a tenant namespace."""
        return self._states.get(namespace, NamespaceState.NOT_FORWARDED)

    @property
    def judged(self) -> bool:
        """Whether every namespace was looked at and at least one is ready."""
        states = self._states.values()
        return NamespaceState.READY in states and NamespaceState.UNKNOWN not in states

    def fingerprint(self, namespace: str) -> str:
        """Which compute namespace this is, whatever its name: made of its UID. Empty: unknown."""
        uid = self._uids.get(namespace)
        return hashlib.blake2b(uid.encode(), digest_size=4).hexdigest() if uid else ""

    async def is_same(self, namespace: str) -> bool:
        """Ask whether this still is the compute namespace that was looked at. Raises KubeError."""
        below = self._mapping.below(namespace)
        found = await self._client.get(NAMESPACES, PartialObject, name=str(below))
        return found.metadata.uid == self._uids.get(namespace)

    def ready(self) -> Iterable[str]:
        """Compute namespaces that are watched."""
        ready = (n for n, state in self._states.items() if state is NamespaceState.READY)
        return [below for n in ready if (below := self._mapping.below(n)) is not None]

    def add(self, namespace: str) -> None:
        """Look for the compute namespace of a tenant namespace, now and until it is ready."""
        if namespace not in self._states:
            self._states[namespace] = NamespaceState.UNKNOWN
            self._start(namespace)

    async def run(self) -> None:
        """Own the look-ups until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for namespace in self._states:
                self._start(namespace)
            await asyncio.Event().wait()

    def _start(self, namespace: str) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._find(namespace), name=f"namespace {namespace}")

    async def _find(self, namespace: str) -> None:
        backoff = self._backoff()
        doubts = 0
        while True:
            state = await self._look(namespace)
            was_ready = self.state(namespace) is NamespaceState.READY
            doubts = doubts + 1 if was_ready and state in _DOUBTFUL else 0
            keep = was_ready and (state is NamespaceState.UNKNOWN or 0 < doubts < _DOUBTS)
            if not keep:
                self._enter(namespace, state)
            if state is NamespaceState.UNMAPPED:
                return
            if state is NamespaceState.READY:
                backoff.reset()
                await self._clock.sleep(_RELOOK_SECONDS)
            else:
                await self._clock.sleep(max(backoff.next(), _DOUBT_SECONDS if was_ready else 0.0))

    def _enter(self, namespace: str, state: NamespaceState) -> None:
        """Begin or stop to watch; a namespace that cannot be read now stays as it was."""
        before, self._states[namespace] = self.state(namespace), state
        if state is before:
            return
        _LOG.info(
            "compute namespace", cluster=self._client.name, namespace=namespace, state=state.name
        )
        below = str(self._mapping.below(namespace))
        for watch in self._watches:
            if state is NamespaceState.READY:
                watch.add(below)
            elif before is NamespaceState.READY:
                watch.remove(below)

    async def _look(self, namespace: str) -> NamespaceState:
        below = self._mapping.below(namespace)
        if below is None:
            return NamespaceState.UNMAPPED
        try:
            found = await self._client.get(NAMESPACES, PartialObject, name=below)
        except NotFound:
            return NamespaceState.MISSING
        except Forbidden:
            return NamespaceState.FORBIDDEN
        except KubeError as error:
            _LOG.warning("compute namespace not read", cluster=self._client.name, why=str(error))
            return NamespaceState.UNKNOWN
        self._uids[namespace] = found.metadata.uid
        return self._judge(found)

    def _judge(self, found: PartialObject) -> NamespaceState:
        """Ours by label; if it names a tenant cluster, then by that too."""
        uid = found.metadata.annotations.get(ANNOTATION_CLUSTER_UID, self._owner.cluster_uid)
        if found.metadata.labels.get(LABEL_TENANT) != self._owner.tenant:
            return NamespaceState.FOREIGN
        return NamespaceState.READY if uid == self._owner.cluster_uid else NamespaceState.FOREIGN
