"""What a pod takes from a node, counted as kube-scheduler counts it. Pure.

In: the few fields of a v1.Pod that matter, which the structs here decode and keep (all pods of a
cluster are held in memory). Out: quantities by resource name. The rules are those of
k8s.io/component-helpers `resource.PodRequests` v0.36: KEP-753 (sidecars), KEP-1287 (in-place
resize), KEP-2837 (pod-level resources), KEP-688 (overhead).
"""
# ruff: noqa: RUF012 - msgspec copies these defaults for every object

import functools
from collections.abc import Mapping
from typing import TypeAlias

from vnode.kube.quantity import ZERO, Quantity
from vnode.kube.types import APIObject, ObjectMeta

Resources: TypeAlias = dict[str, Quantity]
"""Quantities by resource name. Values are not changed in place where others hold them."""

TAKES_FROM_A_NODE = "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"
"""Field selector of the pods that count: bound, and not ended."""
_ONE = Quantity.of(1)
_parse = functools.lru_cache(maxsize=4096)(Quantity.parse)
"""Most pods of a cluster ask for one of a few amounts."""


class ResourceRequirements(APIObject, frozen=True):
    """v1.ResourceRequirements: the requests (limits are defaulted into them by the API server)."""

    requests: dict[str, str] = {}


class RequestingContainer(APIObject, frozen=True):
    """v1.Container as far as it takes resources."""

    name: str = ""
    resources: ResourceRequirements = ResourceRequirements()
    restart_policy: str = ""


class RequestSpec(APIObject, frozen=True):
    """v1.PodSpec as far as it takes resources."""

    node_name: str = ""
    containers: list[RequestingContainer] = []
    init_containers: list[RequestingContainer] = []
    overhead: dict[str, str] = {}
    resources: ResourceRequirements = ResourceRequirements()


class ContainerResourceStatus(APIObject, frozen=True):
    """v1.ContainerStatus as far as it takes resources."""

    name: str = ""
    resources: ResourceRequirements | None = None
    allocated_resources: dict[str, str] = {}


class RequestCondition(APIObject, frozen=True):
    """v1.PodCondition."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class RequestStatus(APIObject, frozen=True):
    """v1.PodStatus as far as it takes resources."""

    phase: str = ""
    reason: str = ""
    conditions: list[RequestCondition] = []
    container_statuses: list[ContainerResourceStatus] = []
    init_container_statuses: list[ContainerResourceStatus] = []


class RequestingPod(APIObject, frozen=True):
    """v1.Pod as far as it takes resources: what a reflector of a whole cluster's pods keeps."""

    metadata: ObjectMeta
    spec: RequestSpec = RequestSpec()
    status: RequestStatus = RequestStatus()

    def __repr__(self) -> str:
        return f"RequestingPod({self.metadata.key})"


def pod_requests(spec: RequestSpec, status: RequestStatus) -> Resources:
    """Everything that one pod takes, one of `pods` included; nothing once it has ended."""
    if status.phase in ("Succeeded", "Failed"):
        return {}
    statuses = {s.name: s for s in (*status.container_statuses, *status.init_container_statuses)}
    infeasible = any(
        c.type == "PodResizePending" and c.status == "True" and c.reason == "Infeasible"
        for c in status.conditions
    )

    def of(container: RequestingContainer) -> Resources:
        return _container_requests(container, statuses.get(container.name), infeasible=infeasible)

    total: Resources = {}
    for container in spec.containers:
        add(total, of(container))
    sidecars: Resources = {}
    during_init: Resources = {}
    for container in spec.init_containers:
        own = of(container)
        if container.restart_policy == "Always":
            add(total, own)
            add(sidecars, own)
            own = sidecars
        else:
            add(own, sidecars)
        raise_to(during_init, own)
    raise_to(total, during_init)
    for name, text in spec.resources.requests.items():
        if name in ("cpu", "memory") or name.startswith("hugepages-"):
            total[name] = _parse(text)
    add(total, parse(spec.overhead))
    total["pods"] = _ONE
    return total


def parse(resources: Mapping[str, str]) -> Resources:
    """Quantities from their text."""
    return {name: _parse(text) for name, text in resources.items()}


def add(total: Resources, more: Mapping[str, Quantity]) -> None:
    """Add `more` to `total`."""
    for name, quantity in more.items():
        total[name] = total.get(name, ZERO) + quantity


def subtract(total: Resources, less: Mapping[str, Quantity]) -> None:
    """Take `less` from `total`; what becomes exactly zero goes."""
    for name, quantity in less.items():
        rest = total.get(name, ZERO) - quantity
        if rest == ZERO:
            total.pop(name, None)
        else:
            total[name] = rest


def raise_to(total: Resources, least: Mapping[str, Quantity]) -> None:
    """Raise every quantity of `total` to at least that of `least`."""
    for name, quantity in least.items():
        total[name] = max(total.get(name, quantity), quantity)


def _container_requests(
    container: RequestingContainer, status: ContainerResourceStatus | None, *, infeasible: bool
) -> Resources:
    """While a resize is under way the largest of asked, allocated and actual counts."""
    if status is None:
        return parse(container.resources.requests)
    actual = parse(status.resources.requests) if status.resources else {}
    largest = parse(status.allocated_resources)
    raise_to(largest, actual)
    if not infeasible or not largest:
        raise_to(largest, parse(container.resources.requests))
    return largest
