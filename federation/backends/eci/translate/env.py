"""Environment variables of a container, resolved: ECI takes literals and the pod's address only.

In: `env` and `envFrom` of a container, what they refer to, and the tenant's service variables. Out:
values by name, in the order of a kubelet (pkg/kubelet makeEnvironmentVariables): `env` over
`envFrom` over service variables, later entries of `envFrom` over earlier ones, `$(NAME)` expanded
from what stands before. Values never change afterwards. Whether ECI expands `$(NAME)` itself is not
known, so it is done here, and what only ECI knows (the address) cannot be expanded.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from federation.backends.eci.parameters import Parameter
from federation.backends.eci.translate import downward, limits
from federation.backends.eci.translate.claims import Brought
from federation.backends.eci.translate.contents import Contents
from federation.backends.eci.translate.downward import Address
from federation.backends.eci.translate.policy import EciPolicy
from federation.backends.eci.translate.spec import Container, EnvFrom, EnvSource, PodSpec
from federation.backends.eci.translate.specs import Size
from federation.backends.eci.translate.words import check_value, check_variable, expand
from federation.backends.translation.rules import Refused, rejected
from vnode.backend import PodRequest, ReferenceKind
from vnode.pods.objects.references import service_variables

__all__ = ["Environment", "Value", "environment", "expanded", "parameters"]

Value: TypeAlias = str | Address


@dataclass(frozen=True, slots=True, repr=False)
class Environment:
    """What variables of all containers of one pod are resolved from."""

    request: PodRequest
    spec: PodSpec
    contents: Contents
    policy: EciPolicy
    least: Size
    """What the whole group has, for limits that are not set."""
    claims: Mapping[str, Brought] = field(default_factory=dict)
    """What claims need, by the names of the pod's volumes."""


def environment(container: Container, where: str, at: Environment) -> dict[str, Value]:
    """The variables of a container by name, those that it set itself in order first.

    Raises:
        Rejected: one cannot be had on ECI; names the field and the variable, never the value.
        Waiting: something that is referred to is not there.
    """
    services = at.contents.variables(service_variables(service_links=at.spec.enable_service_links))
    own: dict[str, Value] = {}
    for index, source in enumerate(container.env_from):
        own.update(_all_of(source, f"{where}.envFrom[{index}]", at))
    for index, variable in enumerate(container.env):
        field = f"{where}.env[{index}]"
        with rejected(field):
            check_variable(variable.name, at.policy)
            if variable.value or variable.value_from is None:
                value: Value | None = expanded(variable.value, {**services, **own})
            else:
                value = _one_of(variable.value_from, container, field, at)
            if value is None:
                continue
            if isinstance(value, str):
                check_value(variable.name, value)
        own[variable.name] = value
    for name, text in services.items():
        # Services may have names of which no variable can be made; a kubelet's are legal on Linux.
        if name not in own and limits.VARIABLE.fullmatch(name):
            with rejected("spec.enableServiceLinks"):
                check_value(name, text)
            own[name] = text
    if len(own) > limits.VARIABLES:
        with rejected(f"{where}.env"):
            raise Refused(
                f"{len(own)} variables, those of Services included, are more than the "
                f"{limits.VARIABLES} of ECI: use fewer, or set enableServiceLinks to false"
            )
    return own


def expanded(text: str, known: Mapping[str, Value]) -> str:
    """Text with its `$(NAME)`s replaced.

    Raises:
        Refused: it needs the address, which is not known before the group runs.
    """

    def value(name: str) -> str | None:
        found = known.get(name)
        if isinstance(found, Address):
            raise Refused(
                f"$({name}) is the pod's address, which ECI does not put in here: read the "
                "variable in the container"
            )
        return found

    return expand(text, value)


def parameters(variables: Mapping[str, Value]) -> Sequence[Parameter]:
    """Variables as EnvironmentVar parameters."""
    return [
        {"Key": name, "FieldRef": {"FieldPath": value.value}}
        if isinstance(value, Address)
        else {"Key": name, "Value": value}
        for name, value in variables.items()
    ]


def _all_of(source: EnvFrom, where: str, at: Environment) -> dict[str, str]:
    found: dict[str, str] = {}
    for kind, ref in (
        (ReferenceKind.CONFIG_MAP, source.config_map_ref),
        (ReferenceKind.SECRET, source.secret_ref),
    ):
        if ref is None:
            continue
        texts = at.contents.texts(kind, ref.name, optional=ref.optional, where=where)
        for key, text in sorted((texts or {}).items()):
            name = source.prefix + key
            with rejected(where):
                check_variable(name, at.policy)
                found[name] = _checked(name, text)
    return found


def _one_of(source: EnvSource, container: Container, where: str, at: Environment) -> Value | None:
    for kind, ref in (
        (ReferenceKind.CONFIG_MAP, source.config_map_key_ref),
        (ReferenceKind.SECRET, source.secret_key_ref),
    ):
        if ref is not None:
            found = at.contents.key(kind, ref.name, ref.key, optional=ref.optional, where=where)
            return None if found is None else _checked(ref.key, found[0])
    if source.field_ref is not None:
        downward.check_field(source.field_ref.field_path, volume=False)
        return downward.field(source.field_ref.field_path, at.request, at.spec)
    if source.resource_field_ref is not None:
        return downward.resource(source.resource_field_ref, container, at.least)
    return ""


def _checked(name: str, text: str | None) -> str:
    if text is None:
        raise Refused(f"{name!r} is no text (UTF-8), which ECI's variables have to be: mount it")
    check_value(name, text)
    return text
