"""Our end of the reference watcher.

In: clusters. Out: a `Timeline` that grows while the block lasts, and waits for something in it.
Owns the process and the thread that reads from it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tests.agents.join import ROOT
from tests.bench.timeline import Moment, Timeline
from tests.measuring.waiting import MeasurementError, wait

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tests.clusters import Cluster

_T = TypeVar("_T")
_EVERY = 0.1
_END_SECONDS = 10.0


class Observer:
    """Follows the pods of clusters for as long as the block lasts."""

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._arguments = [f"{cluster.name}={cluster.kubeconfig}" for cluster in clusters]
        self._timeline = Timeline()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Observer:
        command = [sys.executable, "-m", "tests.bench.watcher", *self._arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"\n":
            self._process.wait(timeout=_END_SECONDS)
            raise MeasurementError("the reference watcher did not start")
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(timeout=_END_SECONDS)
        self._reader.join(timeout=_END_SECONDS)

    def read(self, look: Callable[[Timeline], _T]) -> _T:
        """Look at what was seen so far."""
        with self._lock:
            return look(self._timeline)

    def wait(self, done: Callable[[Timeline], bool], what: str, *, timeout: float) -> None:
        """Until that is so. Raises MeasurementError."""
        wait(lambda: self._looked(done), what, timeout=timeout, every=_EVERY)

    def _looked(self, done: Callable[[Timeline], bool]) -> bool:
        assert self._process is not None
        found = self.read(done)
        if not found and self._process.poll() is not None:
            raise MeasurementError("the reference watcher has ended")
        return found

    def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        decoder = msgspec.json.Decoder(Moment)
        for line in self._process.stdout:
            moment = decoder.decode(line)
            with self._lock:
                self._timeline.add(moment)
