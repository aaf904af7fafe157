"""What is bought for a pod: a size, or instance types one of which it gets, and local storage.

In: what travels of a PodSpec, and the pool's policy. Out: a `Purchase`, from which also prices and
stock are asked. Rejected where nothing that ECI or the pool has is large enough.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from federation.backends.eci.parameters import Parameters
from federation.backends.eci.translate import limits
from federation.backends.eci.translate.policy import EciPolicy, InstanceType
from federation.backends.eci.translate.spec import Container, PodSpec, Resources
from federation.backends.eci.translate.specs import (
    Asked,
    Size,
    cpus,
    fitting,
    gibibytes,
    rounded,
    total,
)
from vnode.backend import Rejected
from vnode.kube.quantity import InvalidQuantity, Quantity

__all__ = ["Purchase", "asked_by", "purchase", "quantity", "upper_bounds"]

_STORAGE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a create asks for. ECI takes the first of the `types` that it has."""

    size: Size | None
    """Legal size by vCPU and memory; None: by `types`."""
    types: tuple[InstanceType, ...] = ()
    storage: int = 0
    """GiB beyond what every group has."""

    @property
    def least(self) -> Size:
        """What containers have at least, all together."""
        if self.size is not None:
            return self.size
        return Size(min(one.cpu for one in self.types), min(one.memory for one in self.types))


def purchase(spec: PodSpec, policy: EciPolicy, *, beside: Iterable[Resources] = ()) -> Purchase:
    """What is bought for this pod.

    Args:
        spec: of the pod.
        policy: of the virtual node's pool.
        beside: what containers are to have that others put into its group.

    Raises:
        Rejected: nothing of what can be bought is large enough; names the field.
    """
    asked = _with(_of_pod(spec, policy), beside)
    storage = max(0, math.ceil(asked.storage) - limits.EPHEMERAL_GIB)
    if storage > policy.extra_storage:
        raise _rejected(
            "spec.containers",
            f"{math.ceil(asked.storage)} GiB of {_STORAGE} are asked for, and there are "
            f"{limits.EPHEMERAL_GIB + policy.extra_storage}: ask for less, or raise the pool's",
        )
    if not asked.gpus and not policy.default_types:
        if (size := rounded(asked)) is None:
            raise _rejected(
                "spec.containers",
                f"{_said(asked)} is more than ECI's largest sizes (64 vCPU, 512 GiB) hold: ask for "
                "less",
            )
        return Purchase(size=size, storage=storage)
    offered, field = _offered(asked, spec, policy)
    types = fitting(offered, asked)[: limits.SPECS]
    if not types:
        raise _rejected(
            field,
            f"{_said(asked)} fits on none of this virtual node's instance types "
            f"({', '.join(one.name for one in offered) or 'it has none'}): ask for less, or have "
            "one added to the pool's configuration",
        )
    return Purchase(size=None, types=types, storage=storage)


def _offered(
    asked: Asked, spec: PodSpec, policy: EciPolicy
) -> tuple[tuple[InstanceType, ...], str]:
    """The instance types among which a pod chooses, and the field by which it does."""
    if not asked.gpus:
        return policy.default_types, "spec.containers"
    models = list(_models(spec, policy.gpu_label))
    if not models:
        return policy.default_gpu_types, "spec.containers"
    return (
        tuple(one for model in models for one in policy.gpu_types.get(model, ())),
        f"spec.nodeSelector[{policy.gpu_label}]",
    )


def _models(spec: PodSpec, label: str) -> Iterator[str]:
    """The GPU models that a pod asks for by nodeSelector, else by required node affinity."""
    if (model := spec.node_selector.get(label)) is not None:
        yield model
        return
    for term in spec.affinity.node_affinity.required.node_selector_terms:
        for one in term.match_expressions:
            if one.key == label and one.operator == "In":
                yield from one.values


def _of_pod(spec: PodSpec, policy: EciPolicy) -> Asked:
    asked = total(
        (asked_by(one, policy, where=where) for one, where in _listed("containers", spec)),
        before=(
            asked_by(one, policy, where=where) for one, where in _listed("initContainers", spec)
        ),
    )
    whole = _amounts(spec.resources, "spec.resources", policy)
    return Asked(
        cpu=asked.cpu if whole.cpu is None else whole.cpu,
        memory=asked.memory if whole.memory is None else whole.memory,
        gpus=asked.gpus,
        storage=asked.storage,
    )


def _with(asked: Asked, beside: Iterable[Resources]) -> Asked:
    """Besides what a pod says. One that says nothing gets the default for all of its group."""
    cpu, memory = asked.cpu, asked.memory
    for each in beside:
        amounts = {**each.requests, **each.limits}
        more_cpu, more_memory = (Quantity.parse(str(amounts.get(n, 0))) for n in ("cpu", "memory"))
        cpu = cpu if cpu is None else cpu + cpus(more_cpu)
        memory = memory if memory is None else memory + gibibytes(more_memory)
    return replace(asked, cpu=cpu, memory=memory)


def _listed(kind: str, spec: PodSpec) -> Iterator[tuple[Container, str]]:
    containers = spec.containers if kind == "containers" else spec.init_containers
    for index, container in enumerate(containers):
        yield container, f"spec.{kind}[{index}]"


def asked_by(container: Container, policy: EciPolicy, *, where: str) -> Asked:
    """What one container asks for: its limits where it has some, else its requests.

    Raises:
        Rejected: it asks for a resource that ECI does not have.
    """
    return _amounts(container.resources, f"{where}.resources", policy)


def _amounts(resources: Resources, where: str, policy: EciPolicy) -> Asked:
    amounts: dict[str, Quantity] = {}
    for kind, values in (("requests", resources.requests), ("limits", resources.limits)):
        for name, value in values.items():
            field = f"{where}.{kind}[{name}]"
            if name not in ("cpu", "memory", _STORAGE, policy.gpu_resource):
                raise _rejected(
                    field,
                    "this resource cannot be had on this virtual node (ECI): remove it, or steer "
                    "the pod to another virtual node",
                )
            amounts[name] = quantity(value, field)
    gpus = amounts.get(policy.gpu_resource, Quantity(0))
    if gpus.nanos % 10**9:
        raise _rejected(f"{where}.limits[{policy.gpu_resource}]", "must be a whole number")
    return Asked(
        cpu=_optional(amounts, "cpu"),
        memory=_optional(amounts, "memory"),
        gpus=gpus.nanos // 10**9,
        storage=gibibytes(amounts.get(_STORAGE, Quantity(0))),
    )


def _optional(amounts: Mapping[str, Quantity], name: str) -> Fraction | None:
    """Nothing and zero are the same: no size is asked for."""
    amount = amounts.get(name)
    if amount is None or not amount.nanos:
        return None
    return cpus(amount) if name == "cpu" else gibibytes(amount)


def upper_bounds(resources: Resources, where: str) -> Parameters:
    """Limits as ECI's upper bounds; without them containers share what the group has."""
    amounts = {
        name: quantity(value, f"{where}.limits[{name}]")
        for name, value in resources.limits.items()
        if name in ("cpu", "memory")
    }
    cpu, memory = amounts.get("cpu"), amounts.get("memory")
    return {
        "Cpu": float(cpus(cpu)) or None if cpu is not None else None,
        "Memory": float(gibibytes(memory)) or None if memory is not None else None,
    }


def quantity(value: str | int | float, field: str) -> Quantity:
    """An amount of a PodSpec. Raises Rejected with the field's name."""
    try:
        return Quantity.parse(str(value))
    except InvalidQuantity as error:
        raise _rejected(field, str(error)) from None


def _said(asked: Asked) -> str:
    parts = [
        f"{float(asked.cpu):g} vCPU" if asked.cpu is not None else "",
        f"{float(asked.memory):g} GiB of memory" if asked.memory is not None else "",
        f"{asked.gpus} GPUs" if asked.gpus else "",
    ]
    return ", ".join(filter(None, parts))


def _rejected(field: str, text: str) -> Rejected:
    return Rejected(f"{field}: {text}", field=field)
