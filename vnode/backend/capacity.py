"""What a virtual node publishes of the place behind it, and who says so."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a virtual node publishes: Kubernetes quantities by resource name."""

    allocatable: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that all nodes of the pool share (GPU model and the like)."""
    largest_free: Mapping[str, str] = field(default_factory=dict)
    """Largest free slot on a single node per resource, where known."""
    features: tuple[str, ...] | None = None
    """Names of the kubelet features that all nodes of the pool declare; None: not known."""


class CapacitySource(Protocol):
    """Where a virtual node's capacity comes from. Computed in memory, debounced by the caller."""

    @property
    def synced(self) -> bool:
        """Whether `capacity` rests on complete data."""
        ...

    def capacity(self) -> Capacity:
        """The capacity as of now; never negative."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the capacity may have changed."""
        ...
