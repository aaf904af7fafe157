"""Capacity from the nodes and pods of a compute cluster: what a pool really has left for us.

In: stores of all Nodes and all Pods of the cluster. Out, per resource:

    published = free on every node that takes pods of the pool + requests of our own bound pods

`free` is allocatable minus the requests of *all* bound pods, never below zero on any one node. Our
own are given back because the tenant's scheduler takes them off itself: it has the same pods bound
to the virtual node, wherever they run below. So a cordoned node takes away its free part, and not a
second time what our pods use there. "Ours" are the copies made for this one virtual node; those of
other tenants and of other pools count as foreign.

A cluster has many pods of others: what is of them is added and taken away as they come and go, and
a node's part of the sums follows when somebody asks for the sums. Nothing here can fail; quantities
that the API server sent are quantities.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from federation.backends.kubernetes.capacity.pool import Pool, shared_features, shared_labels
from federation.backends.kubernetes.capacity.requests import (
    RequestingPod,
    Resources,
    add,
    parse,
    pod_requests,
    raise_to,
    subtract,
)
from vnode.backend import Capacity
from vnode.kube.quantity import ZERO
from vnode.kube.types import ObjectKey, ObjectMeta
from vnode.node.objects import Node
from vnode.runtime.store import Change, Store

_ALWAYS = ("cpu", "memory", "pods")
"""Published as zero even while the pool has no node at all."""
_NOT_SCHEDULED = "attachable-volumes-"
"""Volume limits of old in-tree drivers, which do not add up over nodes."""


@dataclass(frozen=True, slots=True)
class _BoundPod:
    node: str
    own: bool
    requests: Resources


@dataclass(slots=True)
class _Account:
    """One compute node. `free` and `share` follow from the other fields when it is settled."""

    labels: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)
    features: list[str] = field(default_factory=list)
    exists: bool = False
    in_pool: bool = False
    takes_pods: bool = False
    own: Resources = field(default_factory=dict)
    foreign: Resources = field(default_factory=dict)
    free: Resources = field(default_factory=dict)
    share: Resources = field(default_factory=dict)
    """What the node adds to the published sums."""

    @property
    def facts(self) -> tuple[object, ...]:
        """What is read of the Node."""
        return self.labels, self.allocatable, self.features, self.in_pool, self.takes_pods

    def settle(self) -> None:
        """Make `free` and `share` follow."""
        free: Resources = {}
        if self.takes_pods:
            free = parse(self.allocatable)
            subtract(free, self.foreign)
            subtract(free, self.own)
            free = {name: rest for name, rest in free.items() if rest > ZERO}
        self.free = free
        self.share = dict(free)
        add(self.share, self.own)


class NodesCapacity:
    """Publishes what a pool's nodes have left, see the module.

    `is_own` tells from its metadata whether a pod is a copy made for this virtual node.
    """

    def __init__(
        self,
        nodes: Store[Node],
        pods: Store[RequestingPod],
        *,
        pool: Pool,
        is_own: Callable[[ObjectMeta], bool],
    ) -> None:
        self._nodes = nodes
        self._pods = pods
        self._pool = pool
        self._is_own = is_own
        self._accounts: dict[str, _Account] = {}
        self._unsettled: set[str] = set()
        self._bound: dict[ObjectKey, _BoundPod] = {}
        self._total: Resources = {}
        self._labels: dict[str, str] | None = {}
        self._listeners: list[Callable[[], None]] = []
        for node in nodes.values():
            self._node_changed(node.metadata.name, node)
        for pod in pods.values():
            self._pod_changed(pod.metadata.key, pod)
        nodes.subscribe(self._on_node)
        pods.subscribe(self._on_pod)

    @property
    def synced(self) -> bool:
        """Whether all nodes and pods of the cluster have been listed."""
        return self._nodes.synced() and self._pods.synced()

    def capacity(self) -> Capacity:
        """The sums as of now, what all nodes of the pool share, the largest slots."""
        while self._unsettled:
            self._settle(self._unsettled.pop())
        names = {*_ALWAYS, *self._total}
        largest: Resources = {}
        for account in self._accounts.values():
            if account.in_pool:
                names.update(account.allocatable)
            raise_to(largest, account.free)
        shown = sorted(name for name in names if not name.startswith(_NOT_SCHEDULED))
        return Capacity(
            allocatable={name: str(self._total.get(name, ZERO)) for name in shown},
            labels=self._shared_labels(),
            largest_free={name: str(largest.get(name, ZERO)) for name in shown},
            features=shared_features(self._in_pool()),
        )

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call `listener` when a figure, a shared label or feature may have changed."""
        self._listeners.append(listener)

    def _on_node(self, change: Change[Node]) -> None:
        if self._node_changed(change.key.name, change.new):
            self._notify()

    def _on_pod(self, change: Change[RequestingPod]) -> None:
        if self._pod_changed(change.key, change.new):
            self._notify()

    def _notify(self) -> None:
        for listener in self._listeners:
            listener()

    def _node_changed(self, name: str, node: Node | None) -> bool:
        account = self._accounts.setdefault(name, _Account())
        before = account.facts
        was_in_pool, labels = account.in_pool, account.labels
        account.exists = node is not None
        account.labels = node.metadata.labels if node else {}
        account.allocatable = node.status.allocatable if node else {}
        account.features = node.status.declared_features if node else []
        account.in_pool = node is not None and self._pool.contains(node)
        account.takes_pods = node is not None and self._pool.accepts_pods(node)
        heartbeat = before == account.facts
        if not (heartbeat and account.exists):
            self._unsettled.add(name)
        if heartbeat or not (account.in_pool or was_in_pool):
            return False
        if account.in_pool != was_in_pool or account.labels != labels:
            self._labels = None
        return True

    def _pod_changed(self, key: ObjectKey, pod: RequestingPod | None) -> bool:
        """Take note of a pod; returns whether a figure may have changed."""
        before, after = self._bound.get(key), self._bound_pod(pod)
        if before == after:
            return False
        if before is not None:
            del self._bound[key]
            subtract(self._used(before), before.requests)
        if after is not None:
            self._bound[key] = after
            add(self._used(after), after.requests)
        found = [bound for bound in (before, after) if bound is not None]
        self._unsettled.update(bound.node for bound in found)
        return any(bound.own or self._accounts[bound.node].takes_pods for bound in found)

    def _bound_pod(self, pod: RequestingPod | None) -> _BoundPod | None:
        if pod is None or not pod.spec.node_name:
            return None
        requests = pod_requests(pod.spec, pod.status)
        if not requests:
            return None
        return _BoundPod(pod.spec.node_name, self._is_own(pod.metadata), requests)

    def _used(self, pod: _BoundPod) -> Resources:
        account = self._accounts.setdefault(pod.node, _Account())
        return account.own if pod.own else account.foreign

    def _settle(self, name: str) -> None:
        """Let the sums follow one node; one of which nothing is left is forgotten."""
        account = self._accounts[name]
        share = account.share
        account.settle()
        if account.share != share:
            subtract(self._total, share)
            add(self._total, account.share)
        if not (account.exists or account.own or account.foreign):
            del self._accounts[name]

    def _shared_labels(self) -> dict[str, str]:
        if self._labels is None:
            self._labels = shared_labels(self._in_pool())
        return self._labels

    def _in_pool(self) -> Iterable[Node]:
        return (node for node in self._nodes.values() if self._pool.contains(node))
