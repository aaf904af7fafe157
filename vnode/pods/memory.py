"""What is remembered about pods between two reconciles; lost on restart without harm.

In: the tenant pod as the store has it. Out: one `PodMemory` per pod, of its newest UID. Owned by
the pod controller; the steps that it takes read and write it.
"""

import math
from dataclasses import dataclass

from vnode.backend import HeldBack, ObservedPod
from vnode.kube.types import ObjectKey, Pod
from vnode.pods.view import PodView, view
from vnode.runtime.clock import Clock


@dataclass(slots=True)
class PodMemory:
    """What is remembered about one pod."""

    uid: str
    seen: PodView
    resource_version: str
    since: float
    """Monotonic time of the first look at it."""
    brought_at: float
    """Monotonic time at which a watch or a listing had brought it: it existed then."""
    attempts: int = 0
    not_before: float = 0.0
    """Monotonic time of the next try while something has to wait."""
    waited_as: str = ""
    """Digest of the pod that has to wait: a changed one is tried at once."""
    rejected: str | None = None
    """Digest of the pod that was rejected: judged again when it changes."""
    held_back: tuple[HeldBack, ...] = ()
    """What its copy lacks of the pod since the last update."""
    held_for_good: tuple[str, int] | None = None
    """Digest and generation of the pod of which all that is held back was refused for good."""
    quiet_since: float | None = None
    unseen_since: float | None = None
    unanswered: bool = False
    """A create was asked for and not answered well: there may be a copy that nobody saw yet."""
    made: bool = False
    """A create was answered well, or a copy was seen."""
    ours_alone: bool = False
    """No agent before us has asked for a copy of it: it came after we began to watch, its status
    said so, or all below was seen since, and there was none."""
    tolerates_at: float = 0.0
    """Monotonic time from which its tolerations are looked at; infinite: not any more."""
    told_of: str = ""
    """What was said to be wrong with its annotation."""
    removed: bool = False
    """Deleted for good in the tenant; only the watch has not said so yet."""

    @property
    def nothing_sent(self) -> bool:
        """Whether there certainly is no copy, although nothing can be seen."""
        return not (self.unanswered or self.made) and (self.ours_alone or self.seen.unsent)


class AskedDeletions:
    """Deletions of copies that were just asked for, of which no watch has told yet."""

    SECONDS = 5.0
    """A watch that has not told by then is no reason to wait any longer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked: dict[str, tuple[float, float]] = {}
        """By handle, oldest first: when it was asked for, and when its grace period ends."""

    def note(self, handle: str, grace_seconds: int | None) -> None:
        """Remember one that was asked for; None: the pod's own grace period."""
        now = self._clock.monotonic()
        self._asked.pop(handle, None)
        self._asked[handle] = now, self._ends(now, grace_seconds)
        while now - self._asked[oldest := next(iter(self._asked))][0] >= self.SECONDS:
            del self._asked[oldest]

    def repeated_in(self, handle: str, grace_seconds: int | None) -> float | None:
        """Seconds until it may be asked for again; None: now, since it is news or sooner."""
        now = self._clock.monotonic()
        asked, ends = self._asked.get(handle, (-math.inf, -math.inf))
        # Seconds are whole ones: what is left of the same grace period may seem shorter by one.
        news = self._ends(now, grace_seconds) < ends - 1
        left = asked + self.SECONDS - now
        return None if news or left <= 0 else left

    @staticmethod
    def _ends(now: float, grace_seconds: int | None) -> float:
        return math.inf if grace_seconds is None else now + grace_seconds


class Departures:
    """How copies that are deleted leave: one that stays may only wait for its turn."""

    PATIENCE_SECONDS = 300.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_went = -math.inf
        self._last_ended = -math.inf
        """Of those that went, the latest end of a grace period."""

    def went(self, ends: float) -> None:
        """One is gone whose grace period ends at `ends` (Unix seconds)."""
        now = self._clock.time()
        self._last_went = now
        self._last_ended = max(self._last_ended, min(ends, now))

    def stuck_in(self, ends: float) -> float:
        """Seconds until one is stuck whose grace period ends at `ends` (Unix seconds).

        A cluster that removes ten thousand pods takes minutes: as long as others go, it waits for
        its turn, but not behind those whose time came much later.
        """
        overtaken = self._last_ended >= ends + self.PATIENCE_SECONDS
        since = ends if overtaken else max(ends, self._last_went)
        return since + self.PATIENCE_SECONDS - self._clock.time()


@dataclass(frozen=True, slots=True)
class _Arrival:
    uid: str
    at: float
    live: bool


class Memories:
    """The memory of every pod that was looked at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._pods: dict[ObjectKey, PodMemory] = {}
        self._arrived: dict[ObjectKey, _Arrival] = {}
        """Pods that nobody has looked at yet."""
        self._tries_without_pod: dict[ObjectKey, int] = {}

    def __getitem__(self, key: ObjectKey) -> PodMemory:
        """The memory of a pod that `look` has seen."""
        return self._pods[key]

    def get(self, key: ObjectKey) -> PodMemory | None:
        """The memory of a pod, if there is one."""
        return self._pods.get(key)

    def arrived(self, pod: Pod, *, live: bool) -> None:
        """A watch or a listing has brought a pod; `live`: a watch, so it was bound just now."""
        arrival = _Arrival(pod.metadata.uid, self._clock.monotonic(), live)
        self._arrived[pod.metadata.key] = arrival

    def look(self, key: ObjectKey, pod: Pod | None) -> PodView | None:
        """See a pod as it is now; a namesake starts anew, and one that is gone is forgotten."""
        arrived = self._arrived.pop(key, None)
        if pod is None:
            self._pods.pop(key, None)
            return None
        memory = self._pods.get(key)
        if memory is None or memory.uid != pod.metadata.uid:
            version, now = pod.metadata.resource_version, self._clock.monotonic()
            known = arrived if arrived is not None and arrived.uid == pod.metadata.uid else None
            brought_at = known.at if known is not None else now
            memory = PodMemory(pod.metadata.uid, view(pod), version, now, brought_at)
            memory.ours_alone = known is not None and known.live
            self._pods[key] = memory
        elif memory.resource_version != pod.metadata.resource_version:
            memory.seen, memory.resource_version = view(pod), pod.metadata.resource_version
        return memory.seen

    def saw(self, seen: PodView, copy: ObservedPod | None, *, settled: bool) -> None:
        """All below was seen, and of the pod's name that; `settled`: see `PodBackend.settled`."""
        memory = self._pods[seen.key]
        if copy is None and not seen.forwarded:
            memory.ours_alone |= settled
        elif copy is not None and copy.uid == seen.uid:
            memory.made = True

    def known_for(self, seen: PodView) -> float:
        """Seconds since the first look at a pod."""
        return self._clock.monotonic() - self._pods[seen.key].since

    def waiting(self, namespace: str) -> list[PodMemory]:
        """The pods of a namespace that have to wait for their next try."""
        now = self._clock.monotonic()
        return [
            memory
            for key, memory in self._pods.items()
            if key.namespace == namespace and memory.not_before > now
        ]

    def failed(self, key: ObjectKey) -> int:
        """Something has to wait: how often in a row it had to before."""
        memory = self._pods.get(key)
        if memory is not None:
            memory.attempts += 1
            return memory.attempts - 1
        before = self._tries_without_pod.get(key, 0)
        self._tries_without_pod[key] = before + 1
        return before

    def no_orphan(self, key: ObjectKey) -> None:
        """There is no copy without tenant pod of that name (any more)."""
        self._tries_without_pod.pop(key, None)

    def too_soon(self, seen: PodView) -> float | None:
        """Seconds until what has to wait is tried again; None: now."""
        memory = self._pods[seen.key]
        early = memory.not_before - self._clock.monotonic()
        return early if early > 0 and memory.waited_as == seen.digest else None
