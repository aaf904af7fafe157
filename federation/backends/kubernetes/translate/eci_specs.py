"""Which instances of ECI a pod gets, as ECI nodes of a compute cluster read it. Pure.

In: a tenant's PodSpec and the pool's table. Out: annotations of the copy, which count when it is
made and never again ("ECI Pod Annotation", alibabacloud.com/help). A pod asks for a GPU model as on
any node: by a nodeSelector, or a required node affinity, on the label that names the model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from federation.backends.translation.rules import Refused
from vnode.kube.quantity import ZERO, InvalidQuantity, Quantity
from vnode.kube.types import JSON, JSONObject, object_in, objects_in

__all__ = ["GPU_DRIVER", "MOST_SPECS", "USE_SPECS", "EciSpecs", "spec_annotations"]

USE_SPECS = "k8s.aliyun.com/eci-use-specs"
GPU_DRIVER = "k8s.aliyun.com/eci-gpu-driver-version"
MOST_SPECS = 5
"""ECI takes no more of them; the first that is in stock is bought."""


@dataclass(frozen=True, kw_only=True)
class EciSpecs:
    """The table of one pool. Specs are `2-4Gi` (vCPU, memory) or types such as `ecs.c6.large`."""

    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "nvidia.com/gpu.product"
    by_model: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """GPU model -> specs, the most wanted first."""
    for_gpus: tuple[str, ...] = ()
    """For pods with GPUs that name no model; none: they are rejected."""
    for_others: tuple[str, ...] = ()
    """For pods without GPUs; none: by what they ask for."""
    gpu_driver: str = ""


def spec_annotations(source: JSONObject, specs: EciSpecs) -> dict[str, str]:
    """What says the specs of this pod's instance.

    Raises:
        Refused: it asks for GPUs that the table does not have; names the field.
    """
    if not _asks_for(source, specs.gpu_resource):
        return {USE_SPECS: ",".join(specs.for_others)} if specs.for_others else {}
    found = _of_gpus(source, specs)
    driver = {GPU_DRIVER: specs.gpu_driver} if specs.gpu_driver else {}
    return {USE_SPECS: ",".join(found[:MOST_SPECS]), **driver}


def _of_gpus(source: JSONObject, specs: EciSpecs) -> tuple[str, ...]:
    models = list(_models(source, specs.gpu_label))
    if not models:
        if specs.for_gpus:
            return specs.for_gpus
        raise _refused(
            ".nodeSelector",
            f"names no GPU model; add {specs.gpu_label}, which this virtual node has for "
            f"{_listed(specs)}",
        )
    found = tuple(spec for model in models for spec in specs.by_model.get(model, ()))
    if not found:
        raise _refused(
            f".nodeSelector[{specs.gpu_label}]",
            f"this virtual node has no instances with GPUs of model {', '.join(models)}, but for "
            f"{_listed(specs)}",
        )
    return found


def _models(source: JSONObject, label: str) -> Iterator[str]:
    """The models that a pod asks for by nodeSelector, else by required node affinity."""
    if (model := object_in(source.get("nodeSelector")).get(label)) is not None:
        yield str(model)
        return
    node = object_in(object_in(source.get("affinity")).get("nodeAffinity"))
    required = object_in(node.get("requiredDuringSchedulingIgnoredDuringExecution"))
    for term in objects_in(required.get("nodeSelectorTerms")):
        for one in objects_in(term.get("matchExpressions")):
            values = one.get("values")
            if one.get("key") == label and one.get("operator") == "In" and isinstance(values, list):
                yield from map(str, values)


def _asks_for(source: JSONObject, resource: str) -> bool:
    containers = (*objects_in(source.get("containers")), *objects_in(source.get("initContainers")))
    return any(
        _is_some(object_in(object_in(container.get("resources")).get(kind)).get(resource))
        for container in containers
        for kind in ("limits", "requests")
    )


def _is_some(amount: JSON) -> bool:
    try:
        return amount is not None and Quantity.parse(str(amount)) > ZERO
    except InvalidQuantity:
        return False  # The compute API server refuses it by name.


def _listed(specs: EciSpecs) -> str:
    return ", ".join(sorted(specs.by_model)) or "none"


def _refused(segment: str, text: str) -> Refused:
    refused = Refused(text)
    refused.inside(segment)
    return refused
