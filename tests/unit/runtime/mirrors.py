"""A reflector with little patience, and the store that it fills."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.unit.runtime.scripted_server import ScriptedServer, connect
from vnode.kube.resources import PODS
from vnode.kube.types import Pod
from vnode.runtime.clock import SystemClock
from vnode.runtime.reflector import Reflector, Timing
from vnode.runtime.store import Change, Store

QUICK = Timing(silence=0.15, page_timeout=0.3, first_backoff=0.01, last_backoff=0.04, stable=5.0)


class Mirror:
    """A reflector of pods, its store, and what changed in it."""

    def __init__(self, server: ScriptedServer, timing: Timing) -> None:
        self.client = connect(server.url)
        self.store: Store[Pod] = Store("pods")
        self.changes: list[Change[Pod]] = []
        self.store.subscribe(self.changes.append)
        self.reflector = Reflector(
            self.client,
            PODS,
            Pod,
            self.store,
            clock=SystemClock(),
            rng=random.Random(1),
            page_size=2,
            timing=timing,
        )

    def names(self) -> list[str]:
        return sorted(key.name for key in self.store)

    async def until(self, condition: Callable[[], bool]) -> None:
        await eventually(condition)


async def eventually(condition: Callable[[], bool]) -> None:
    """Real sockets have no clock that could be fast-forwarded: look again and again, bounded."""
    async with asyncio.timeout(2):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def mirror(server: ScriptedServer, timing: Timing = QUICK) -> AsyncIterator[Mirror]:
    it = Mirror(server, timing)
    task = asyncio.create_task(it.reflector.run())
    try:
        yield it
    finally:
        task.cancel()
        await asyncio.wait([task])
        await it.client.close()
