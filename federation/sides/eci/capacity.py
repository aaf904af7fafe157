"""What a virtual node of an ECI account offers: its configured limits, less what is sold out.

In: the pool's limits, the stock of its instance types, the pods that were last refused for want of
stock, and the tenant's pods of the node. Out: `Capacity`. What is sold out is shown as no more than
pods have asked for already, so that to the tenant's scheduler nothing of it is free, as other
virtual nodes do where a pod finds no room (`capacity.black_hole`): GPUs where every instance type
with GPUs is sold out, or a pod that asks for some waits; else the CPUs. It opens with the stock, or
when that pod starts or goes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import chain

import msgspec

from federation.backends.eci.stock import Stock
from federation.backends.kubernetes.capacity.requests import (
    RequestSpec,
    RequestStatus,
    Resources,
    add,
    pod_requests,
    subtract,
)
from federation.backends.static_capacity import StaticCapacity
from federation.config import EciPoolConfig
from vnode.backend import Capacity
from vnode.kube.quantity import ZERO, Quantity
from vnode.kube.types import UID, NodeName, Pod
from vnode.runtime.store import Change, Store

__all__ = ["EciCapacity"]

_SPEC = msgspec.json.Decoder(RequestSpec)
_STATUS = msgspec.json.Decoder(RequestStatus)
_CPU = "cpu"


class EciCapacity:
    """A `CapacitySource` for one virtual node."""

    def __init__(
        self,
        pool: EciPoolConfig,
        *,
        node: NodeName,
        pods: Store[Pod],
        stock: Stock,
        refused: set[UID],
    ) -> None:
        """`refused`: tenant pods whose last create found no stock. It changes under us; those that
        are not there any more are taken out.
        """
        self._pool = pool
        self._node = node
        self._pods = pods
        self._stock = stock
        self._refused = refused
        self._limits = StaticCapacity(pool.limits)
        self._with_gpus = {*pool.default_gpu_types, *chain.from_iterable(pool.gpu_types.values())}
        self._asked: dict[UID, Resources] = {}
        """What each pod of the node asks for."""
        self._bound: Resources = {}
        """All of that."""
        self._closed: Mapping[str, str] = {}
        self._listeners: list[Callable[[], None]] = []
        for pod in pods.values():
            self._count(None, pod)
        pods.subscribe(self._pod_changed)
        stock.subscribe(self.look)

    @property
    def synced(self) -> bool:
        """Always: until more is known all of it is offered."""
        return True

    def capacity(self) -> Capacity:
        """The limits, but for what is sold out."""
        found = self._limits.capacity()
        if not self._closed:
            return found
        return replace(found, allocatable={**found.allocatable, **self._closed})

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when something is sold out, or is not any more."""
        self._listeners.append(listener)

    def look(self) -> None:
        """Judge again: stock, or what pods were told of it, has changed."""
        closed = self._judge()
        if closed != self._closed:
            self._closed = closed
            for listener in self._listeners:
                listener()

    def _pod_changed(self, change: Change[Pod]) -> None:
        if self._count(change.old, change.new) and (self._closed or self._refused):
            self.look()

    def _count(self, old: Pod | None, new: Pod | None) -> bool:
        """Take a pod into account; returns whether that changes anything."""
        before = {} if old is None else self._asked.pop(old.metadata.uid, {})
        after = {} if new is None else self._requests(new)
        subtract(self._bound, before)
        add(self._bound, after)
        if new is not None and after:
            self._asked[new.metadata.uid] = after
        elif (
            old is not None and before
        ):  # Not one of another virtual node's, which may be of this account too.
            self._refused.discard(old.metadata.uid)
        return before != after

    def _requests(self, pod: Pod) -> Resources:
        spec = _SPEC.decode(pod.spec)
        return (
            pod_requests(spec, _STATUS.decode(pod.status)) if spec.node_name == self._node else {}
        )

    def _judge(self) -> dict[str, str]:
        pool, names = self._pool, set[str]()
        if self._stock.sold_out(self._with_gpus):
            names.add(pool.gpu_resource)
        if self._stock.sold_out(pool.types):
            names.add(_CPU)
        for uid in self._refused & self._asked.keys():
            names.add(pool.gpu_resource if pool.gpu_resource in self._asked[uid] else _CPU)
        return {
            name: str(min(self._bound.get(name, ZERO), Quantity.parse(pool.limits[name])))
            for name in names
            if name in pool.limits
        }
