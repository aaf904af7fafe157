"""From the bytes of a listing and of a watch to the store."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, cast

from tests.micro import material
from vnode.kube.resources import PODS
from vnode.kube.types import Pod
from vnode.runtime.clock import SystemClock
from vnode.runtime.reflector import Reflector
from vnode.runtime.store import Change, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.micro.conftest import Compare
    from vnode.kube.client import KubeClient

_PODS = 200
_CHUNK = 1 << 16


class _Client:
    """Answers at once: one listing, one watch that then stays silent."""

    name = "tenant"
    mirrors = 1

    def __init__(self, page: bytes, events: bytes = b"") -> None:
        self._page = page
        self._chunks = [events[at : at + _CHUNK] for at in range(0, len(events), _CHUNK)]

    @contextmanager
    def mirroring(self) -> Iterator[None]:
        yield

    async def hear(self) -> None:
        await asyncio.Event().wait()

    async def request(self, *_: object, **__: object) -> bytes:
        return self._page

    @asynccontextmanager
    async def stream(self, *_: object, **__: object) -> AsyncIterator[AsyncIterator[bytes]]:
        yield self._all()

    async def _all(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        await asyncio.Event().wait()


async def _mirror(client: _Client, changes: int) -> None:
    """Until the store has changed so many times."""
    store: Store[Pod] = Store("pods")
    seen = 0
    done = asyncio.Event()

    def count(_: Change[Pod]) -> None:
        nonlocal seen
        seen += 1
        if seen == changes:
            done.set()

    store.subscribe(count)
    reflector = Reflector(
        cast("KubeClient", client), PODS, Pod, store, clock=SystemClock(), rng=random.Random(1)
    )
    task = asyncio.ensure_future(reflector.run())
    await done.wait()
    task.cancel()
    await asyncio.wait([task])


def test_a_listing_of_200_pods(compare: Compare) -> None:
    client = _Client(material.page([material.tenant_pod(n) for n in range(_PODS)]))
    with asyncio.Runner() as runner:
        compare(lambda: runner.run(_mirror(client, _PODS)), 1.6)


def test_a_watch_on_which_200_pods_change(compare: Compare) -> None:
    changed = material.events(
        [material.tenant_pod(n, status={"phase": "Running"}) for n in range(_PODS)]
    )
    client = _Client(b'{"metadata":{"resourceVersion":"1"},"items":[]}', changed)
    with asyncio.Runner() as runner:
        compare(lambda: runner.run(_mirror(client, _PODS)), 3.0)
