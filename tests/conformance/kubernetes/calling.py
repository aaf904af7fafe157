"""A program that runs for long, its output in a file and told line by line.

In: a command, a file for its output. Out: nothing but what it printed. Owned by the caller: when
the call returns, or is cut short, nothing of the command's process group runs any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from tests.conformance.errors import SuiteError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LOOK_SECONDS = 0.5
_END_SECONDS = 60.0


class Lines:
    """Cuts what arrives in pieces into whole lines."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take the next piece."""
        *whole, self._rest = (self._rest + text).split("\n")
        for line in whole:
            self._tell(line)


def call(command: list[str], log: Path, *, timeout: float, tell: Callable[[str], None]) -> None:
    """Run it to its end, whatever its exit code; raises SuiteError after `timeout` seconds.

    What it leaves in its folder of temporary files goes with it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lines, deadline = Lines(tell), time.monotonic() + timeout
    with (
        log.open("wb") as output,
        log.open(errors="replace") as printed,
        tempfile.TemporaryDirectory() as temporary,
    ):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TMPDIR": temporary},
        )
        try:
            while _runs(process, _LOOK_SECONDS):
                if time.monotonic() > deadline:
                    raise SuiteError(f"no end after {timeout:g} s; see {log}")
                lines.feed(printed.read())
            lines.feed(printed.read())
        finally:
            _end_group(process)


def _runs(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether it still runs after so many seconds; returns as soon as it does not."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group: first politely, so that tests clean up."""
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
