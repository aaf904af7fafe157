"""Keeps a store equal to a part of a cluster, for ever.

Flow: LIST (paged) -> store, then WATCH -> store, each watch beginning where the last one ended.

    run             for ever: list if nothing is known, watch, judge how it ended, wait
    _list           one listing; begun again if the server forgot it in the middle
    _watch          one watch; ends when the server, the network or the idle time-out ends it
    _look_back      after silence, and after whatever went wrong: does the server still know our
                    version?
    suspect         somebody was told that an object is not there which the store shows

A listing never empties the store: it is compared with what is there, and what is missing becomes a
deletion. 410 Gone means a new listing; everything else continues from the last resourceVersion. A
listing that is older than what was seen before comes from a restored server, and is believed. One
that passed our version before it answers is found by a listing some time after each outage
(`vnode.runtime.doubt`). A peer that ends watches at once meets a growing waiting time, which starts
afresh only after a watch that lasted; one that could not be reached is asked again soon after it
has answered somebody else. An API server that begins refuses at first, and then has forgotten our
version: waiting times for answers are apart from those without any, and what was forgotten is
listed at once. Owned by whoever runs `run`; it ends by cancellation alone.
"""

import asyncio
import random
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Generic, Never, TypeVar

import structlog

from vnode.kube.client import KubeClient
from vnode.kube.errors import (
    ApiError,
    Forbidden,
    Gone,
    KubeError,
    ServerError,
    Silent,
    Unauthorized,
    Unreachable,
)
from vnode.kube.listing import Selection, list_pages
from vnode.kube.resources import Resource
from vnode.kube.types import UID, HasMetadata, ObjectKey
from vnode.kube.watch import Event, EventType, watch
from vnode.runtime.backoff import Backoff
from vnode.runtime.clock import Clock
from vnode.runtime.doubt import Doubt, Suspicion, crowding
from vnode.runtime.store import Store

__all__ = ["Reflector", "ReflectorStatistics", "Timing"]

T = TypeVar("T", bound=HasMetadata)

_log = structlog.get_logger(__name__)

_FAILURES_UNTIL_LIST = 3
"""So many refused watches in a row make us doubt the resourceVersion, and list."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Times in seconds; tests take shorter ones."""

    watch_min: float = 290.0
    watch_max: float = 580.0
    """The server is asked to end each watch after a random time between these."""
    silence: float = 120.0
    """A watch on which nothing came for so long is opened again where it stood. API servers send a
    bookmark about every minute, but only where the version moved on (measured on 1.36), and none
    for Events: silence may be a dead peer or an idle resource. Asking costs a LIST of one."""
    page_timeout: float = 60.0
    first_backoff: float = 0.2
    last_backoff: float = 30.0
    stable: float = 20.0
    """A watch that lasted so long makes the next waiting time the first again."""
    wake_within: float = 3.0
    """Whoever hears that others get answers asks within this: hundreds may hear it at once. It is
    longer where there are more (`vnode.runtime.doubt.crowding`)."""
    wake_gap: float = 5.0
    """But not more often, where a link comes and goes, or others get answers and we do not."""
    suspicion: Suspicion = field(default_factory=Suspicion)


@dataclass(frozen=True, slots=True)
class ReflectorStatistics:
    """Counters since the start."""

    lists: int
    watches: int
    events: int
    gone: int
    """Listings that were needed because the server had forgotten our resourceVersion."""
    failures: int


class Reflector(Generic[T]):
    """Mirrors one collection into one scope of a store."""

    # Invariant: every change up to _resource_version is in the store; it moves on only after an
    # event was applied, so that whatever cuts the watch, nothing is missed. It stays while a new
    # listing is due: one that is older than all we saw comes from a restored server.

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        kind: type[T],
        store: Store[T],
        *,
        clock: Clock,
        rng: random.Random,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
        gather: float = 0.0,
        page_size: int = 500,
        scope: str | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._store = store
        self._clock = clock
        self._rng = rng
        self._selection = Selection(
            resource=resource,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
        )
        self._gather = gather
        self._page_size = page_size
        self._timing = timing or Timing()
        self.scope = scope if scope is not None else namespace or ""
        """The part of the store that this reflector replaces."""
        self.last_error: KubeError | None = None
        """What is wrong now; None while listing and watching work."""
        self._resource_version = ""
        self._must_list = True
        self._doubt = Doubt(self._timing.suspicion, rng=rng)
        self._missing: dict[ObjectKey, UID] = {}
        self._watching: asyncio.Timeout | None = None
        self._woken_at = float("-inf")
        self._synced = asyncio.Event()
        self._lists = self._watches = self._events = self._gone = self._failures = 0
        self._log = _log.bind(
            cluster=client.name, resource=resource.plural, namespace=namespace or "*"
        )

    async def wait_synced(self) -> None:
        """Return once the first listing is in the store, or `run` was cancelled."""
        await self._synced.wait()

    def statistics(self) -> ReflectorStatistics:
        """Counters as of now."""
        return ReflectorStatistics(
            lists=self._lists,
            watches=self._watches,
            events=self._events,
            gone=self._gone,
            failures=self._failures,
        )

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        """The server says that it has no such object: list, unless the watch says so soon."""
        self._missing[key] = uid
        self._doubt.missing(self._clock.monotonic())
        self._limit_watch()

    async def run(self) -> Never:
        """List and watch until cancelled."""
        try:
            with self._client.mirroring():
                await self._run()
        finally:
            self._synced.set()  # nobody should wait for what does not come any more

    async def _run(self) -> Never:
        timing = self._timing
        no_answer = Backoff(timing.first_backoff, timing.last_backoff, rng=self._rng)
        answered = Backoff(timing.first_backoff, timing.last_backoff, rng=self._rng)
        refused = 0
        while True:
            started = self._clock.monotonic()
            failure: KubeError | None = None
            resumes = forgotten = False
            try:
                self._judge_doubt()
                if not self._must_list and self.last_error is not None:
                    await self._look_back()
                if self._must_list:
                    await self._list()
                else:
                    resumes = True
                started = self._clock.monotonic()
                await self._watch()
            except Gone:
                self._gone += 1
                # One that has forgotten what it just listed is not asked without a pause.
                forgotten = resumes
                self._must_list = True
                self._log.info("resource version is too old, listing again")
            except KubeError as error:
                failure = error
                if isinstance(error, Unreachable | ServerError):
                    self._doubt.lost(self._clock.monotonic())
            lasted = self._clock.monotonic() - started >= timing.stable
            lost = isinstance(failure, Unreachable)
            if lasted:
                no_answer.reset()
            if lasted or lost:
                answered.reset()
            refused = refused + 1 if isinstance(failure, ApiError) and not lasted else 0
            if refused >= _FAILURES_UNTIL_LIST:
                self._must_list = True
                refused = 0
            at_once = failure is None and (lasted or forgotten)
            delay = 0.0 if at_once else (no_answer if lost else answered).next()
            if failure is not None:
                delay = max(delay, self._failed(failure, delay))
            if lost:
                await self._sleep_lightly(delay)
            else:
                await self._clock.sleep(delay)

    async def _sleep_lightly(self, seconds: float) -> None:
        """Sleep, but not for long after the server has answered somebody else."""
        timing = self._timing
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                since = self._clock.monotonic() - self._woken_at
                await self._clock.sleep(max(0.0, timing.wake_gap - since))
                await self._client.hear()
                self._woken_at = self._clock.monotonic()
                within = timing.wake_within * crowding(self._client.mirrors)
                await self._clock.sleep(self._rng.uniform(0.0, within))

    async def _list(self) -> None:
        objects: list[T] = []
        version = ""
        pages = list_pages(
            self._client,
            self._selection,
            self._kind,
            page_size=self._page_size,
            timeout=self._timing.page_timeout,
        )
        async with aclosing(pages):
            async for page in pages:
                version = page.metadata.resource_version
                # Into the store page by page, so that no page keeps the loop for long.
                for item in page.items or ():
                    self._store.upsert(item, scope=self.scope, initial=True)
                    objects.append(item)
                await asyncio.sleep(0)
        self._store.replace(
            objects,
            scope=self.scope,
            resource_version=version,
            went_back=_went_back(version, self._resource_version),
        )
        self._resource_version, self._must_list = version, not version
        self._lists += 1
        self._missing.clear()
        self._doubt.listed(self._clock.monotonic())
        if not self._synced.is_set():
            self._log.debug("listed", objects=len(objects))
        self._store.mark_synced(self.scope)
        self._synced.set()
        self._recovered()

    async def _watch(self) -> None:
        try:
            async with asyncio.timeout(None) as limit:
                self._watching = limit
                self._limit_watch()
                try:
                    await self._follow()
                finally:
                    self._watching = None
        except TimeoutError:
            return  # `_judge_doubt` has something to look at
        except Silent:
            self._log.debug("watch was silent, opening another")
            since = self._clock.monotonic() - self._timing.silence
            try:
                await self._look_back()
            except (Unreachable, ServerError):
                self._doubt.lost(since)
                raise

    async def _follow(self) -> None:
        timing = self._timing
        seconds = int(self._rng.uniform(timing.watch_min, timing.watch_max))
        groups = watch(
            self._client,
            self._selection,
            self._kind,
            resource_version=self._resource_version,
            timeout_seconds=max(1, seconds),
            idle_timeout=timing.silence,
            gather=self._gather,
        )
        async with aclosing(groups):
            async for events in groups:
                if not events:
                    self._watches += 1
                    self._recovered()
                    self._limit_watch()
                for event in events:
                    self._apply(event)
                    self._resource_version = event.resource_version or self._resource_version

    async def _look_back(self) -> None:
        """Notice a server that was restored from a backup: our version is in its future.

        Such a watch is accepted and stays silent until the server has caught up (seen on 1.36). A
        server that is restored is away meanwhile, so most of all it is looked for after an error.
        One that started with more than our version answers 410 Gone (watch_cache.go,
        getAllEventsSinceLocked), and the listing tells. For one that started with less and has
        passed ours before it answers us there is `vnode.runtime.doubt`.
        """
        pages = list_pages(
            self._client,
            self._selection,
            self._kind,
            page_size=1,
            timeout=self._timing.page_timeout,
        )
        async with aclosing(pages):
            now = (await anext(pages)).metadata.resource_version
        if _went_back(now, self._resource_version):
            self._log.warning("resource versions went back, listing again")
            self._must_list = True

    def _judge_doubt(self) -> None:
        """List if it is time to doubt what we know."""
        now, due = self._clock.monotonic(), self._doubt.due()
        if due is None or now < due:
            return
        if self._doubt.returned(now):
            self._log.info("the server was away, listing again")
            self._must_list = True
        elif any(self._shows(key, uid) for key, uid in self._missing.items()):
            self._log.warning("the server does not have what its watch told of, listing again")
            self._must_list = True
        else:
            self._missing.clear()
            self._doubt.explained()

    def _shows(self, key: ObjectKey, uid: UID) -> bool:
        shown = self._store.get(key)
        return shown is not None and shown.metadata.uid == uid

    def _limit_watch(self) -> None:
        """A watch ends when there is a doubt to look at."""
        due = self._doubt.due()
        if due is None or self._watching is None or self._watching.expired():
            return
        left = max(0.0, due - self._clock.monotonic())
        self._watching.reschedule(asyncio.get_running_loop().time() + left)

    def _apply(self, event: Event[T]) -> None:
        if event.object is None:
            return
        self._events += 1
        if event.type is EventType.DELETED:
            self._store.remove(event.object.metadata.key, last=event.object)
        else:
            self._store.upsert(event.object, scope=self.scope)

    def _recovered(self) -> None:
        self._doubt.found(self._clock.monotonic(), reflectors=self._client.mirrors)
        if self.last_error is not None:
            self._log.info("works again")
        self.last_error = None

    def _failed(self, error: KubeError, delay: float) -> float:
        """Note a failure; returns the seconds to wait at least."""
        self._failures += 1
        known = type(error) is type(self.last_error)
        self.last_error = error
        wait = error.retry_after if isinstance(error, ApiError) and error.retry_after else 0.0
        # The same trouble again is not news.
        log = self._log.debug if known else self._log.warning
        advice = _advice(error)
        log("cannot list or watch", error=str(error), retry_in=max(delay, wait), **advice)
        return wait


def _went_back(now: str, seen: str) -> bool:
    """Whether a listing of now is older than what was seen: its server was restored.

    Without a restore it cannot be, since it is asked for without a version (`vnode.kube.listing`).
    """
    return now.isdigit() and seen.isdigit() and int(now) < int(seen)


def _advice(error: KubeError) -> dict[str, str]:
    """What an operator can do about an error."""
    if isinstance(error, Forbidden):
        return {"advice": "give the account of this kubeconfig the right to list and watch these"}
    if isinstance(error, Unauthorized):
        return {"advice": "give this kubeconfig a valid credential: its token may have expired"}
    return {}
