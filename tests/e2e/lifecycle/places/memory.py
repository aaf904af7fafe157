"""Memory: `tests.fakes.backend`, whose copies tests move by hand."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, cast

from tests.builders import loads
from tests.e2e.lifecycle.place import Copy
from tests.fakes.backend import UNREACHABLE, Below, FakeBackend
from vnode.backend import (
    BackendError,
    ObjectRef,
    PodRequest,
    ReferenceKind,
    Rejected,
    Waiting,
    WaitingReason,
)
from vnode.kube.types import UID, ObjectKey
from vnode.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.agents.pods import RunningBackend
    from tests.e2e.lifecycle.needs import Need
    from vnode.kube.config import Connection
    from vnode.kube.types import NodeName
    from vnode.runtime.clock import Clock

_FULL = Waiting("exceeded quota: pods", reason="QuotaExceeded", not_done=True)


class MemoryPlace:
    """See `tests.e2e.lifecycle.place.Place`."""

    name: ClassVar = "memory"
    capabilities: ClassVar = FakeBackend.capabilities
    lacks: ClassVar[frozenset[Need]] = frozenset()
    quota_reason: ClassVar = "QuotaExceeded"
    brings_images: ClassVar = True

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._below = Below(clock=SystemClock())
        self._full = False
        self._views: list[FakeBackend] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def at(
        cls, compute: Connection, namespace: str, *, cluster_uid: UID, node: NodeName
    ) -> AsyncIterator[MemoryPlace]:
        """Of one test."""
        yield cls(namespace)

    @contextlib.asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[RunningBackend]:
        view = FakeBackend(self._below)
        view.refuses = _refusal
        view.rejects = lambda _: _FULL if self._full else None
        self._views.append(view)
        yield cast("RunningBackend", view)
        self._views.remove(view)

    def _key(self, name: str) -> ObjectKey:
        return ObjectKey(self._namespace, name)

    async def copy(self, name: str) -> Copy | None:
        found = self._below.copies.get(self._key(name))
        if found is None:
            return None
        labels = self._below.pods[found.handle].metadata.labels
        return Copy(
            found.uid,
            found.handle,
            found.deleting,
            found.grace_seconds,
            found.gated,
            frozenset(labels.items()),
        )

    async def made(self, uid: str) -> int:
        return self._below.made[UID(uid)]

    async def ran(self, uid: str) -> int:
        return self._below.started[UID(uid)]

    async def start(self, name: str) -> None:
        self._below.start(self._key(name))

    async def end(self, name: str, *, exit_code: int = 0) -> None:
        self._below.end(self._key(name), exit_code=exit_code)

    async def finish_deletion(self, name: str) -> None:
        self._below.finish_deletion(self._key(name))

    async def remove(self, name: str) -> None:
        self._below.evict(self._key(name))

    async def unplaced(self, name: str, message: str) -> None:
        copy = self._below.copies[self._key(name)]
        self._below.put(replace(copy, waiting=WaitingReason("Unschedulable", message)))

    async def placed(self, name: str) -> None:
        copy = self._below.copies[self._key(name)]
        self._below.put(replace(copy, waiting=None, scheduled=True))

    async def refuse(self) -> None:
        self._full = True

    async def accept(self) -> None:
        self._full = False
        self._tell_of_place()

    async def lose_answers(self, count: int) -> None:
        for _ in range(count):
            self._below.fail("apply", after=True, error=UNREACHABLE)

    async def silence(self) -> None:
        self._below.cut = True

    async def answer(self) -> None:
        self._below.cut = False
        for view in self._views:
            view.answer_again()
        self._tell_of_place()

    def _tell_of_place(self) -> None:
        for view in self._views:
            for listener in view.place_listeners:
                listener(self._namespace)

    async def take(self, name: str) -> None:
        self._below.foreign.add(self._key(name))

    async def taken_is_untouched(self, name: str) -> bool:
        return self._key(name) in self._below.foreign and await self.copy(name) is None

    async def release(self, name: str) -> None:
        self._below.foreign.remove(self._key(name))
        self._tell_of_place()

    async def config(self, pod: str, config_map: str) -> dict[str, str] | None:
        ref = ObjectRef(self._namespace, ReferenceKind.CONFIG_MAP, config_map)
        found = self._below.objects.get(ref)
        return None if found is None else dict(found.data)

    async def tokens(self, name: str) -> frozenset[str]:
        handle = self._below.copies[self._key(name)].handle
        return frozenset(t.value for t in self._below.tokens.get(handle, {}).values())


def _refusal(request: PodRequest) -> BackendError | None:
    if loads(request.pod.spec).get("hostNetwork"):
        return Rejected("spec.hostNetwork: not allowed here", field="spec.hostNetwork")
    return None
