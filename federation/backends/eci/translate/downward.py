"""What a pod may learn of itself: fields and resources, as text that never changes afterwards.

In: a field path or resource name of a tenant pod. Out: its value as a kubelet would give it, or
`ADDRESS`, which only ECI knows, once the group has one. Labels and annotations are those of the
time of creation: nothing in a group can be changed later. Unknown ones raise `Refused`.
"""

import re
from enum import Enum
from typing import Final

from federation.backends.eci.translate.spec import Container, PodSpec, ResourceField
from federation.backends.eci.translate.specs import Size
from federation.backends.translation.downward import format_map
from federation.backends.translation.rules import Refused
from vnode.backend import PodRequest
from vnode.kube.quantity import InvalidQuantity, Quantity

__all__ = ["ADDRESS", "Address", "check_field", "field", "resource"]


class Address(Enum):
    """The pod's own address."""

    IP = "status.podIP"


ADDRESS: Final = Address.IP

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
_MAPS = ("metadata.labels", "metadata.annotations")
_META = ("metadata.name", "metadata.namespace", "metadata.uid")
_ADDRESSES = ("status.podIP", "status.podIPs")
_IN_ENV = (
    *_META,
    *_ADDRESSES,
    "spec.nodeName",
    "spec.host",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
)
_RESOURCE = re.compile(r"(limits|requests)\.(cpu|memory|ephemeral-storage)")
_MILLI, _ONE = 10**6, 10**9


def check_field(path: str, *, volume: bool) -> None:
    """Refuse a field path that has no answer here.

    Raises:
        Refused: it is not known, or not in files.
    """
    if path in (_META + _MAPS if volume else _IN_ENV) or _SUBSCRIPT.fullmatch(path):
        return
    raise Refused(f"field path {path!r} is not supported by this virtual node")


def field(path: str, request: PodRequest, spec: PodSpec) -> str | Address:
    """The value of a field that `check_field` let pass."""
    metadata = request.pod.metadata
    if path in _ADDRESSES:
        return ADDRESS
    maps = {"labels": metadata.labels, "annotations": metadata.annotations}
    if found := _SUBSCRIPT.fullmatch(path):
        return maps[found[1]].get(found[2], "")
    if path in _MAPS:
        return format_map(maps[path.removeprefix("metadata.")])
    values: dict[str, str] = {
        "metadata.name": metadata.name,
        "metadata.namespace": metadata.namespace,
        "metadata.uid": metadata.uid,
        "spec.serviceAccountName": spec.service_account_name,
        "status.hostIP": request.host_ip,
        "status.hostIPs": request.host_ip,
    }
    return values.get(path, request.node)


def resource(wanted: ResourceField, container: Container, least: Size) -> str:
    """A container's limit or request in units of the divisor, rounded up.

    A limit that is not set is what the whole group has at `least`, as it is the node's elsewhere.

    Raises:
        Refused: the resource is not known, or the divisor no amount.
    """
    known = _RESOURCE.fullmatch(wanted.resource)
    if known is None:
        raise Refused(f"resource {wanted.resource!r} is not supported by this virtual node")
    kind, name = known.groups()
    amounts = container.resources
    value = amounts.limits.get(name)
    if kind == "requests":
        value = amounts.requests.get(name, value)
    try:
        divisor = Quantity.parse(str(wanted.divisor or "1"))
        amount = None if value is None else Quantity.parse(str(value))
    except InvalidQuantity as error:
        raise Refused(str(error)) from None
    if amount is None:
        amount = Quantity(0) if kind == "requests" else _whole(name, least)
    # CPU is counted in thousandths, all else in ones, as k8s.io/kubernetes pkg/api/v1/resource.
    unit = _MILLI if name == "cpu" else _ONE
    share = max(1, -(-(divisor.nanos or _ONE) // unit))
    units = -(-amount.nanos // unit)
    return str(-(-units // share))


def _whole(name: str, least: Size) -> Quantity:
    if name == "cpu":
        return Quantity(int(least.cpu * _ONE))
    gib = least.memory if name == "memory" else 30
    return Quantity(int(gib * (1 << 30)) * _ONE)
