"""Prices and stock, from the catalog. Prices are invented."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.eci.catalog import TYPES, size
from tests.eci.faults import Faults
from tests.eci.refusal import Refusal, invalid, missing

_SPOT = 5
"""A spot instance costs one of so many parts."""


def price(asked: Mapping[str, Any], *, region: str) -> dict[str, Any]:
    """The answer of DescribeContainerGroupPrice."""
    kind = asked.get("InstanceType", "")
    if kind and kind not in TYPES:
        raise invalid("InstanceType", "The instance type is unknown.")
    if not kind and not (asked.get("Cpu") and asked.get("Memory")):
        raise missing("InstanceType")
    sold = TYPES[kind] if kind else size(float(asked["Cpu"]), float(asked["Memory"]))
    shown = {"OriginalPrice": sold.price, "DiscountPrice": 0.0, "TradePrice": sold.price}
    spot = []
    if asked.get("SpotStrategy", "NoSpot") != "NoSpot":
        each = {"ZoneId": f"{region}-a", "InstanceType": kind, "OriginPrice": sold.price}
        spot.append({**each, "SpotPrice": sold.price / _SPOT})
    return {"PriceInfo": {"Price": {"Currency": "CNY", **shown}, "SpotPrices": {"SpotPrice": spot}}}


def stock(
    asked: Mapping[str, Any], *, region: str, zones: Sequence[str], faults: Faults
) -> dict[str, Any]:
    """The answer of DescribeAvailableResource, for instance types."""
    wanted = asked.get("DestinationResource", {})
    if not wanted.get("Category"):
        raise missing("DestinationResource.Category")
    if wanted["Category"] != "InstanceType":
        raise invalid("DestinationResource", "Only instance types are emulated.")
    kind = wanted.get("Value", "")
    if kind not in TYPES:
        raise Refusal("InvalidParameter.NotFound", "The instance type is unknown.", status=404)
    shown = []
    for zone in zones:
        gone = faults.sold_out(kind, zone)
        item = {"Value": kind, "StatusCategory": "WithoutStock" if gone else "WithStock"}
        resource = {"Type": "InstanceType", "SupportedResources": {"SupportedResource": [item]}}
        available = {"AvailableResource": [resource]}
        shown.append({"RegionId": region, "ZoneId": zone, "AvailableResources": available})
    return {"AvailableZones": {"AvailableZone": shown}}
