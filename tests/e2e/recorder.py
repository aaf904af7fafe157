"""A second pair of eyes: every version of some pods, as a watch brought them.

In: a user and a selector. Out: all events in order. Unlike a poll it misses nothing, so "never" can
be asked of it: a watch that the API server ends, as it does to one that reads too slowly, goes on
from the last version.
"""

from __future__ import annotations

import json
import subprocess
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.e2e.user import until

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.e2e.user import User

_END_SECONDS = 10.0
_AGAIN_SECONDS = 0.5


class PodRecorder:
    """Watches the pods of a selector for as long as the block lasts."""

    def __init__(self, user: User, selector: str, file: Path) -> None:
        """What it sees is kept in `file` too, an event a line."""
        self._user = user
        self._selector = selector
        self._file = file
        self._seen: list[tuple[str, Any]] = []
        self._lost = ""
        self._version = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> PodRecorder:
        found = json.loads(self._user.kubectl("get", "--raw", self._path()))
        self._version = found["metadata"]["resourceVersion"]
        self._seen += [("ADDED", pod) for pod in found["items"]]
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(timeout=_END_SECONDS)
        assert not self._lost or error is not None, f"the watch cannot go on: {self._lost}"

    def wait_for_any(self) -> None:
        """Wait until it has seen something."""
        until(lambda: self._seen, "the watch brings the first event")

    def events(self) -> list[tuple[str, Any]]:
        """`ADDED`, `MODIFIED` or `DELETED`, and the pod."""
        return list(self._seen)

    def _path(self, **more: str) -> str:
        query = urlencode({"labelSelector": self._selector, **more})
        return f"/api/v1/namespaces/{self._user.namespace}/pods?{query}"

    def _follow(self) -> None:
        with self._file.open("wb") as output:
            while not (self._ended.is_set() or self._lost):
                path = self._path(
                    watch="true", allowWatchBookmarks="true", resourceVersion=self._version
                )
                with subprocess.Popen(
                    self._user.command("get", "--raw", path),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                ) as self._process:
                    if self._ended.is_set():  # Nobody else may have seen this process.
                        self._process.terminate()
                    assert self._process.stdout is not None
                    for line in self._process.stdout:
                        output.write(line)
                        self._take(line)
                self._ended.wait(_AGAIN_SECONDS)

    def _take(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            return  # Cut off at the end of a watch: the next one brings it again.
        event = json.loads(line)
        about = event["object"]
        if event["type"] == "ERROR":
            self._lost = str(about.get("message"))
            return
        self._version = about["metadata"]["resourceVersion"]
        if event["type"] != "BOOKMARK":
            self._seen.append((event["type"], about))
