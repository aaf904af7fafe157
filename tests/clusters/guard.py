"""Takes clusters down when their harness was killed and could not do it.

In: a pipe whose other end only the harness holds. Out: nothing as long as the harness lives; when
it ends in whatever way, the pipe ends too, and what it left behind is removed. Should the guard be
killed as well, the next harness that starts does the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.clusters.processes import ProcessTable
from tests.clusters.slots import Claim, SlotRegistry
from tests.clusters.teardown import tear_down

_ROOT = Path(__file__).parents[2]


class Guard:
    """The harness's side: holds the pipe and a process that waits for its end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clusters.guard"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the harness
        )

    def dismiss(self) -> None:
        """Lets the guard go, once everything is down."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def watch() -> None:
    """The guard's side: returns when the harness has ended and nothing of it is left."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    SlotRegistry().sweep(_sweep)


def _sweep(claim: Claim) -> None:
    tear_down(claim, ProcessTable(claim.state), lambda _: None)


if __name__ == "__main__":
    watch()
