"""`vnode`, killed at one write: `python -m tests.agents.dying NUMBER MARK run --config …`.

Writes are counted whose path or body names MARK. At write NUMBER (from 0) the process ends as by
kill -9: before it is sent if the number is even, after the API server has answered if it is odd.
"""

from __future__ import annotations

import itertools
import os
import sys
from typing import Any

from federation.cli import app
from vnode.kube.transport import Transport

_READS = frozenset({"GET", "HEAD"})
KILLED = 9


def _arm(at: int, mark: str) -> None:
    send, numbers = Transport.send, itertools.count()

    async def dying(self: Transport, method: str, path: str, **options: Any) -> Any:
        named = mark in path or mark.encode() in (options.get("body") or b"")
        if method in _READS or not named or "/events" in path:
            return await send(self, method, path, **options)
        last = next(numbers) == at
        if last and at % 2 == 0:
            os._exit(KILLED)
        answer = await send(self, method, path, **options)
        if last:
            os._exit(KILLED)
        return answer

    Transport.send = dying  # type: ignore[method-assign]


if __name__ == "__main__":
    _arm(int(sys.argv[1]), sys.argv[2])
    app(sys.argv[3:], prog_name="vnode")
