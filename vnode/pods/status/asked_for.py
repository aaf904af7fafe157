"""A copy's status, narrowed to what its tenant pod asks for. Pure.

In: parts of a PodStatus as a kubelet below writes it, and the tenant pod. Out: the same without
what was added to the containers below: requests that a LimitRange has defaulted, devices and mounts
that a webhook has brought in. These are none of the tenant's. Its scheduler and its quotas would
count them, its users would find them nowhere in the spec, and for devices that it does not know its
API server would refuse the whole status.

What the API server would leave out as empty is left out here, so that the two compare equal.
"""

from collections.abc import Collection

import msgspec

from vnode.kube.types import JSON, JSONObject, Pod, object_in, objects_in

_NARROWED = frozenset(
    {"resources", "allocatedResources", "allocatedResourcesStatus", "volumeMounts"}
)


class _Resources(msgspec.Struct, frozen=True):
    limits: dict[str, msgspec.Raw] | None = None
    requests: dict[str, msgspec.Raw] | None = None


class _Mount(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    mount_path: str = ""


class _Container(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    resources: _Resources | None = None
    volume_mounts: list[_Mount] | None = None


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    containers: list[_Container] = []
    init_containers: list[_Container] = []
    ephemeral_containers: list[_Container] = []
    resources: _Resources | None = None


_SPEC = msgspec.json.Decoder(_Spec)
_NOTHING = _Container()


def containers(statuses: list[JSONObject], pod: Pod) -> list[JSONObject]:
    """ContainerStatuses of the tenant's containers with what these ask for."""
    if not any(_NARROWED & status.keys() for status in statuses):
        return statuses
    spec = _SPEC.decode(pod.spec)
    asked = {
        c.name: c for c in (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    }
    return [_container(status, asked.get(str(status.get("name")), _NOTHING)) for status in statuses]


def pod_level(below: JSONObject, pod: Pod) -> JSONObject:
    """`resources` and `allocatedResources` of the pod (KEP-5419), if it asks for some itself.

    Kubelets show the sums of the containers there for all other pods, and so what was added.
    """
    asked = _SPEC.decode(pod.spec).resources if "resources" in below else None
    if asked is None:
        return {"resources": None, "allocatedResources": None}
    return {
        "resources": _requirements(below.get("resources"), asked),
        "allocatedResources": _amounts(below.get("allocatedResources"), asked.requests) or None,
    }


def _container(status: JSONObject, asked: _Container) -> JSONObject:
    resources = asked.resources or _Resources()
    mounts = {(mount.name, mount.mount_path) for mount in asked.volume_mounts or ()}
    narrowed: JSONObject = {k: v for k, v in status.items() if k not in _NARROWED}
    if "resources" in status:
        # Empty is not missing: API servers take it for a sign that the node can resize.
        narrowed["resources"] = _requirements(status["resources"], resources)
    if amounts := _amounts(status.get("allocatedResources"), resources.requests):
        narrowed["allocatedResources"] = amounts
    if devices := [
        device
        for device in objects_in(status.get("allocatedResourcesStatus"))
        if device.get("name") in (resources.requests or ())
    ]:
        narrowed["allocatedResourcesStatus"] = [*devices]
    if shown := [
        mount
        for mount in objects_in(status.get("volumeMounts"))
        if (mount.get("name"), mount.get("mountPath")) in mounts
    ]:
        narrowed["volumeMounts"] = [*shown]
    return narrowed


def _requirements(below: JSON, asked: _Resources) -> JSONObject:
    has = object_in(below)
    amounts = {
        "limits": _amounts(has.get("limits"), asked.limits),
        "requests": _amounts(has.get("requests"), asked.requests),
    }
    return {name: amount for name, amount in amounts.items() if amount}


def _amounts(below: JSON, asked: Collection[str] | None) -> JSONObject:
    return {name: amount for name, amount in object_in(below).items() if name in (asked or ())}
