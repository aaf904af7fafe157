"""Keys through the work queue."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from vnode.kube.types import ObjectKey
from vnode.runtime.workqueue import Priority, WorkQueue

if TYPE_CHECKING:
    from tests.micro.conftest import Compare

_KEYS = [ObjectKey(f"team-{n % 10}", f"job-{n}") for n in range(1000)]


async def _through() -> None:
    """A re-list of all keys, and a live change of every other one."""
    queue: WorkQueue[ObjectKey] = WorkQueue(
        "pods", rng=random.Random(1), group=lambda key: key.namespace
    )
    for key in _KEYS:
        queue.add(key, Priority.LOW)
    for key in _KEYS[::2]:
        queue.add(key)
    for _ in _KEYS:
        queue.done(await queue.get())


def test_1000_keys_pass_the_queue(compare: Compare) -> None:
    with asyncio.Runner() as runner:
        compare(lambda: runner.run(_through()), 4.0)
