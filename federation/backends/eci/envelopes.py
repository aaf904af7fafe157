"""The JSON around what the ECI API answers, one struct for each action.

The API wraps lists in objects of their own; nobody but `api` sees these. Decoded by msgspec.
"""

import msgspec

from federation.backends.eci.answers import SpotPrice

__all__ = [
    "Created",
    "Events",
    "Groups",
    "Log",
    "Named",
    "Nothing",
    "Prices",
    "Statuses",
    "Stock",
    "Usage",
]


class Groups(msgspec.Struct, frozen=True, rename="pascal"):
    """A page of DescribeContainerGroups; each item is a `Group`, read alone."""

    container_groups: tuple[msgspec.Raw, ...] = ()
    next_token: str | None = None


class Statuses(msgspec.Struct, frozen=True, rename="pascal"):
    """A page of DescribeContainerGroupStatus; each item is a `GroupStatus`, read alone."""

    data: tuple[msgspec.Raw, ...] = ()
    next_token: str | None = None


class Events(msgspec.Struct, frozen=True, rename="pascal"):
    """DescribeContainerGroupEvents; each item is a `GroupEvents`, read alone."""

    data: tuple[msgspec.Raw, ...] = ()
    next_token: str | None = None


class Named(msgspec.Struct, frozen=True, rename="pascal"):
    """Any item of a list, as far as it has to be read."""

    container_group_id: str


class Created(msgspec.Struct, frozen=True, rename="pascal"):
    """CreateContainerGroup."""

    container_group_id: str


class Log(msgspec.Struct, frozen=True, rename="pascal"):
    """DescribeContainerLog."""

    content: str = ""


class Nothing(msgspec.Struct, frozen=True):
    """Answers of which nothing is read."""


class Usage(msgspec.Struct, frozen=True, rename="pascal"):
    """ListUsage."""

    attributes: dict[str, msgspec.Raw] = {}


class TradePrice(msgspec.Struct, frozen=True, rename="pascal"):
    """A price."""

    currency: str = ""
    trade_price: float = 0.0
    original_price: float = 0.0


class SpotPrices(msgspec.Struct, frozen=True, rename="pascal"):
    """Prices of the spot market."""

    spot_price: tuple[SpotPrice, ...] = ()


class PriceInfo(msgspec.Struct, frozen=True, rename="pascal"):
    """Both."""

    price: TradePrice = msgspec.field(default_factory=TradePrice)
    spot_prices: SpotPrices = msgspec.field(default_factory=SpotPrices)


class Prices(msgspec.Struct, frozen=True, rename="pascal"):
    """DescribeContainerGroupPrice."""

    price_info: PriceInfo


class Supported(msgspec.Struct, frozen=True, rename="pascal"):
    """One instance type."""

    value: str = ""
    status_category: str = ""


class SupportedList(msgspec.Struct, frozen=True, rename="pascal"):
    """Several."""

    supported_resource: tuple[Supported, ...] = ()


class Resource(msgspec.Struct, frozen=True, rename="pascal"):
    """One kind of resource."""

    supported_resources: SupportedList = msgspec.field(default_factory=SupportedList)


class ResourceList(msgspec.Struct, frozen=True, rename="pascal"):
    """Several."""

    available_resource: tuple[Resource, ...] = ()


class Zone(msgspec.Struct, frozen=True, rename="pascal"):
    """One zone."""

    zone_id: str
    available_resources: ResourceList = msgspec.field(default_factory=ResourceList)


class ZoneList(msgspec.Struct, frozen=True, rename="pascal"):
    """Several."""

    available_zone: tuple[Zone, ...] = ()


class Stock(msgspec.Struct, frozen=True, rename="pascal"):
    """DescribeAvailableResource."""

    available_zones: ZoneList = msgspec.field(default_factory=ZoneList)
