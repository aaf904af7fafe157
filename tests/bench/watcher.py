"""The reference watcher: `python -m tests.bench.watcher NAME=KUBECONFIG...`, a process of its own.

In: clusters. Out, on stdout: an empty line when it watches all of them, then one JSON array a
moment (`tests.bench.timeline.Moment`). One process for all clusters: they wait for the same
processor, so what is left of a difference is not its doing. Ends with its stdout or SIGTERM.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from tests.bench.timeline import Mark, Moment
from tests.bench.watching import Pods, connected


async def main(arguments: list[str]) -> None:
    """Until it is ended."""
    ready = asyncio.Barrier(len(arguments) + 1)
    async with asyncio.TaskGroup() as tasks:
        for argument in arguments:
            name, _, path = argument.partition("=")
            tasks.create_task(_watch(name, Path(path), ready))
        await ready.wait()
        _say(b"")


async def _watch(cluster: str, kubeconfig: Path, ready: asyncio.Barrier) -> None:
    async with connected(kubeconfig) as api:
        version = await api.version()
        await ready.wait()
        await _follow(cluster, api, version)


async def _follow(cluster: str, api: Pods, version: str) -> None:
    known: set[tuple[str, Mark]] = set()
    async for sight in api.sights(version):
        for mark in sight.marks:
            if (sight.name, mark) not in known:
                known.add((sight.name, mark))
                _say(msgspec.json.encode(Moment(cluster, sight.name, mark, sight.at)))


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
