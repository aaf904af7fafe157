"""How long a pod waits for a compute side that does not answer (DESIGN 7, Two links). Pure.

In: the pod's annotation. Out: `OnPartition`, which `vnode.pods.view` keeps, and `Loss`, all that
the lifecycle rules have to know of a broken link.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["ANNOTATION", "HOLDS", "WAITS", "Loss", "OnPartition", "on_partition"]

ANNOTATION = "vnode.dev/on-partition"
"""On a pod: `wait` (the default) or `fail-after=<duration>`, e.g. `fail-after=1h30m`."""
_FAIL_AFTER = "fail-after="
_SHORTEST = 1.0
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(f"(?:{_PART})+", re.ASCII)
_PARTS = re.compile(_PART, re.ASCII)
_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class OnPartition:
    """What a pod asked for."""

    fail_after: float | None = None
    """Seconds after which it is given up; None: it waits."""
    problem: str = ""
    """What is wrong with the annotation; the pod waits then."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The link as one pod sees it."""

    silent: bool = False
    """It is lost, and does not answer just now."""
    overdue: bool = False
    """It has been for longer than the pod wants to wait."""
    fenced: bool = False
    """The pod's UID is in the fence list: it was decided to give it up."""
    accepted: bool = False
    """Somebody said that its copy needs not be waited for."""
    unsent: bool = False
    """It certainly has no copy."""
    held: bool = False
    """An older pod of its name was given up, and nobody knows yet that it does not run."""


WAITS = OnPartition()
"""The pod waits."""
HOLDS = Loss()
"""The link holds, and no pod of that name is fenced."""


def on_partition(annotations: Mapping[str, str]) -> OnPartition:
    """Read a pod's annotation; a duration is written as Go's time.ParseDuration reads it."""
    text = annotations.get(ANNOTATION, "").strip()
    if text in ("", "wait"):
        return OnPartition()
    seconds = _seconds(text.removeprefix(_FAIL_AFTER)) if text.startswith(_FAIL_AFTER) else None
    if seconds is not None and seconds >= _SHORTEST:
        return OnPartition(fail_after=seconds)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return OnPartition(
        problem=f'Annotation {ANNOTATION} "{shown}" is not understood, so the pod waits while its '
        'compute cluster does not answer; write "wait", or "fail-after=" and a duration of at '
        'least 1s, like "fail-after=10m" or "fail-after=1h30m"'
    )


def _seconds(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PARTS.findall(text))
