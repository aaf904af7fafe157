"""What the agent shows of ECI accounts: stock, prices, and calls against the account's limits.

In: what `stock`, `prices` and `budget` of `federation.backends.eci` know. Out: Prometheus gauges,
by cluster and instance type, never by pod. Owned by `FederationMetrics`.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from federation.backends.eci.budget import BudgetStatistics
from federation.backends.eci.prices import PriceTable
from federation.backends.eci.stock import TypeStock

__all__ = ["EciMetrics"]


class EciMetrics:
    """Gauges of all clusters of kind eci."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stock = Gauge(
            "federation_eci_stock",
            "1: the zone has the instance type, as of the last answer; 0: it is sold out.",
            ("cluster", "instance_type", "zone"),
            registry=registry,
        )
        self._price = Gauge(
            "federation_eci_price_per_hour",
            "Price of an hour in the account's currency: of an instance type, or of vcpu or gib.",
            ("cluster", "instance_type", "market"),
            registry=registry,
        )
        self._rate = Gauge(
            "federation_eci_calls_per_second",
            "Calls that the agent allows itself at present; it is halved when ECI throttles.",
            ("cluster", "action"),
            registry=registry,
        )
        self._throttled = Gauge(
            "federation_eci_calls_throttled",
            "Calls that ECI threw back as too many since the agent began.",
            ("cluster", "action"),
            registry=registry,
        )

    def stock(self, cluster: str, instance_type: str, found: TypeStock) -> None:
        """Show where an instance type can be had."""
        for zone, has in found.zones.items():
            self._stock.labels(cluster, instance_type, zone).set(int(has))

    def prices(self, cluster: str, table: PriceTable) -> None:
        """Show what things cost."""
        for name, price in {"vcpu": table.cpu, "gib": table.memory, **table.types}.items():
            if price is not None:
                self._price.labels(cluster, name, "ordinary").set(price)
        for name, price in table.spot.items():
            self._price.labels(cluster, name, "spot").set(price)

    def calls(self, cluster: str, counts: Mapping[str, BudgetStatistics]) -> None:
        """Show how much may be called."""
        for action, count in counts.items():
            self._rate.labels(cluster, action).set(count.rate)
            self._throttled.labels(cluster, action).set(count.throttled)

    def left(self, cluster: str) -> None:
        """Another replica looks after that cluster."""
        for gauge in (self._stock, self._price, self._rate, self._throttled):
            gauge.remove_by_labels({"cluster": cluster})
