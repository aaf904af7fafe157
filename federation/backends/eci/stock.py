"""Which instance types the region has in stock, as data for whoever chooses where pods go.

In: `DescribeAvailableResource` for every instance type that a pool names, every few minutes and
through the account's budget. Out: `Stock.of`, from memory. Nothing is decided here: a create may
still fail for want of stock, and one that is said to be sold out may go well. A failed question
leaves what was known, until that is too old to be believed; zones are those of the whole region,
not only of our vSwitches.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Never, Protocol

import structlog

from federation.backends.eci.answers import AvailableZone
from federation.backends.eci.errors import EciError, Throttled, Unavailable
from vnode.runtime.clock import Clock

__all__ = ["Stock", "StockSource", "TypeStock"]

_LOG = structlog.get_logger(__name__)

_EVERY = 300.0
"""Seconds between two rounds of questions."""
_GOOD_FOR = 3 * _EVERY
"""Seconds after which an answer says nothing any more."""
_HAS = frozenset({"WithStock", "ClosedWithStock"})
"""StatusCategory of what can be bought; `ClosedWithStock` is running out."""


class StockSource(Protocol):
    """`EciApi`, as far as stock goes."""

    async def stock(self, instance_type: str) -> list[AvailableZone]:
        """Zones that know an instance type."""
        ...


@dataclass(frozen=True, slots=True)
class TypeStock:
    """What is known of one instance type."""

    zones: Mapping[str, bool]
    """Whether each zone has it, for zones that know it."""
    at: float
    """Monotonic seconds of the answer."""

    @property
    def anywhere(self) -> bool:
        """Whether any zone has it."""
        return any(self.zones.values())


class Stock:
    """Keeps asking for the instance types of one region."""

    def __init__(
        self,
        source: StockSource,
        types: Iterable[str],
        *,
        clock: Clock,
        changed: Callable[[str, TypeStock], None] = lambda _type, _stock: None,
    ) -> None:
        """`changed` is told of every answer."""
        self._source = source
        self._types = tuple(sorted(set(types)))
        self._clock = clock
        self._changed = changed
        self._known: dict[str, TypeStock] = {}
        self._listeners: list[Callable[[], None]] = []
        self._failed: set[str] = set()
        """Types of which it was said that nothing is known."""

    def of(self, instance_type: str) -> TypeStock | None:
        """What the newest answer says of an instance type; None: not known (yet, or any more)."""
        known = self._known.get(instance_type)
        too_old = known is not None and self._clock.monotonic() - known.at > _GOOD_FOR
        return None if too_old else known

    def sold_out(self, types: Iterable[str]) -> bool:
        """Whether certainly none of these can be bought now."""
        known = [self.of(each) for each in types]
        return bool(known) and all(each is not None and not each.anywhere for each in known)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every answer, also one that is none: what was known grows old."""
        self._listeners.append(listener)

    async def run(self) -> Never:
        """Ask until cancelled."""
        while True:
            await self.refresh()
            await self._clock.sleep(_EVERY)

    async def refresh(self) -> None:
        """Ask for each type once; where the service does not answer, that ends the round."""
        for each in self._types:
            try:
                zones = await self._source.stock(each)
            except EciError as error:
                if each not in self._failed:
                    _LOG.warning("stock is not known", instance_type=each, why=str(error))
                self._failed.add(each)
                self._tell()
                if isinstance(error, Unavailable | Throttled):
                    return
                continue
            self._failed.discard(each)
            found = {zone.zone: zone.stock.get(each, "") in _HAS for zone in zones}
            self._known[each] = TypeStock(found, self._clock.monotonic())
            self._changed(each, self._known[each])
            self._tell()

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
