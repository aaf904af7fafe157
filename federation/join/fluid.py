"""What a compute cluster grants an agent whose pools read claims through Fluid. Pure.

In: the cluster's configuration. Out: a `FluidPlan`, and for the manifests fluid-*.yaml the parts of
their admission policies, in CEL. The rights alone would reach past everything: Fluid's controllers
run what a ThinRuntime says as root, volumes belong to no namespace, and a volume says where data
lies. So nobody gets them without the policies, which know what `federation.fluid.build` makes and
allow nothing else.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from federation.backends.kubernetes.translate.policy import FluidDialect, PvcMode
from federation.config import ClusterConfig
from federation.fluid.rules import CLIMBS, READABLE, VolumeRule, as_regex, required

_CSI = "object.spec.csi"


@dataclass(frozen=True)
class FluidPlan:
    """What one tenant may have of Fluid in one compute cluster."""

    profiles: Sequence[str]
    """ThinRuntimeProfiles that it may name."""
    makes_datasets: bool = True
    """Dialect `fluid`: Datasets are made by the agent; else by a wrapper in the cluster."""
    volumes: Sequence[VolumeRule] = ()
    """Volumes that it may copy; none: no right on volumes."""
    reach: Sequence[Mapping[str, str]] = field(default=({},))
    """Nodes that its pods may reach for (a sidecar of Fluid does), by labels; empty ones: all."""

    @property
    def reaches_all(self) -> bool:
        """Whether nothing keeps pods that reach for their node to certain nodes."""
        return not all(self.reach)


def fluid_plan(cluster: ClusterConfig) -> FluidPlan | None:
    """What the configuration of a cluster needs; None: no pool has `pvc: fluid`.

    Where the policy lets tenants themselves reach for nodes, they may in every pool.
    """
    wanted = cluster.fluid
    if wanted is None:
        return None
    reaching = [
        pool.node_selector
        for pool in cluster.pools
        if cluster.policy.allow or cluster.pvc_of(pool) is PvcMode.FLUID
    ]
    return FluidPlan(
        profiles=wanted.profiles,
        makes_datasets=wanted.dialect is FluidDialect.FLUID,
        volumes=wanted.volumes,
        reach=reaching,
    )


def fence_values(plan: FluidPlan, namespaces: Iterable[str]) -> dict[str, str]:
    """What the manifests call `${…}`; `namespaces`: the tenant's, by their compute names."""
    return {
        "profiles": json.dumps(sorted(plan.profiles)),
        "ownNamespaces": json.dumps(sorted(namespaces)),
        "climbs": json.dumps(CLIMBS),
        "readable": json.dumps(as_regex(READABLE)),
        "volumeRules": _any(_rule(rule) for rule in plan.volumes),
        "reach": _any(_selects(labels) for labels in plan.reach),
    }


def _rule(rule: VolumeRule) -> str:
    """CEL: whether the volume to be made is one that the rule allows (`rules.refusal`)."""
    attributes = _any(
        f"(k == {json.dumps(key)} && {_fits(f'{_CSI}.volumeAttributes[k]', patterns)})"
        for key, patterns in sorted(rule.attributes.items())
    )
    parts = (
        f"{_CSI}.driver == {json.dumps(rule.driver)}",
        _fits(f"{_CSI}.volumeHandle", rule.volume_handles),
        f"{_CSI}.?volumeAttributes.orValue({{}}).all(k, {attributes})",
        *(
            f"{json.dumps(key)} in {_CSI}.?volumeAttributes.orValue({{}})"
            for key in sorted(required(rule))
        ),
        f"object.spec.?mountOptions.orValue([]).all(o, {_fits('o', rule.mount_options)})",
    )
    return f"({' && '.join(parts)})"


def _fits(text: str, patterns: Collection[str]) -> str:
    return _any(f"{text}.matches({json.dumps(as_regex(pattern))})" for pattern in patterns)


def _selects(labels: Mapping[str, str]) -> str:
    """CEL: whether a pod asks for nodes with these labels."""
    parts = (
        f'object.spec.?nodeSelector[?{json.dumps(key)}].orValue("") == {json.dumps(value)}'
        for key, value in sorted(labels.items())
    )
    return f"({' && '.join(parts)})" if labels else "true"


def _any(expressions: Iterable[str]) -> str:
    """CEL: whether one of them holds; of none, none does."""
    found = list(expressions)
    return f"({' || '.join(found)})" if found else "false"
