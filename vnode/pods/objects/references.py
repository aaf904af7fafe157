"""What a pod refers to: ConfigMaps, Secrets, service variables and ServiceAccount tokens.

In: the `spec` of a tenant pod, as the tenant API server's JSON or already decoded. Out: sets of
small values that say which objects the pod needs, which of their keys, and whether it can start
without them; and which tokens it mounts. Pure; owned by `vnode.pods`, used by every backend. A spec
that is not shaped like a PodSpec raises ValueError.

Volume types that no backend forwards (CSI, iSCSI, RBD, FlexVolume, ...) are not searched: backends
refuse pods with such volumes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec
from msgspec import Struct

from vnode.backend import (
    API_SERVER_VARIABLES,
    SERVICE_VARIABLES,
    Reference,
    ReferenceKind,
    TokenKey,
)

__all__ = [
    "ReferenceUse",
    "references",
    "service_variables",
    "token_key",
    "token_requests",
]

API_ACCESS_VOLUME_PREFIX = "kube-api-access-"
"""Volumes that the ServiceAccount admission plugin adds."""
API_ACCESS_DEFAULT_SECONDS = 3607
"""The life that the admission plugin writes where nobody asked for one."""
API_ACCESS_SECONDS = 12 * 3600
"""The life that we ask for in its place: tokens renewed across clusters should last longer."""
DEFAULT_TOKEN_SECONDS = 3600
"""The API's default of serviceAccountToken.expirationSeconds."""


@dataclass(frozen=True, slots=True)
class ReferenceUse:
    """One place where a pod refers to a ConfigMap or Secret."""

    ref: Reference
    optional: bool
    """The pod may start without the object, or without the keys."""
    keys: frozenset[str]
    """Keys that must exist in it; empty: the object alone is enough."""
    where: str
    """Path of the field that refers to it, e.g. `spec.containers[0].env[2]`."""
    ephemeral: str = ""
    """Name of the ephemeral container that refers to it: whether that one may run is not said by
    the pod's running; empty: the pod itself needs it."""


class _Source(Struct, rename="camel"):
    """Any of the shapes in which the API names a ConfigMap or Secret."""

    name: str | None = None
    secret_name: str | None = None
    key: str | None = None
    optional: bool | None = None
    items: "list[_Item] | None" = None


class _Item(Struct):
    key: str = ""


class _ValueFrom(Struct, rename="camel"):
    config_map_key_ref: _Source | None = None
    secret_key_ref: _Source | None = None


class _EnvVar(Struct, rename="camel"):
    value_from: _ValueFrom | None = None


class _EnvFrom(Struct, rename="camel"):
    config_map_ref: _Source | None = None
    secret_ref: _Source | None = None


class _Container(Struct, rename="camel"):
    name: str = ""
    env: list[_EnvVar] | None = None
    env_from: list[_EnvFrom] | None = None


class _TokenSource(Struct, rename="camel"):
    audience: str | None = None
    expiration_seconds: int | None = None


class _Projection(Struct, rename="camel"):
    config_map: _Source | None = None
    secret: _Source | None = None
    service_account_token: _TokenSource | None = None


class _Projected(Struct):
    sources: list[_Projection] | None = None


class _Volume(Struct, rename="camel"):
    name: str = ""
    config_map: _Source | None = None
    secret: _Source | None = None
    projected: _Projected | None = None


class _Spec(Struct, rename="camel"):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    ephemeral_containers: list[_Container] | None = None
    enable_service_links: bool | None = None
    image_pull_secrets: list[_Source] | None = None
    volumes: list[_Volume] | None = None


_SPEC = msgspec.json.Decoder(_Spec)


def references(spec: bytes | Mapping[str, object]) -> frozenset[ReferenceUse]:
    """Every ConfigMap and Secret that a pod refers to.

    Image pull secrets count as optional: a kubelet starts a pod without them. Among them is one of
    the two references to service variables, which every pod has.

    Args:
        spec: PodSpec, as JSON bytes or decoded.

    Raises:
        ValueError: the spec is not shaped like a PodSpec.
    """
    return frozenset(_uses(_read(spec)))


def service_variables(*, service_links: bool | None) -> Reference:
    """Which service variables a pod has, by its enableServiceLinks (the default is true)."""
    return API_SERVER_VARIABLES if service_links is False else SERVICE_VARIABLES


def token_requests(spec: bytes | Mapping[str, object]) -> frozenset[TokenKey]:
    """The ServiceAccount tokens that a pod mounts through projected volumes.

    Raises:
        ValueError: the spec is not shaped like a PodSpec.
    """
    return frozenset(
        token_key(
            volume=volume.name,
            audience=projection.service_account_token.audience,
            expiration_seconds=projection.service_account_token.expiration_seconds,
        )
        for volume in _read(spec).volumes or ()
        if volume.projected is not None
        for projection in volume.projected.sources or ()
        if projection.service_account_token is not None
    )


def token_key(*, volume: str, audience: str | None, expiration_seconds: int | None) -> TokenKey:
    """Which token a serviceAccountToken source asks for.

    Args:
        volume: name of the volume that the source belongs to.
        audience: as in the source; empty or None means the API server's own.
        expiration_seconds: as in the source; None means the API's default.
    """
    seconds = DEFAULT_TOKEN_SECONDS if expiration_seconds is None else expiration_seconds
    if (
        volume.startswith(API_ACCESS_VOLUME_PREFIX)
        and not audience
        and seconds == API_ACCESS_DEFAULT_SECONDS
    ):
        seconds = API_ACCESS_SECONDS
    return TokenKey(audience or "", seconds)


def _read(spec: bytes | Mapping[str, object]) -> _Spec:
    try:
        if isinstance(spec, Mapping):
            return msgspec.convert(spec, _Spec)
        return _SPEC.decode(spec)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a PodSpec: {error}") from None


def _uses(spec: _Spec) -> Iterator[ReferenceUse]:
    yield ReferenceUse(
        ref=service_variables(service_links=spec.enable_service_links),
        optional=False,
        keys=frozenset(),
        where="spec.enableServiceLinks",
    )
    for field, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        for index, container in enumerate(containers or ()):
            yield from _container_uses(container, f"spec.{field}[{index}]")
    for index, container in enumerate(spec.ephemeral_containers or ()):
        for use in _container_uses(container, f"spec.ephemeralContainers[{index}]"):
            yield replace(use, ephemeral=container.name)
    for index, secret in enumerate(spec.image_pull_secrets or ()):
        where = f"spec.imagePullSecrets[{index}]"
        yield from _use(ReferenceKind.SECRET, secret, where, optional=True)
    for index, volume in enumerate(spec.volumes or ()):
        where = f"spec.volumes[{index}]"
        yield from _use(ReferenceKind.CONFIG_MAP, volume.config_map, f"{where}.configMap")
        yield from _use(ReferenceKind.SECRET, volume.secret, f"{where}.secret")
        sources = volume.projected.sources if volume.projected is not None else None
        for number, source in enumerate(sources or ()):
            at = f"{where}.projected.sources[{number}]"
            yield from _use(ReferenceKind.CONFIG_MAP, source.config_map, f"{at}.configMap")
            yield from _use(ReferenceKind.SECRET, source.secret, f"{at}.secret")


def _container_uses(container: _Container, where: str) -> Iterator[ReferenceUse]:
    for index, variable in enumerate(container.env or ()):
        if variable.value_from is not None:
            at = f"{where}.env[{index}]"
            yield from _use(ReferenceKind.CONFIG_MAP, variable.value_from.config_map_key_ref, at)
            yield from _use(ReferenceKind.SECRET, variable.value_from.secret_key_ref, at)
    for index, source in enumerate(container.env_from or ()):
        at = f"{where}.envFrom[{index}]"
        yield from _use(ReferenceKind.CONFIG_MAP, source.config_map_ref, at)
        yield from _use(ReferenceKind.SECRET, source.secret_ref, at)


def _use(
    kind: ReferenceKind, source: _Source | None, where: str, *, optional: bool = False
) -> Iterator[ReferenceUse]:
    if source is None:
        return
    name = source.name or source.secret_name
    if not name:  # the API allows an empty name for backward compatibility: it refers to nothing
        return
    keys = [item.key for item in source.items or ()]
    if source.key is not None:
        keys.append(source.key)
    yield ReferenceUse(
        ref=Reference(kind, name),
        optional=optional or bool(source.optional),
        keys=frozenset(keys),
        where=where,
    )
