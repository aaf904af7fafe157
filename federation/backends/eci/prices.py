"""What container groups cost, as data for whoever chooses where pods go and adds up costs.

In: prices of the configuration, and `DescribeContainerGroupPrice` for the rest, every hour and
through the account's budget. Out: a `PriceTable`, from memory; a price that is not known is None,
never a guess. Sizes by vCPU and memory are billed by both apart, so two questions tell all of them.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Never, Protocol

import structlog

from federation.backends.eci.answers import Price
from federation.backends.eci.errors import EciError
from federation.backends.eci.parameters import Parameters
from vnode.runtime.clock import Clock

__all__ = ["PriceSource", "PriceTable", "Prices"]

_LOG = structlog.get_logger(__name__)

_EVERY = 3600.0
"""Seconds between two rounds of questions."""
_CPU, _SMALL, _LARGE = 2, 4, 8
"""vCPU and GiB of the two sizes that are asked for."""


class PriceSource(Protocol):
    """`EciApi`, as far as prices go."""

    async def price(self, asked: Parameters) -> Price:
        """What a size or instance type costs an hour."""
        ...


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of an hour, in the account's currency."""

    currency: str = ""
    """Such as CNY; empty: not known."""
    cpu: float | None = None
    """Of a vCPU, in sizes by vCPU and memory."""
    memory: float | None = None
    """Of a GiB, the same."""
    types: Mapping[str, float] = field(default_factory=dict)
    """Of instance types at the ordinary price."""
    spot: Mapping[str, float] = field(default_factory=dict)
    """The same in the cheapest zone of the spot market, for those that are bought there."""

    def of_size(self, *, cpu: float, memory: float) -> float | None:
        """Of a size by vCPU and GiB."""
        if self.cpu is None or self.memory is None:
            return None
        return cpu * self.cpu + memory * self.memory

    def of_type(self, name: str, *, spot: bool = False) -> float | None:
        """Of an instance type."""
        return (self.spot if spot else self.types).get(name)


class Prices:
    """Keeps the table of one region."""

    def __init__(
        self,
        source: PriceSource,
        *,
        fixed: Mapping[str, float],
        types: Iterable[str],
        spot: Iterable[str],
        clock: Clock,
        changed: Callable[[PriceTable], None] = lambda _: None,
    ) -> None:
        """Nothing is asked yet.

        Args:
            source: the API.
            fixed: prices of instance types by configuration, which are not asked for.
            types: instance types that are bought.
            spot: those of them that are bought on the spot market.
            clock: of the agent.
            changed: told of every new table.
        """
        self._source = source
        self._types = tuple(sorted(set(types) - set(fixed)))
        self._spot = tuple(sorted(set(spot)))
        self._clock = clock
        self._changed = changed
        self._failed: set[str] = set()
        """Of what it was said that it has no price."""
        self.table = PriceTable(types=dict(fixed))
        """What is known now."""

    async def run(self) -> Never:
        """Ask until cancelled."""
        while True:
            await self.refresh()
            await self._clock.sleep(_EVERY)

    async def refresh(self) -> None:
        """Ask for everything once. What is not answered stays as it was."""
        table = await self._of_sizes(self.table)
        types, spot = dict(table.types), dict(table.spot)
        for name in self._types:
            if (found := await self._ask({"InstanceType": name})) is not None:
                types[name] = found.trade_price
        for name in self._spot:
            asked = {"InstanceType": name, "SpotStrategy": "SpotAsPriceGo"}
            if (found := await self._ask(asked)) is None:
                continue
            offers = [each.spot_price for each in found.spot if each.instance_type == name]
            spot.pop(name, None)
            if offers:
                spot[name] = min(offers)
        self.table = replace(table, types=types, spot=spot)
        self._changed(self.table)

    async def _of_sizes(self, table: PriceTable) -> PriceTable:
        small = await self._ask({"Cpu": _CPU, "Memory": _SMALL})
        large = await self._ask({"Cpu": _CPU, "Memory": _LARGE})
        if small is None or large is None:
            return table
        memory = (large.trade_price - small.trade_price) / (_LARGE - _SMALL)
        cpu = (small.trade_price - _SMALL * memory) / _CPU
        return replace(table, currency=small.currency, cpu=cpu, memory=memory)

    async def _ask(self, asked: Parameters) -> Price | None:
        what = "/".join(map(str, asked.values()))
        try:
            found = await self._source.price(asked)
        except EciError as error:
            if what not in self._failed:
                _LOG.warning("a price is not known", of=what, why=str(error))
            self._failed.add(what)
            return None
        self._failed.discard(what)
        return found
