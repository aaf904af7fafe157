"""Capacity from the ResourceQuotas of the compute namespaces that this tenant uses.

In: a store of v1.ResourceQuota, of our namespaces only. Out: per resource the sum over namespaces
of what the strictest quota of each grants.

What is used already is not taken off: our own pods are taken off by the tenant's scheduler, which
has them bound to the virtual node, and of foreign pods in these namespaces we see nothing but
`status.used`, in which ours are mixed. Where platform pods eat from the same quota, a pod too many
is refused by the quota below and says so as its waiting reason.

Several pools over one namespace share its quota: see `shared_quota`. Quotas with scopes bind some
pods only and are left out.
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

from collections.abc import Callable, Iterable

from federation.backends.kubernetes.capacity.requests import Resources, add
from vnode.backend import Capacity
from vnode.kube.quantity import Quantity
from vnode.kube.types import APIObject, ObjectMeta
from vnode.runtime.store import Change, Store


class ScopeSelector(APIObject, frozen=True):
    """v1.ScopeSelector, of which we read only that it is there."""


class ResourceQuotaSpec(APIObject, frozen=True):
    """v1.ResourceQuotaSpec."""

    hard: dict[str, str] = {}
    scopes: list[str] = []
    scope_selector: ScopeSelector | None = None


class ResourceQuota(APIObject, frozen=True):
    """v1.ResourceQuota."""

    metadata: ObjectMeta
    spec: ResourceQuotaSpec = ResourceQuotaSpec()


_ALIASES = {
    "cpu": "cpu",
    "memory": "memory",
    "ephemeral-storage": "ephemeral-storage",
    "pods": "pods",
    "count/pods": "pods",
    # A request never exceeds its limit, so the sum of limits bounds the sum of requests too.
    "limits.cpu": "cpu",
    "limits.memory": "memory",
    "limits.ephemeral-storage": "ephemeral-storage",
}
_NOT_OF_NODES = (".storageclass.storage.k8s.io/", "deviceclass.resource.")


def node_resource(quota_key: str) -> str | None:
    """The node resource that a quota key bounds; None: none (objects, storage, claims)."""
    if quota_key in _ALIASES:
        return _ALIASES[quota_key]
    if any(part in quota_key for part in _NOT_OF_NODES):
        return None
    name = quota_key.removeprefix("requests.")
    if name.startswith("hugepages-"):
        return name
    if name == quota_key:  # count/…, services, persistentvolumeclaims, limits.…
        return None
    return name if "/" in name or name in _ALIASES else None


class QuotaCapacity:
    """Publishes what the quotas of our namespaces grant.

    A resource that no quota of a namespace names adds nothing for that namespace; one that is
    named nowhere is not published. `scopes` gives the store scopes that must be listed before the
    sum is complete (one per namespace, or "" for a watch of the whole cluster), and `complete` says
    whether it knows them all.
    """

    def __init__(
        self,
        quotas: Store[ResourceQuota],
        *,
        scopes: Callable[[], Iterable[str]],
        complete: Callable[[], bool] = lambda: True,
    ) -> None:
        self._quotas = quotas
        self._scopes = scopes
        self._complete = complete
        self._listeners: list[Callable[[], None]] = []
        quotas.subscribe(self._changed)

    @property
    def synced(self) -> bool:
        """Whether the quotas of all namespaces have been listed."""
        return self._complete() and all(self._quotas.synced(scope) for scope in self._scopes())

    def capacity(self) -> Capacity:
        """Sum over namespaces of the strictest quota of each."""
        namespaces: dict[str, Resources] = {}
        for quota in self._quotas.values():
            _tighten(namespaces.setdefault(quota.metadata.namespace, {}), quota)
        total: Resources = {}
        for granted in namespaces.values():
            add(total, granted)
        return Capacity(allocatable={name: str(total[name]) for name in sorted(total)})

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a quota appeared, went, or grants something else."""
        self._listeners.append(listener)

    def _changed(self, change: Change[ResourceQuota]) -> None:
        # Most changes are of status.used, with every pod; they do not concern us.
        if change.old is not None and change.new is not None and change.old.spec == change.new.spec:
            return
        for listener in self._listeners:
            listener()


def _tighten(granted: Resources, quota: ResourceQuota) -> None:
    if quota.spec.scopes or quota.spec.scope_selector is not None:
        return
    for key, text in quota.spec.hard.items():
        name = node_resource(key)
        if name is not None:
            bound = Quantity.parse(text)
            granted[name] = min(granted.get(name, bound), bound)
