"""What was seen of pods, and when. Pure.

In: moments in any order. Out: the first time of each mark of each pod, and what follows from two of
them. Pods are told apart by cluster and name: a copy has the name of the tenant's pod, and no two
workloads of a run give the same name.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Mark = Literal["seen", "bound", "running", "ready", "ended", "gone"]


class Moment(NamedTuple):
    """Something about a pod was seen for the first time."""

    cluster: str
    name: str
    mark: Mark
    at: float
    """Seconds of the machine's monotonic clock, which its processes share."""


class Timeline:
    """The first time of everything."""

    def __init__(self, moments: Iterable[Moment] = ()) -> None:
        self._at: dict[tuple[str, Mark], dict[str, float]] = defaultdict(dict)
        for moment in moments:
            self.add(moment)

    def add(self, moment: Moment) -> None:
        """Only the first of its kind counts."""
        self._at[moment.cluster, moment.mark].setdefault(moment.name, moment.at)

    def times(self, cluster: str, mark: Mark, prefix: str) -> dict[str, float]:
        """When, by pod, of the pods whose names begin so."""
        found = self._at[cluster, mark]
        return {name: at for name, at in found.items() if name.startswith(prefix)}


def between(first: Mapping[str, float], second: Mapping[str, float]) -> list[float]:
    """Seconds from one to the other, of pods that have both; negative ones are kept."""
    return [at - first[name] for name, at in second.items() if name in first]


def curve(
    times: Mapping[str, float], began: float, *, points: int = 100
) -> list[tuple[float, int]]:
    """How many had come after so many seconds: at most so many points, the last one included."""
    ordered = sorted(at - began for at in times.values())
    step = max(1, -(-len(ordered) // points))
    numbers = sorted({*range(step, len(ordered) + 1, step), len(ordered)} - {0})
    return [(ordered[number - 1], number) for number in numbers]
