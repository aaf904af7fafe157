"""What the configuration of an ECI account means for its pods."""

from typing import Any

from federation.backends.eci.translate.policy import EciFeature, InstanceType, Spot
from federation.backends.kubernetes.translate.names import Owner
from federation.config import EciClusterConfig
from federation.sides.eci.policy import policies_of
from tests.unit.federation.test_config_eci import cluster, pool
from vnode.kube.types import UID, NodeName

OWNER = Owner(tenant="demo", cluster_uid=UID("cluster-uid"))
T4 = "ecs.gn6i-c4g1.xlarge"


def config(**more: Any) -> EciClusterConfig:
    return EciClusterConfig.model_validate(cluster(**more))


def test_each_virtual_node_has_rules_of_its_own() -> None:
    two = config(pools=[pool(), pool(name="spot", spot={"priceLimit": 1.5, "fallback": True})])
    plain, spot = policies_of(two, OWNER).values()
    assert (plain.node, spot.node) == ("vnode-burst", "vnode-burst-spot")
    assert (plain.tenant, plain.cluster_uid, plain.region) == ("demo", "cluster-uid", "cn-beijing")
    assert plain.spot is None
    assert spot.spot == Spot(price_limit=1.5, protected_hours=1, fallback=True)


def test_nothing_weaker_is_allowed_unless_it_is_written() -> None:
    [shut] = policies_of(config(), OWNER).values()
    assert (shut.allow, shut.allow_inline_secrets, shut.token_ttl) == (frozenset(), False, None)
    wide = config(allow=["capabilities"], allowInlineSecrets=True, tokenTTL="24h")
    [opened] = policies_of(wide, OWNER).values()
    assert opened.allow == {EciFeature.CAPABILITIES}
    assert (opened.allow_inline_secrets, opened.token_ttl) == (True, 86_400)


def test_instance_types_are_looked_up_by_name() -> None:
    account = config(
        instanceTypes={T4: {"cpu": "4", "memory": "15Gi", "gpus": 1}},
        pools=[pool(gpuTypes={"NVIDIA-T4": [T4]}, defaultGpuTypes=[T4], extraStorage="500M")],
    )
    policy = policies_of(account, OWNER)[NodeName("vnode-burst")]
    found = InstanceType(T4, cpu=4, memory=15, gpus=1)
    assert policy.gpu_types == {"NVIDIA-T4": (found,)}
    assert policy.default_gpu_types == (found,)
    assert policy.extra_storage == 1
