import json
from typing import Any

import pytest

from tests.bench.watching import sight
from tests.measuring.watching import WatchError

_READY = [{"type": "Ready", "status": "True"}]


def _event(kind: str = "MODIFIED", *, node: str = "", **status: Any) -> bytes:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "w-1", "labels": {"app": "w"}},
        "spec": {"nodeName": node} if node else {},
        "status": status,
    }
    return json.dumps({"type": kind, "object": pod}).encode()


@pytest.mark.parametrize(
    ("line", "marks"),
    [
        (_event("ADDED", phase="Pending"), ("seen",)),
        (_event(node="n", phase="Pending"), ("seen", "bound")),
        (_event(node="n", phase="Running"), ("seen", "bound", "running")),
        (
            _event(node="n", phase="Running", conditions=_READY),
            ("seen", "bound", "running", "ready"),
        ),
        (_event(node="n", phase="Succeeded"), ("seen", "bound", "ended")),
        (_event("DELETED", node="n", phase="Failed"), ("seen", "bound", "ended", "gone")),
    ],
)
def test_a_pod_has_the_marks_of_what_is_so(line: bytes, marks: tuple[str, ...]) -> None:
    assert sight(line, 1.0).marks == marks


def test_a_number_that_a_test_sets_is_seen() -> None:
    found = sight(_event(containerStatuses=[{"restartCount": 7}]), 3.0)
    assert (found.name, found.restarts, found.at) == ("w-1", 7, 3.0)


def test_an_error_of_the_watch_is_no_event() -> None:
    with pytest.raises(WatchError, match="410"):
        sight(b'{"type":"ERROR","object":{"kind":"Status","metadata":{},"code":410}}', 0.0)


def test_what_is_cut_off_is_no_event() -> None:
    with pytest.raises(WatchError):
        sight(_event()[:-5], 0.0)
