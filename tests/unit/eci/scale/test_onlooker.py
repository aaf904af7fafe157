"""What is taken from the versions of pods and events."""

from typing import Any

import pytest

from tests.chaos.history import Version
from tests.eci.scale.onlooker import Seen


def version(
    kind: str, name: str, body: dict[str, Any], *, at: float = 1.0, gone: bool = False
) -> Version:
    return Version(
        "tenant", kind, "team-a", name, {"metadata": {"uid": f"u-{name}"}, **body}, gone=gone, at=at
    )


def status(**fields: Any) -> dict[str, Any]:
    return {"status": fields}


def event(reason: str, message: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "a"}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}


def test_the_first_time_of_each_phase_counts() -> None:
    seen = Seen("team-a")
    for at, phase in enumerate(["Pending", "Running", "Running", "Succeeded"]):
        seen.hear(version("pods", "a", status(phase=phase), at=float(at)))
    seen.hear(version("pods", "a", status(phase="Succeeded"), at=9.0, gone=True))

    pod = seen.pods["u-a"]
    assert (pod.phases, pod.gone) == ({"Pending": 0.0, "Running": 1.0, "Succeeded": 3.0}, 9.0)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("pods", status(phase="Pending", reason="ComputeBusy")),
        ("pods", status(phase="Pending", conditions=[{"message": "Throttling.User: denied"}])),
        ("events", event("ComputeError", "Request was denied due to user flow control.")),
    ],
)
def test_throttling_is_read_wherever_it_stands(kind: str, body: dict[str, Any]) -> None:
    seen = Seen("team-a")
    seen.hear(version(kind, "a", body))

    assert list(seen.throttled) == ["a"]


def test_other_words_and_other_namespaces_are_no_throttling() -> None:
    seen = Seen("team-a")
    seen.hear(version("pods", "a", status(phase="Pending", reason="NoStock")))
    seen.hear(version("events", "a.1", event("NoStock", "sold out")))

    assert (seen.throttled, dict(seen.warnings)) == ({}, {"NoStock": 1})
