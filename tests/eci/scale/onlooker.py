"""What users could ever see: every version of every pod and event of a namespace.

In: the tenant's etcd, which stores JSON (`tests.chaos.history`): no version is missed, whoever is
slow. Out: a `Seen` that grows while the block lasts. Times are Unix seconds at which etcd's word
reached us. Owns a thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from tests.chaos.history import History
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from tests.chaos.history import Version
    from tests.clusters import Cluster

_THROTTLED = re.compile(
    r"throttl|flow control|ComputeBusy|[^\"]*calls are under way", re.IGNORECASE
)
"""What nobody may read on a pod."""
_AROUND = 60
"""Characters that are quoted."""


@dataclass
class SeenPod:
    """One pod."""

    name: str
    phases: dict[str, float] = field(default_factory=dict)
    """When it was in a phase first."""
    gone: float | None = None


class Seen:
    """What was seen so far."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self.pods: dict[str, SeenPod] = {}
        """By UID."""
        self.throttled: dict[str, str] = {}
        """Pods on which a throttling error can be read, by name, with the words."""
        self.warnings: Counter[str] = Counter()
        """Reasons of warnings about pods: how many events."""
        self.waiting: Counter[str] = Counter()
        """Reasons in `status.reason`: how many versions of pods."""

    def hear(self, version: Version) -> None:
        """One more version."""
        if version.namespace != self._namespace:
            return
        if version.kind == "pods":
            self._pod(version)
        elif version.kind == "events" and not version.gone:
            self._event(version.object)

    def phase(self, phase: str, uids: set[str]) -> int:
        """How many of these pods were ever in a phase."""
        return sum(phase in pod.phases for uid, pod in list(self.pods.items()) if uid in uids)

    def gone(self, uids: set[str]) -> int:
        """How many of these pods are not there any more."""
        return sum(pod.gone is not None for uid, pod in list(self.pods.items()) if uid in uids)

    def _pod(self, version: Version) -> None:
        pod = self.pods.setdefault(version.uid, SeenPod(version.name))
        if version.gone:
            pod.gone = version.at
            return
        status = version.object.get("status", {})
        pod.phases.setdefault(status.get("phase", ""), version.at)
        if reason := status.get("reason"):
            self.waiting[reason] += 1
        self._read(version.name, status)

    def _event(self, event: Mapping[str, Any]) -> None:
        about = event.get("involvedObject", {})
        if about.get("kind") != "Pod":
            return
        if event.get("type") == "Warning":
            self.warnings[event.get("reason", "")] += 1
        self._read(about.get("name", ""), {k: event.get(k) for k in ("reason", "message")})

    def _read(self, name: str, said: Mapping[str, Any]) -> None:
        text = orjson.dumps(said).decode()
        if found := _THROTTLED.search(text):
            begin = max(0, found.start() - _AROUND)
            self.throttled.setdefault(name, text[begin : found.end() + _AROUND])


class Onlooker:
    """Follows one cluster's etcd; `with Onlooker(tenant, "team-a") as onlooker: onlooker.seen`."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        assert cluster.control_plane is not None
        self.seen = Seen(namespace)
        self._history = History(cluster.name, cluster.control_plane.etcd_url, self.seen.hear)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Onlooker:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._loop is not None
        assert self._task is not None
        with contextlib.suppress(RuntimeError):  # Its loop has ended by an error.
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def check(self) -> None:
        """Raises MeasurementError if it sees no more."""
        if self._error is not None:
            raise MeasurementError(f"the watch of etcd ended: {self._error!r}")

    def _run(self) -> None:
        async def follow() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
            self._ready.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._history.run()

        try:
            asyncio.run(follow())
        except Exception as error:  # Whatever it is: without eyes there is no verdict.
            self._error = error
