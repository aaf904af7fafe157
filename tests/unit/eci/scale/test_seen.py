"""What is taken from the versions of pods and events."""

from typing import Any

import pytest

from tests.eci.scale.seen import EVENTS, PODS, Seen
from tests.measuring.onlooker import Collection, Version


def version(
    where: Collection, name: str, body: dict[str, Any], *, at: float = 1.0, gone: bool = False
) -> Version:
    found = {"metadata": {"name": name, "uid": f"u-{name}"}, **body}
    return Version(where, "DELETED" if gone else "MODIFIED", found, at)


def status(**fields: Any) -> dict[str, Any]:
    return {"status": fields}


def event(reason: str, message: str) -> dict[str, Any]:
    about = {"kind": "Pod", "name": "a"}
    return {"type": "Warning", "reason": reason, "message": message, "involvedObject": about}


def test_the_first_time_of_each_phase_counts() -> None:
    seen = Seen()
    for at, phase in enumerate(["Pending", "Running", "Running", "Succeeded"]):
        seen.hear(version(PODS, "a", status(phase=phase), at=float(at)))
    seen.hear(version(PODS, "a", status(phase="Succeeded"), at=9.0, gone=True))

    pod = seen.pods["u-a"]
    assert (pod.phases, pod.gone) == ({"Pending": 0.0, "Running": 1.0, "Succeeded": 3.0}, 9.0)


@pytest.mark.parametrize(
    ("where", "body"),
    [
        (PODS, status(phase="Pending", reason="ComputeBusy")),
        (PODS, status(phase="Pending", conditions=[{"message": "Throttling.User: denied"}])),
        (EVENTS, event("ComputeError", "Request was denied due to user flow control.")),
    ],
)
def test_throttling_is_read_wherever_it_stands(where: Collection, body: dict[str, Any]) -> None:
    seen = Seen()
    seen.hear(version(where, "a", body))

    assert list(seen.throttled) == ["a"]


def test_other_words_are_no_throttling() -> None:
    seen = Seen()
    seen.hear(version(PODS, "a", status(phase="Pending", reason="NoStock")))
    seen.hear(version(EVENTS, "a.1", event("NoStock", "sold out")))

    assert (seen.throttled, dict(seen.warnings)) == ({}, {"NoStock": 1})
