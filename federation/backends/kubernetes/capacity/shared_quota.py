"""One quota behind several virtual nodes: none shows what pods of the others have taken.

In: what the quotas grant, and the store of our compute pods. Out: the grant without the requests of
copies that were made for other virtual nodes of the same cluster. The node's own pods are taken off
by the tenant's scheduler, so all nodes together never offer more than the quotas leave. The figures
of a node follow with its next update; pods that two nodes accept within that time wait below with
reason `QuotaExceeded` and are tried again.
"""

from collections.abc import Callable

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
from vnode.kube.quantity import ZERO, Quantity
from vnode.kube.types import ObjectKey, ObjectMeta, Pod
from vnode.runtime.store import Change, Store

_SPEC = msgspec.json.Decoder(RequestSpec)
_STATUS = msgspec.json.Decoder(RequestStatus)


class SharedQuota:
    """A quota without what other virtual nodes use of it.

    `is_others` tells from its metadata whether a compute pod is a copy of ours that was made for
    another virtual node.
    """

    def __init__(
        self,
        quota: CapacitySource,
        pods: Store[Pod],
        *,
        is_others: Callable[[ObjectMeta], bool],
    ) -> None:
        self._quota = quota
        self._is_others = is_others
        self._requests: dict[ObjectKey, Resources] = {}
        self._taken: Resources = {}
        self._listeners: list[Callable[[], None]] = []
        for pod in pods.values():
            self._update(pod.metadata.key, pod)
        pods.subscribe(self._on_pod)

    @property
    def synced(self) -> bool:
        """Whether the quota is."""
        return self._quota.synced

    def capacity(self) -> Capacity:
        """What is left of the grant; never negative."""
        granted = self._quota.capacity().allocatable
        left = {
            name: text
            if name not in self._taken
            else str(max(ZERO, Quantity.parse(text) - self._taken[name]))
            for name, text in granted.items()
        }
        return Capacity(allocatable=left)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the quota changed, or what others take of it."""
        self._listeners.append(listener)
        self._quota.subscribe(listener)

    def _on_pod(self, change: Change[Pod]) -> None:
        if self._update(change.key, change.new):
            for listener in self._listeners:
                listener()

    def _update(self, key: ObjectKey, pod: Pod | None) -> bool:
        before = self._requests.get(key, {})
        after: Resources = {}
        if pod is not None and self._is_others(pod.metadata):
            after = pod_requests(_SPEC.decode(pod.spec), _STATUS.decode(pod.status))
        if before == after:
            return False
        subtract(self._taken, before)
        add(self._taken, after)
        if after:
            self._requests[key] = after
        else:
            del self._requests[key]
        return True
