"""Commands that take minutes: package installation, builds.

In: a command line. Out: nothing but a progress line every ten seconds while it runs. Raises
ProgramError with the end of its output when it fails or takes too long.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_REPORT_EVERY = 10.0  # seconds
_TIMEOUT = 3600.0
_TAIL = 2000  # characters of output in an error


def run_long(
    command: Sequence[str | Path],
    *,
    what: str,
    progress: Callable[[str], None],
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    answers: str = "",
    timeout: float = _TIMEOUT,
) -> None:
    """Runs a command in `folder`, with `environment` added to ours and `answers` as its input."""
    progress(what)
    started = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as questions:
        questions.write(answers.encode())
        questions.seek(0)
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stdin=questions,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                code = _wait(process, what, started + timeout, progress)
            except BaseException:
                process.terminate()
                raise
        if code != 0:
            output.seek(0)
            text = output.read().decode(errors="replace")[-_TAIL:]
            raise ProgramError(f"{what} failed:\n{text}")
    progress(f"{what}: done in {time.monotonic() - started:.0f} s")


def _wait(
    process: subprocess.Popen[bytes], what: str, deadline: float, progress: Callable[[str], None]
) -> int:
    started = time.monotonic()
    while True:
        try:
            return process.wait(_REPORT_EVERY)
        except subprocess.TimeoutExpired:
            progress(f"{what}: {time.monotonic() - started:.0f} s")
        if time.monotonic() > deadline:
            raise ProgramError(f"{what}: no end after {time.monotonic() - started:.0f} s")
