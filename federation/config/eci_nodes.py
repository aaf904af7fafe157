"""What stands under `pools[].eciNodes`: pods of a pool that run on ECI nodes of an ACK cluster.

In: validated scalars. Out: a frozen model, and the labels and annotations that it stands for. They
are those whose names stand in Alibaba Cloud's page "ECI Pod Annotation"; any other can be written
into `pools[].overlay`, which counts more.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from federation.backends.kubernetes.translate.eci_specs import MOST_SPECS, EciSpecs
from federation.config.eci import SpotConfig
from federation.config.values import LabelKey, LabelValue, Misfit, Section, refuse

_PREFIX = "k8s.aliyun.com/"
_ON_ECI = "alibabacloud.com/eci"
_SPEC = r"(ecs\.[a-z0-9.-]+|[0-9]+(\.[0-9]+)?-[0-9]+(\.[0-9]+)?Gi)"

EciSpec = Annotated[str, StringConstraints(pattern=rf"^{_SPEC}$")]
"""`2-4Gi` (vCPU and memory), or an ECS instance type such as `ecs.gn6i-c4g1.xlarge`."""


class FailStrategy(enum.StrEnum):
    """What ECI does when it cannot make an instance."""

    FAIL_BACK = "fail-back"
    FAIL_FAST = "fail-fast"


class EciNodesConfig(Section):
    """Pods of the pool run on ECI nodes of the compute cluster (ACK, ASK)."""

    gpu_label: LabelKey = "nvidia.com/gpu.product"
    """Label of virtual nodes that names a GPU model, by which pods ask for one."""
    gpu_resource: LabelKey = "nvidia.com/gpu"
    gpu_specs: Mapping[LabelValue, tuple[EciSpec, ...]] = Field(default_factory=dict)
    """GPU model -> specs, the most wanted first; pods that ask for another model are rejected."""
    default_gpu_specs: tuple[EciSpec, ...] = Field(default=(), max_length=MOST_SPECS)
    """For pods with GPUs that name no model. Without, the pool's own label `gpuLabel` counts, and
    pods are rejected where it has none."""
    specs: tuple[EciSpec, ...] = Field(default=(), max_length=MOST_SPECS)
    """For pods without GPUs; none: by what they ask for."""
    gpu_driver: str | None = None
    """Such as tesla=535; null: ECI's choice."""
    spot: SpotConfig | None = None
    """null: instances at the ordinary price."""
    fail_strategy: FailStrategy = FailStrategy.FAIL_BACK
    """fail-back: ECI tries again until it has an instance; fail-fast: it does not, and the pod
    waits with reason ContainerInstanceScheduleFailed."""
    max_pending_minutes: int | None = Field(default=None, ge=10, le=1440)
    """Minutes after which ECI ends an instance that does not start; null: ECI's 240."""
    image_cache: bool = False
    """true: use whatever image cache of the account fits."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse("eciNodes", self._misfits())
        return self

    def _misfits(self) -> Iterator[Misfit]:
        for model, specs in self.gpu_specs.items():
            if not 0 < len(specs) <= MOST_SPECS:
                yield Misfit(("gpuSpecs", model), f"give 1 to {MOST_SPECS} specs")

    @property
    def labels(self) -> dict[str, str]:
        """What has the pod run on ECI."""
        return {_ON_ECI: "true"}

    @property
    def annotations(self) -> dict[str, str]:
        """What all pods of the pool carry; the rest is in `specs_for`."""
        said = {"eci-fail-strategy": str(self.fail_strategy)}
        if self.max_pending_minutes is not None:
            said["eci-max-pending-minute"] = str(self.max_pending_minutes)
        if self.image_cache:
            said["eci-auto-imc"] = "true"
        if (spot := self.spot) is not None:
            limited = spot.price_limit is not None
            said["eci-spot-strategy"] = "SpotWithPriceLimit" if limited else "SpotAsPriceGo"
            said["eci-spot-duration"] = str(spot.protected_hours)
            said["eci-spot-fallback"] = "true" if spot.fallback else "false"
            said["eci-spot-release-strategy"] = "api-evict"
            if spot.price_limit is not None:
                said["eci-spot-price-limit"] = f"{spot.price_limit:.3f}".rstrip("0").rstrip(".")
        return {_PREFIX + name: value for name, value in said.items()}

    def specs_for(self, labels: Mapping[str, str]) -> EciSpecs:
        """The table, for a pool whose virtual node has these labels."""
        own = self.gpu_specs.get(labels.get(self.gpu_label, ""), ())
        return EciSpecs(
            gpu_resource=self.gpu_resource,
            gpu_label=self.gpu_label,
            by_model=self.gpu_specs,
            for_gpus=self.default_gpu_specs or own,
            for_others=self.specs,
            gpu_driver=self.gpu_driver or "",
        )
