"""A node that attracts pods which cannot start is closed for what they wait for.

In: any capacity source, and the store of our compute pods. Out: the source's capacity, but while
the compute scheduler finds one of our pods Unschedulable for want of a resource, no more of that
resource than our pods have asked for already: to the tenant's scheduler nothing of it is free.
It opens again when that pod starts or goes. Sums over nodes hide fragmentation and quotas hide
other tenants, so without this one node could swallow a whole queue.

A pod on an ECI node has its node at once and waits there. Where the instance that it needs is out
of stock, the extended resources that it asks for are full, else the CPUs.
"""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from federation.backends.kubernetes.capacity.requests import (
    RequestSpec,
    RequestStatus,
    Resources,
    add,
    pod_requests,
    subtract,
)
from vnode.backend import Capacity, CapacitySource
from vnode.kube.quantity import ZERO, Notation, Quantity
from vnode.kube.types import ObjectKey, ObjectMeta, Pod
from vnode.runtime.store import Change, Store

_SPEC = msgspec.json.Decoder(RequestSpec)
_STATUS = msgspec.json.Decoder(RequestStatus)
_INSUFFICIENT = re.compile(r"\bInsufficient ([A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?)")
_TOO_MANY_PODS = "Too many pods"
_INSTANCE = "ContainerInstanceCreated"
_GIVEN_UP = "ContainerInstanceScheduleFailed"
"""Reason of a pod for which ECI does not try again: nothing is known of the stock of now."""
_OUT_OF_STOCK = ("NoStock", "StockExhaust", "StockClose")


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one of our pods has asked for, and for want of what it waits."""

    requests: Resources
    waits_for: frozenset[str]


@functools.lru_cache(maxsize=4096)
def _shared(amounts: tuple[tuple[str, int, Notation], ...], waits_for: frozenset[str]) -> _Claim:
    """The same claim for all pods that ask for the same, and most of a cluster do."""
    return _Claim({name: Quantity(nanos, notation) for name, nanos, notation in amounts}, waits_for)


def waits_for(spec: RequestSpec, status: RequestStatus) -> frozenset[str]:
    """Resources of which kube-scheduler (or Volcano, or ECI) found too little for this pod."""
    if spec.node_name:
        return _out_of_stock(spec, status)
    missing: set[str] = set()
    for condition in status.conditions:
        if condition.type != "PodScheduled" or condition.reason != "Unschedulable":
            continue
        missing.update(_INSUFFICIENT.findall(condition.message))
        if _TOO_MANY_PODS in condition.message:
            missing.add("pods")
    return frozenset(missing)


def _out_of_stock(spec: RequestSpec, status: RequestStatus) -> frozenset[str]:
    """What the instance of a pod would be bought for, if ECI does not have it now."""
    sold_out = any(
        condition.type == _INSTANCE
        and condition.status == "False"
        and condition.reason.endswith(_OUT_OF_STOCK)
        for condition in status.conditions
    )
    if not sold_out or status.phase != "Pending" or status.reason == _GIVEN_UP:
        return frozenset()
    asked = pod_requests(spec, status)
    extended = frozenset(name for name in asked if "/" in name)
    return extended or frozenset({"cpu"})


class NoBlackHole:
    """Closes a virtual node for resources that one of its pods waits for below.

    `is_own` tells from its metadata whether a compute pod is a copy made for this virtual node.
    """

    def __init__(
        self,
        source: CapacitySource,
        pods: Store[Pod],
        *,
        is_own: Callable[[ObjectMeta], bool],
    ) -> None:
        self._source = source
        self._is_own = is_own
        self._claims: dict[ObjectKey, _Claim] = {}
        self._asked: Resources = {}
        self._waiting: dict[str, int] = {}
        self._listeners: list[Callable[[], None]] = []
        for pod in pods.values():
            self._update(pod.metadata.key, pod)
        pods.subscribe(self._on_pod)

    @property
    def synced(self) -> bool:
        """Whether the source is."""
        return self._source.synced

    def capacity(self) -> Capacity:
        """The source's capacity without what is waited for."""
        found = self._source.capacity()
        closed = {
            name: str(self._asked.get(name, ZERO))
            for name in self._waiting
            if name in found.allocatable
            and self._asked.get(name, ZERO) < Quantity.parse(found.allocatable[name])
        }
        if not closed:
            return found
        return replace(found, allocatable={**found.allocatable, **closed})

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the source changed, or what our pods wait for."""
        self._listeners.append(listener)
        self._source.subscribe(listener)

    def _on_pod(self, change: Change[Pod]) -> None:
        was_closed = bool(self._waiting)
        if self._update(change.key, change.new) and (was_closed or self._waiting):
            for listener in self._listeners:
                listener()

    def _update(self, key: ObjectKey, pod: Pod | None) -> bool:
        before, after = self._claims.get(key), self._claim(pod)
        if before == after:
            return False
        if before is not None:
            del self._claims[key]
            subtract(self._asked, before.requests)
            for name in before.waits_for:
                self._waiting[name] -= 1
                if not self._waiting[name]:
                    del self._waiting[name]
        if after is not None:
            self._claims[key] = after
            add(self._asked, after.requests)
            for name in after.waits_for:
                self._waiting[name] = self._waiting.get(name, 0) + 1
        return True

    def _claim(self, pod: Pod | None) -> _Claim | None:
        if pod is None or not self._is_own(pod.metadata):
            return None
        spec, status = _SPEC.decode(pod.spec), _STATUS.decode(pod.status)
        requests = pod_requests(spec, status)
        amounts = tuple((name, q.nanos, q.notation) for name, q in requests.items())
        return _shared(amounts, waits_for(spec, status)) if requests else None
