"""Keeps the last lines of containers whose copy is removed below by others.

A kubelet below keeps logs only as long as its pod; the tenant's pod stays, Failed, and its user
wants to know why. So when a copy is seen to be deleted while its tenant pod is not, the logs of its
containers are followed through the grace period, by `PodBackend.logs`, and the last `CONTAINER`
bytes of each are kept in memory until the tenant pod goes. Ordinary pods cost nothing.

In: `leaving`, called by the pod controller. Out: `text`, asked by the log handler when there is no
copy to ask. What cannot be had: copies that go without grace (force, node loss), those that go
while we are away or cannot reach the compute side, and what came before the last bytes. Best
effort, and bounded in every direction: `READERS` copies at a time, `WAITING` that wait for their
turn, `TOTAL` bytes, of which the oldest go first. Nothing of it outlives the agent's leadership.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Never

import structlog

from vnode.backend import LogOptions, ObservedPod, PodBackend, StreamError
from vnode.kube.types import UID, ObjectKey, Pod
from vnode.kubelet.pods import container_names
from vnode.runtime.store import Change, Store

__all__ = ["LastWords"]

CONTAINER = 64 << 10
TOTAL = 16 << 20
READERS = 16
WAITING = 512
_LINES = 500
"""Before the deletion that are read."""
_LONGEST = 3600.0
_SPARE = 30.0
"""Seconds beyond the grace period."""
_DEFAULT_GRACE = 30.0

log = structlog.get_logger(__name__)


class LastWords:
    """Of the copies of one backend."""

    def __init__(self, backend: PodBackend, pods: Store[Pod]) -> None:
        """Keep them as long as the tenant pods are in `pods`."""
        self._backend = backend
        self._pods = pods
        self._kept: OrderedDict[ObjectKey, tuple[UID, dict[str, bytes]]] = OrderedDict()
        self._size = 0
        self._known: set[str] = set()
        """Handles of copies that wait or are read."""
        self._queue: asyncio.Queue[tuple[Pod, ObservedPod]] = asyncio.Queue(WAITING)

    def leaving(self, pod: Pod, copy: ObservedPod) -> None:
        """A copy is being deleted, and we have not asked for it. Told as often as one likes."""
        if copy.handle in self._known or self._queue.full() or self._has(pod):
            return
        self._known.add(copy.handle)
        self._queue.put_nowait((pod, copy))

    def text(self, key: ObjectKey, container: str) -> bytes | None:
        """The last lines of a container, each behind its time; None: nothing was kept."""
        _, texts = self._kept.get(key, ("", {}))
        return texts.get(container)

    async def run(self) -> Never:
        """Read until cancelled."""
        end = self._pods.subscribe(self._changed)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(READERS):
                    tasks.create_task(self._read_copies())
        finally:
            end()
        raise AssertionError("readers do not end")

    async def _read_copies(self) -> Never:
        while True:
            pod, copy = await self._queue.get()
            try:
                await self._read(pod, copy)
            finally:
                self._known.discard(copy.handle)

    async def _read(self, pod: Pod, copy: ObservedPod) -> None:
        now = self._backend.observed(copy.key)
        if now is None or now.gone or now.handle != copy.handle:
            return  # It went while it waited for its turn: its name may be another's by now.
        grace = _DEFAULT_GRACE if copy.grace_seconds is None else copy.grace_seconds
        texts = {name: bytearray() for name in container_names(pod)}
        async with asyncio.TaskGroup() as tasks:
            for name, text in texts.items():
                tasks.create_task(self._follow(copy, name, text, min(_LONGEST, grace + _SPARE)))
        self._keep(pod, {name: bytes(text) for name, text in texts.items() if text})

    async def _follow(
        self, copy: ObservedPod, container: str, text: bytearray, seconds: float
    ) -> None:
        options = LogOptions(container=container, follow=True, timestamps=True, tail_lines=_LINES)
        try:
            async with asyncio.timeout(seconds):
                async for chunk in self._backend.logs(copy, options):
                    text += chunk
                    if len(text) > 2 * CONTAINER:
                        _cut(text)
        except (StreamError, TimeoutError):
            pass  # It never ran, or could not be followed to its end: what we have must do.
        except Exception as error:
            log.warning("last words not read", pod=str(copy.key), error=str(error))
        _cut(text)

    def _keep(self, pod: Pod, texts: dict[str, bytes]) -> None:
        key = pod.metadata.key
        now = self._pods.get(key)
        if not texts or now is None or now.metadata.uid != pod.metadata.uid:
            return
        self._drop(key)
        self._kept[key] = pod.metadata.uid, texts
        self._size += _size(texts.values())
        while self._size > TOTAL:
            self._drop(next(iter(self._kept)))

    def _has(self, pod: Pod) -> bool:
        uid, _ = self._kept.get(pod.metadata.key, ("", {}))
        return uid == pod.metadata.uid

    def _changed(self, change: Change[Pod]) -> None:
        if self._kept and (change.new is None or not self._has(change.new)):
            self._drop(change.key)

    def _drop(self, key: ObjectKey) -> None:
        _, texts = self._kept.pop(key, ("", {}))
        self._size -= _size(texts.values())


def _size(texts: Iterable[bytes]) -> int:
    return sum(map(len, texts))


def _cut(text: bytearray) -> None:
    """Leave the last bytes, from the beginning of a line."""
    if len(text) > CONTAINER:
        begin = text.find(b"\n", len(text) - CONTAINER - 1) + 1
        del text[: begin or len(text) - CONTAINER]
