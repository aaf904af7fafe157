"""Nested parameters of an RPC call as the flat strings that go on the wire.

In: a mapping of the API's names with nested mappings and sequences. Out: one string per leaf, as
`Container.1.EnvironmentVar.2.Key`; lists count from 1. Pure. What is None is left out.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

__all__ = ["Parameter", "Parameters", "flatten"]

Parameter: TypeAlias = "str | int | float | Sequence[Parameter] | Mapping[str, Parameter] | None"
Parameters: TypeAlias = Mapping[str, Parameter]


def flatten(parameters: Parameters) -> dict[str, str]:
    """Return the leaves by their dotted names. An empty list or mapping leaves no trace."""
    flat: dict[str, str] = {}
    _into(flat, prefix="", value=parameters)
    return flat


def _into(flat: dict[str, str], *, prefix: str, value: Parameter) -> None:
    if value is None:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _into(flat, prefix=f"{prefix}.{name}" if prefix else name, value=inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for number, inner in enumerate(value, start=1):
            _into(flat, prefix=f"{prefix}.{number}", value=inner)
    elif isinstance(value, bool):
        flat[prefix] = "true" if value else "false"
    else:
        flat[prefix] = str(value)
