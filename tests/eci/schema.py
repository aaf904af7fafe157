"""Which parameters an action takes and of what type: read from the official SDK, not copied.

In: an action's name. Out: the names and types of the SDK's request model, as a tree. A call with
a name that the SDK does not know, or with a value of another type, is refused. The real gateway
is believed to skip unknown names; skipping them here would hide misspelled ones.
"""

import inspect
import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, TypeAlias

from alibabacloud_eci20180808 import models
from Tea.model import TeaModel

from tests.eci.refusal import Refusal

Shape: TypeAlias = "type | Mapping[str, Shape] | tuple[Shape]"
"""A type of a leaf, the fields of an object, or a list of one thing."""

_SAMPLES: Mapping[type, object] = {str: "?", int: 1, float: 1.5, bool: True}
_FORMS = {
    int: re.compile(r"[+-]?\d+"),
    float: re.compile(r"[+-]?(\d+\.?\d*|\.\d+)"),
    bool: re.compile(r"true|false", re.I),
}


@cache
def request_shape(action: str) -> Mapping[str, Shape]:
    """The parameters of an action; KeyError when the SDK has no such action."""
    model = getattr(models, f"{action}Request", None)
    if model is None:
        raise KeyError(action)
    return _fields(model)


@cache
def answer_shape(action: str) -> Mapping[str, Shape]:
    """What the SDK reads of an action's answer."""
    return _fields(getattr(models, f"{action}ResponseBody"))


def check_parameters(action: str, flat: Mapping[str, str]) -> None:
    """Raise the Refusal for the first parameter that is unknown or of the wrong type."""
    shape = request_shape(action)
    for name, value in flat.items():
        kind = _leaf(shape, name.split("."))
        if kind is None:
            raise Refusal("InvalidParameter.Unknown", f"The parameter {name} is not supported.")
        form = _FORMS.get(kind)
        if form is not None and not form.fullmatch(value):
            raise Refusal(
                "InvalidParameter", f"The parameter {name} is not of the type {kind.__name__}."
            )


def unknown_in(shape: Shape, value: object, place: str = "") -> list[str]:
    """The places in an answer that the SDK does not read."""
    if isinstance(shape, tuple):
        assert isinstance(value, list), place
        return [name for one in value for name in unknown_in(shape[0], one, f"{place}[]")]
    if isinstance(shape, Mapping) and isinstance(value, Mapping):
        found = []
        for key, inner in value.items():
            where = f"{place}.{key}"
            found += unknown_in(shape[key], inner, where) if key in shape else [where]
        return found
    return []


def _leaf(shape: Shape, parts: list[str]) -> type | None:
    for part in parts:
        if isinstance(shape, tuple):
            if not part.isdigit() or part.startswith("0"):
                return None
            shape = shape[0]
        elif isinstance(shape, Mapping) and part in shape:
            shape = shape[part]
        else:
            return None
    return shape if isinstance(shape, type) else None


@cache
def _fields(model: type[TeaModel]) -> Mapping[str, Shape]:
    """By wire name. Only the SDK's own serialiser knows it, so it is asked with one field set."""
    empty = model().to_map()
    found: dict[str, Shape] = {}
    hints = typing.get_type_hints(model.__init__, vars(models))
    for name in inspect.signature(model).parameters:
        shape, sample = _shape(hints.get(name, Any))
        wire = model(**{name: sample}).to_map()
        [key] = [key for key, value in wire.items() if key not in empty or value != empty[key]]
        found[key] = shape
    return found


def _shape(hint: Any) -> tuple[Shape, object]:
    """The shape of an attribute, and a value of it that shows."""
    origin = typing.get_origin(hint)
    if origin is typing.Union:
        [hint] = [one for one in typing.get_args(hint) if one is not type(None)]
        origin = typing.get_origin(hint)
    if origin is list:
        inner, sample = _shape(typing.get_args(hint)[0])
        return (inner,), [sample]
    if isinstance(hint, type) and issubclass(hint, TeaModel):
        return _fields(hint), hint()
    if hint in _SAMPLES:
        return hint, _SAMPLES[hint]
    return object, {"?": "?"}
