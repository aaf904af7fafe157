"""A second pair of eyes at pods, which keeps what it sees.

In: a user and a selector. Out: all events in order, in a file too. `tests.measuring.onlooker` tells
them, so none is missed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.e2e.user import until
from tests.measuring.onlooker import Collection, Onlooker

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.e2e.user import User
    from tests.measuring.onlooker import Version


class PodRecorder:
    """Watches the pods of a selector for as long as the block lasts."""

    def __init__(self, user: User, selector: str, file: Path) -> None:
        """What it sees is kept in `file` too, an event a line."""
        pods = Collection(f"/api/v1/namespaces/{user.namespace}/pods", selector)
        self._file = file
        self._seen: list[tuple[str, Any]] = []
        self._onlooker = Onlooker(user.cluster.kubeconfig, [pods], self._hear)

    def __enter__(self) -> PodRecorder:
        self._output = self._file.open("w")
        self._onlooker.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._onlooker.__exit__(kind, error, trace)
        self._output.close()
        if error is None:
            self._onlooker.check()

    def wait_for_any(self) -> None:
        """Wait until it has seen something."""
        until(lambda: self._seen, "the watch brings the first event")

    def events(self) -> list[tuple[str, Any]]:
        """`ADDED`, `MODIFIED` or `DELETED`, and the pod."""
        return list(self._seen)

    def _hear(self, version: Version) -> None:
        self._output.write(json.dumps({"type": version.type, "object": version.object}) + "\n")
        self._seen.append((version.type, version.object))
