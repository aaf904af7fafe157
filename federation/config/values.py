"""Scalars of the configuration: what they look like in YAML and what they become in Python.

In: a YAML scalar. Out: a checked value. A validator that refuses raises ValueError with a text that
says what is wrong and how to write it; `federation.config.file` puts file, line and key before it.
"""

import ipaddress
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NamedTuple, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import InitErrorDetails, PydanticCustomError

from vnode.kube import quantity

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+"
_QUANTITY = r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_FEATURE = r"[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*"
_QUALIFIED_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?"
_TENANT_NAME_LENGTH = 20
_LABEL_LENGTH = 63
_SUBDOMAIN_LENGTH = 253
_LONGEST_NETWORK_PREFIX = 30


def _camel(name: str) -> str:
    return to_camel(name).replace("HostIp", "HostIP").replace("Ttl", "TTL")


class Section(BaseModel):
    """Base of all models: frozen, unknown keys refused, camelCase in YAML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=_camel,
        validate_by_name=True,
        use_attribute_docstrings=True,
    )


class Misfit(NamedTuple):
    """A value that is right alone and wrong beside another one."""

    at: tuple[str | int, ...]
    """YAML keys and list indexes, relative to the model that was checked."""
    text: str


def refuse(model: str, misfits: Iterable[Misfit]) -> None:
    """Raise one ValidationError for all misfits, if there are any; pydantic adds the outer path."""
    errors = [
        InitErrorDetails(
            type=PydanticCustomError("misfit", "{text}", {"text": misfit.text}),
            loc=misfit.at,
            input=None,
        )
        for misfit in misfits
    ]
    if errors:
        raise ValidationError.from_exception_data(model, errors)


def format_duration(seconds: float) -> str:
    """Seconds as they are written in YAML: `15s`, `0.5s`."""
    return f"{seconds:g}s"


def _parse_duration(value: object) -> float:
    if not isinstance(value, str) or re.fullmatch(_DURATION, value) is None:
        raise ValueError(
            f'{shown(value)} is not a duration; write it with a unit, like "15s", "1m"'
        )
    seconds = sum(
        float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", value)
    )
    if seconds <= 0:
        raise ValueError(f"{shown(value)} must be longer than zero")
    return seconds


def _parse_quantity(value: object) -> str:
    text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
    try:
        amount = quantity.Quantity.parse(text if isinstance(text, str) else "")
    except quantity.InvalidQuantity:
        raise ValueError(
            f'{shown(value)} is not a Kubernetes quantity; write it like "64", "500m" or "512Gi"'
        ) from None
    if amount < quantity.ZERO:
        raise ValueError(f"{shown(value)} is negative; write 0 or more")
    return str(text)


def _parse_network(value: object) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(
            f"{shown(value)} is not an IPv4 network in CIDR form; write it like 198.18.0.0/15"
        ) from None
    if network.prefixlen > _LONGEST_NETWORK_PREFIX:
        raise ValueError(
            f"{shown(value)} has no room for pods; the prefix can be /{_LONGEST_NETWORK_PREFIX} "
            "or shorter, like 198.18.0.0/15"
        )
    return network


def _check_address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError(f"{shown(value)} is not an IP address") from None


def _check_host(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if len(value) <= _SUBDOMAIN_LENGTH and re.fullmatch(_SUBDOMAIN, value):
            return value
    raise ValueError(
        f"{shown(value)} is neither an IP address nor a DNS name; leave out scheme and port"
    )


def _check_dns_label(value: str) -> str:
    if len(value) > _LABEL_LENGTH or re.fullmatch(_LABEL, value) is None:
        raise ValueError(
            f"{shown(value)} is not a DNS label; use a-z, 0-9 and -, "
            f"at most {_LABEL_LENGTH} characters, no - at either end"
        )
    return value


def _check_tenant_name(value: str) -> str:
    _check_dns_label(value)
    if len(value) > _TENANT_NAME_LENGTH or "--" in value:
        raise ValueError(
            f'{shown(value)} is no tenant name; at most {_TENANT_NAME_LENGTH} characters, no "--"'
        )
    return value


def _check_subdomain(value: str) -> str:
    if len(value) > _LABEL_LENGTH or re.fullmatch(_SUBDOMAIN, value) is None:
        raise ValueError(
            f"{shown(value)} is not an object name that fits into a label; "
            f"use a-z, 0-9, - and ., at most {_LABEL_LENGTH} characters"
        )
    return value


def _check_label_key(value: str) -> str:
    prefix, _, name = value.rpartition("/")
    fits = len(name) <= _LABEL_LENGTH and re.fullmatch(_QUALIFIED_NAME, name)
    if "/" in value:
        fits = fits and len(prefix) <= _SUBDOMAIN_LENGTH and re.fullmatch(_SUBDOMAIN, prefix)
    if not fits:
        raise ValueError(
            f"{shown(value)} is not a label key; write it like name or example.com/name"
        )
    return value


def _check_feature(value: str) -> str:
    if len(value) > _SUBDOMAIN_LENGTH or re.fullmatch(_FEATURE, value) is None:
        raise ValueError(
            f"{shown(value)} is not the name of a kubelet feature; write it like MyFeature"
        )
    return value


def _check_label_value(value: str) -> str:
    if value and (len(value) > _LABEL_LENGTH or re.fullmatch(_QUALIFIED_NAME, value) is None):
        raise ValueError(
            f"{shown(value)} is not a label value; use A-Z, a-z, 0-9, -, _ and ., "
            f"at most {_LABEL_LENGTH} characters"
        )
    return value


def _resolve_path(value: Path, info: ValidationInfo) -> Path:
    folder = info.context.get("folder") if isinstance(info.context, dict) else None
    return folder / value if isinstance(folder, Path) else value


def shown(value: object) -> str:
    """A value as an error message shows it: as in YAML, short."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return f'"{value}"' if len(value) <= _LABEL_LENGTH else f'"{value[:_LABEL_LENGTH]}…"'
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a {type(value).__name__}"


Duration: TypeAlias = Annotated[
    float,
    BeforeValidator(_parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION}$"}),
]
"""Seconds; in YAML a number with a unit (`500ms`, `15s`, `1m30s`, `1h`)."""

Quantity: TypeAlias = Annotated[
    str,
    BeforeValidator(_parse_quantity),
    WithJsonSchema({"type": ["string", "number"], "pattern": f"^{_QUANTITY}$"}),
]
"""A Kubernetes resource.Quantity, not negative."""

Network: TypeAlias = Annotated[
    ipaddress.IPv4Network,
    BeforeValidator(_parse_network),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]
"""An IPv4 network in CIDR form with room for two addresses or more (/30)."""

Address: TypeAlias = Annotated[str, AfterValidator(_check_address)]
"""An IP address."""
Host: TypeAlias = Annotated[str, AfterValidator(_check_host)]
"""An IP address or a DNS name, without scheme and port."""
Port: TypeAlias = Annotated[int, Field(ge=1, le=65535)]
"""A TCP port."""
TenantName: TypeAlias = Annotated[str, AfterValidator(_check_tenant_name)]
"""DNS label of at most 20 characters without `--` (it becomes a namespace prefix below)."""
DnsLabel: TypeAlias = Annotated[str, AfterValidator(_check_dns_label)]
"""RFC 1123 label: namespaces, cluster and pool names."""
ObjectName: TypeAlias = Annotated[str, AfterValidator(_check_subdomain)]
"""RFC 1123 subdomain of at most 63 characters (node names are label values too)."""
LabelKey: TypeAlias = Annotated[str, AfterValidator(_check_label_key)]
"""Key of a label, annotation or taint; also the name of a resource."""
FeatureName: TypeAlias = Annotated[str, AfterValidator(_check_feature)]
"""Name of a feature in status.declaredFeatures of a Node."""
LabelValue: TypeAlias = Annotated[str, AfterValidator(_check_label_value)]
"""Value of a label or taint."""
FilePath: TypeAlias = Annotated[Path, AfterValidator(_resolve_path)]
"""A file; relative paths start at the configuration file's folder."""
