"""A line in which groups take turns: one that brings ten thousand keys does not hold up the others.

In: keys, each of a group (a tenant namespace). Out: the same keys; within a group in order of
arrival, between groups one of each in turn. So a key waits for those of its own group, and for one
key of each other group per key of its own. Every operation but `values` takes the same time however
long the line is. Not thread-safe.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

__all__ = ["FairLine"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FairLine(Generic[K, V]):
    """Keys, each with a value, each there once."""

    # Invariant: no group is empty. The first group has its turn next.

    def __init__(self, group: Callable[[K], Hashable]) -> None:
        """`group` says which group a key belongs to; always the same for the same key."""
        self._group = group
        self._groups: OrderedDict[Hashable, dict[K, V]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        """Keys in the line."""
        return self._length

    def __contains__(self, key: K) -> bool:
        """Whether a key is in the line."""
        return key in self._groups.get(self._group(key), ())

    def of(self, group: Hashable) -> int:
        """Keys of one group in the line."""
        return len(self._groups.get(group, ()))

    def put(self, key: K, value: V) -> None:
        """Put a key at the end of its group. One that is there keeps its place."""
        keys = self._groups.setdefault(self._group(key), {})
        self._length += key not in keys
        keys[key] = value

    def take(self, may: Callable[[Hashable], bool] = lambda _: True) -> tuple[K, V]:
        """Take the key whose turn it is; a group that may not is passed over and keeps its turn.

        Raises KeyError when there is none. It takes as long as there are groups that may not.
        """
        group, keys = next((each for each in self._groups.items() if may(each[0])), (None, {}))
        if not keys:
            raise KeyError("nobody is in the line who may go")
        key = next(iter(keys))
        value = keys.pop(key)
        self._length -= 1
        if keys:
            self._groups.move_to_end(group)
        else:
            del self._groups[group]
        return key, value

    def remove(self, key: K) -> V | None:
        """Take a key out of turn; None: it is not there."""
        group = self._group(key)
        keys = self._groups.get(group)
        if keys is None or key not in keys:
            return None
        value = keys.pop(key)
        self._length -= 1
        if not keys:
            del self._groups[group]
        return value

    def values(self) -> Iterator[V]:
        """The values of all keys."""
        for keys in self._groups.values():
            yield from keys.values()
