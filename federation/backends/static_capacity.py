"""Capacity as somebody wrote it into the configuration."""

from collections.abc import Callable, Mapping

from vnode.backend import Capacity
from vnode.kube.quantity import ZERO, InvalidQuantity, Quantity


class StaticCapacity:
    """Publishes fixed quantities.

    Raises:
        ValueError: a quantity is not one, or is negative; names the resource.
    """

    def __init__(self, resources: Mapping[str, str]) -> None:
        for name, text in resources.items():
            try:
                negative = Quantity.parse(text) < ZERO
            except InvalidQuantity as error:
                raise ValueError(f"capacity of {name}: {error}") from error
            if negative:
                raise ValueError(f"capacity of {name} is negative: {text}")
        self._capacity = Capacity(allocatable=dict(resources))

    @property
    def synced(self) -> bool:
        """Always."""
        return True

    def capacity(self) -> Capacity:
        """The configured quantities."""
        return self._capacity

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Nothing ever changes, so `listener` is never called."""
