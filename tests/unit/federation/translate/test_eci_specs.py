"""Which instances of ECI a pod gets on ECI nodes of a compute cluster."""

from collections.abc import Mapping

import pytest

from federation.backends.kubernetes.translate.eci_specs import (
    GPU_DRIVER,
    USE_SPECS,
    EciSpecs,
    spec_annotations,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.unit.federation.translate.builders import (
    make_container,
    make_pod,
    make_spec,
    translated,
)
from vnode.backend import Rejected
from vnode.kube.types import JSON, JSONObject, object_in

LABEL = "nvidia.com/gpu.product"
A10 = ("ecs.gn7i-c8g1.2xlarge", "ecs.gn7i-c16g1.4xlarge")
SPECS = EciSpecs(
    by_model={"A10": A10, "T4": ("ecs.gn6i-c4g1.xlarge",)},
    for_others=("2-4Gi", "4-8Gi"),
    gpu_driver="tesla=535",
)


def spec(*, gpus: str = "", **fields: JSON) -> JSONObject:
    resources: JSON = {"limits": {"nvidia.com/gpu": gpus}} if gpus else {}
    return object_in(make_spec(containers=[make_container(resources=resources)], **fields))


def copied(
    fields: JSONObject, *, specs: EciSpecs = SPECS, overlay: Mapping[str, str] | None = None
) -> Mapping[str, JSON]:
    policy = TranslationPolicy(eci=specs, overlay_annotations=overlay or {})
    return object_in(translated(make_pod(fields), policy)["metadata"]["annotations"])


def test_the_gpu_model_chooses_the_instance_types() -> None:
    found = copied(spec(gpus="1", nodeSelector={LABEL: "A10"}))
    assert found[USE_SPECS] == ",".join(A10)
    assert found[GPU_DRIVER] == "tesla=535"


def test_models_of_a_required_affinity_are_tried_in_their_order() -> None:
    term: JSON = {"key": LABEL, "operator": "In", "values": ["T4", "A10"]}
    required: JSON = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
    affinity: JSON = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    found = spec_annotations(spec(gpus="1", affinity=affinity), SPECS)
    assert found[USE_SPECS].split(",") == ["ecs.gn6i-c4g1.xlarge", *A10]


def test_a_model_that_nobody_sells_is_rejected_by_the_fields_name() -> None:
    with pytest.raises(Rejected, match="A10, T4") as refused:
        copied(spec(gpus="1", nodeSelector={LABEL: "H100"}))
    assert refused.value.field == f"spec.nodeSelector[{LABEL}]"


def test_a_pod_that_names_no_model_gets_the_pools_or_is_rejected() -> None:
    with pytest.raises(Rejected):
        copied(spec(gpus="1"))
    found = copied(spec(gpus="1"), specs=EciSpecs(for_gpus=A10))
    assert found[USE_SPECS] == ",".join(A10)


@pytest.mark.parametrize("gpus", ["", "0"])
def test_a_pod_without_gpus_needs_no_model(gpus: str) -> None:
    found = copied(spec(gpus=gpus))
    assert found[USE_SPECS] == "2-4Gi,4-8Gi"
    assert GPU_DRIVER not in found
    assert USE_SPECS not in copied(spec(gpus=gpus), specs=EciSpecs())


def test_the_overlay_counts_more_than_the_table() -> None:
    found = copied(spec(), overlay={USE_SPECS: "8-16Gi"})
    assert found[USE_SPECS] == "8-16Gi"
