"""Container groups of small pods, with a pool that has everything at its default."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from federation.backends.eci.parameters import flatten
from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.features import require_supported
from federation.backends.eci.translate.group import container_group
from federation.backends.eci.translate.policy import EciPolicy
from tests.builders import NODE, NODE_ADDRESS
from tests.unit.federation.translate.builders import make_container, make_pod, make_spec
from vnode.backend import (
    API_SERVER_VARIABLES,
    SERVICE_VARIABLES,
    ObjectRef,
    PodRequest,
    ReferenceKind,
    Token,
    TokenKey,
)
from vnode.kube.types import ConfigMap, ObjectMeta, Pod, Secret, encode_base64

POLICY = EciPolicy(tenant="red", cluster_uid="c-1", node=NODE, region="cn-beijing")
TRUSTING = replace(POLICY, allow_inline_secrets=True, token_ttl=86400)


def config_map(name: str, data: Mapping[str, str]) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="team-a"), data=dict(data))


def secret(name: str, data: Mapping[str, str]) -> Secret:
    """A Secret with these texts."""
    encoded = {key: encode_base64(value) for key, value in data.items()}
    return Secret(metadata=ObjectMeta(name=name, namespace="team-a"), data=encoded)


def grouped(
    spec: Mapping[str, Any] | None = None,
    *objects: ConfigMap | Secret,
    policy: EciPolicy = TRUSTING,
    tokens: Mapping[TokenKey, Token] | None = None,
    services: Mapping[str, str] | None = None,
    pod: Pod | None = None,
    claims: Mapping[str, Brought] | None = None,
) -> Any:
    """The nested parameters of the group of a pod with this spec."""
    pod = pod or make_pod(spec)
    namespace = pod.metadata.namespace
    bodies: dict[ObjectRef, ConfigMap | Secret] = {
        ObjectRef(namespace, *ref): config_map(ref.name, services or {})
        for ref in (SERVICE_VARIABLES, API_SERVER_VARIABLES)
    }
    for one in objects:
        kind = ReferenceKind.SECRET if isinstance(one, Secret) else ReferenceKind.CONFIG_MAP
        bodies[ObjectRef(namespace, kind, one.metadata.name)] = one
    request = PodRequest(pod=pod, node=NODE, digest="d1", host_ip=NODE_ADDRESS)
    return container_group(
        request, bodies=bodies, tokens=tokens or {}, policy=policy, claims=claims
    )


def of_container(
    *objects: ConfigMap | Secret, policy: EciPolicy = TRUSTING, **fields: Any
) -> dict[str, str]:
    """The flat parameters of the only container of a pod, without `Container.1.`."""
    spec = make_spec(containers=[make_container(**fields)])
    flat = flatten(grouped(spec, *objects, policy=policy))
    return {
        name.removeprefix("Container.1."): value
        for name, value in flat.items()
        if name.startswith("Container.1.")
    }


def variables(group: Any, *, kind: str = "Container", index: int = 0) -> dict[str, str]:
    """A container's variables; the address is shown as its field path."""
    return {
        one["Key"]: one["Value"] if "Value" in one else one["FieldRef"]["FieldPath"]
        for one in group[kind][index]["EnvironmentVar"]
    }


def check(policy: EciPolicy = TRUSTING, **spec: Any) -> None:
    """The feature check of a pod with these PodSpec fields."""
    require_supported(make_pod(make_spec(**spec)), policy)


def check_container(policy: EciPolicy = TRUSTING, **fields: Any) -> None:
    """The feature check of a pod whose only container has these fields."""
    check(policy, containers=[make_container(**fields)])
