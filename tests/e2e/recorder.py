"""A second pair of eyes: every version of some pods, as kubectl's watch brought them.

In: a user and a selector. Out, after the `with` block: all events in order. Unlike a poll it
misses nothing, so "never" can be asked of it.
"""

from __future__ import annotations

import json
import subprocess
from typing import IO, TYPE_CHECKING, Any

from tests.e2e.user import until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.e2e.user import User

_END_SECONDS = 10.0


class PodRecorder:
    """Watches the pods of a selector for as long as the block lasts."""

    def __init__(self, user: User, selector: str, file: Path) -> None:
        self._user = user
        self._selector = selector
        self._file = file
        self._output: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PodRecorder:
        command = self._user.command(
            "get",
            "pods",
            f"--selector={self._selector}",
            "--watch",
            "--output-watch-events",
            "--output=json",
        )
        self._output = self._file.open("wb")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        assert self._output is not None
        ended = self._process.poll()
        self._process.terminate()
        self._process.wait(timeout=_END_SECONDS)
        self._output.close()
        assert ended is None or error is not None, "the watch ended before the test did"

    def wait_for_any(self) -> None:
        """Wait until it has seen something, so until it watches."""
        until(lambda: self._file.stat().st_size, "the watch brings the first event")

    def events(self) -> list[tuple[str, Any]]:
        """`ADDED`, `MODIFIED` or `DELETED`, and the pod; one cut off at the end is left out."""
        text, decoder, at = self._file.read_text(), json.JSONDecoder(), 0
        found: list[tuple[str, Any]] = []
        while True:
            while at < len(text) and text[at].isspace():
                at += 1
            try:
                event, at = decoder.raw_decode(text, at)
            except json.JSONDecodeError:
                return found
            about = event["object"]
            # Of many pods kubectl shows those that it finds at first as lists.
            pods = about.get("items", [about])
            if event["type"] != "BOOKMARK":
                found += [(event["type"], pod) for pod in pods]
