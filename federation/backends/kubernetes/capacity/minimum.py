"""Several capacity sources at once: the smallest figure of each resource counts."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from vnode.backend import Capacity, CapacitySource
from vnode.kube.quantity import Quantity


class MinimumCapacity:
    """The smallest figure per resource.

    `limits` (static, quota) bound the resources that they name and no others. An `inventory`
    (nodes) knows of all there is: what it does not have does not exist, whatever a limit allows.
    Labels, features and largest free slots come from the inventory.
    """

    def __init__(
        self, limits: Sequence[CapacitySource], *, inventory: CapacitySource | None = None
    ) -> None:
        if not limits and inventory is None:
            raise ValueError("no capacity source given")
        self._limits = tuple(limits)
        self._inventory = inventory

    @property
    def synced(self) -> bool:
        """Whether all sources are."""
        return all(source.synced for source in self._sources())

    def capacity(self) -> Capacity:
        """The smallest figure of each resource."""
        found = [source.capacity() for source in self._sources()]
        if self._inventory is not None:
            names = set(found[-1].allocatable)
        else:
            names = {name for capacity in found for name in capacity.allocatable}
        allocatable = {
            name: min((c.allocatable[name] for c in found if name in c.allocatable), key=_quantity)
            for name in sorted(names)
        }
        if self._inventory is None:
            return Capacity(allocatable=allocatable)
        return replace(found[-1], allocatable=allocatable)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when any source changed."""
        for source in self._sources():
            source.subscribe(listener)

    def _sources(self) -> tuple[CapacitySource, ...]:
        return self._limits if self._inventory is None else (*self._limits, self._inventory)


def _quantity(text: str) -> Quantity:
    return Quantity.parse(text)
