"""From the configuration of an ECI account to the rules by which pods become container groups.

In: the sections of a cluster of kind eci. Out: one `EciPolicy` for each of its virtual nodes. Pure.
"""

import math

from federation.backends.eci.translate.policy import EciPolicy, InstanceType, RegistryLogin, Spot
from federation.backends.eci.translate.specs import cpus, gibibytes
from federation.backends.kubernetes.translate.names import Owner
from federation.config import EciClusterConfig, EciPoolConfig, InstanceTypeConfig
from vnode.kube.quantity import Quantity
from vnode.kube.types import NodeName

__all__ = ["policies_of", "policy_of"]


def policies_of(
    config: EciClusterConfig, owner: Owner, *, logins: tuple[RegistryLogin, ...] = ()
) -> dict[NodeName, EciPolicy]:
    """The rules of each virtual node. `logins`: the platform's own, for image registries."""
    return {
        (node := pool.node_name_in(config.cluster_name)): policy_of(
            config, pool, node=node, owner=owner, logins=logins
        )
        for pool in config.pools
    }


def policy_of(
    config: EciClusterConfig,
    pool: EciPoolConfig,
    *,
    node: NodeName,
    owner: Owner,
    logins: tuple[RegistryLogin, ...] = (),
) -> EciPolicy:
    """The rules of one pool."""

    def types(names: tuple[str, ...]) -> tuple[InstanceType, ...]:
        return tuple(_type(name, config.instance_types[name]) for name in names)

    return EciPolicy(
        tenant=owner.tenant,
        cluster_uid=owner.cluster_uid,
        node=node,
        region=config.region,
        vswitches=config.v_switches,
        random_zones=config.random_zones,
        security_group=config.security_group,
        resource_group=config.resource_group or "",
        ram_role=config.ram_role or "",
        tags=config.tags,
        allow=frozenset(config.allow),
        allow_inline_secrets=config.allow_inline_secrets,
        token_ttl=None if config.token_ttl is None else int(config.token_ttl),
        registry_logins=logins,
        gpu_resource=pool.gpu_resource,
        gpu_label=pool.gpu_label,
        gpu_types={model: types(names) for model, names in pool.gpu_types.items()},
        default_gpu_types=types(pool.default_gpu_types),
        default_types=types(pool.types),
        gpu_driver=pool.gpu_driver or "",
        spot=None
        if pool.spot is None
        else Spot(
            price_limit=pool.spot.price_limit,
            protected_hours=pool.spot.protected_hours,
            fallback=pool.spot.fallback,
        ),
        image_cache=pool.image_cache,
        image_snapshot=pool.image_snapshot or "",
        claims=config.policy.fluid is not None,
        extra_storage=math.ceil(gibibytes(Quantity.parse(pool.extra_storage))),
    )


def _type(name: str, config: InstanceTypeConfig) -> InstanceType:
    cpu, memory = cpus(Quantity.parse(config.cpu)), gibibytes(Quantity.parse(config.memory))
    return InstanceType(name, cpu=float(cpu), memory=float(memory), gpus=config.gpus)
