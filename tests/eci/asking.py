"""Reads single parameters of a call, with their documented ranges. Raises Refusal."""

import json
from collections.abc import Mapping
from typing import Any

from tests.eci.refusal import invalid, missing


def required(asked: Mapping[str, Any], name: str) -> Any:
    """A parameter that has to be there."""
    if not asked.get(name):
        raise missing(name)
    return asked[name]


def is_true(asked: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """A boolean, whose form was checked; the SDK writes `True`."""
    return bool(asked.get(name, str(default)).lower() == "true")


def number(
    asked: Mapping[str, Any], name: str, *, default: int, least: int = 1, most: int = 10**9
) -> int:
    """A whole number in a range."""
    found = int(asked.get(name, default))
    if not least <= found <= most:
        raise invalid("ValueExceeded", f"{name} is not in {least}..{most}.")
    return found


def since(asked: Mapping[str, Any], now: float) -> float:
    """The time from which on things are asked for: the metadata says 60 to 3,600 s back."""
    if "SinceSecond" not in asked:
        return float("-inf")
    return now - number(asked, "SinceSecond", default=60, least=60, most=3600)


def identifiers(asked: Mapping[str, Any]) -> set[str] | None:
    """The groups that are named, at most 20; None is all."""
    if "ContainerGroupIds" not in asked:
        return None
    try:
        ids = json.loads(asked["ContainerGroupIds"])
    except ValueError:
        ids = None
    if not isinstance(ids, list) or not all(isinstance(one, str) for one in ids):
        raise invalid("ContainerGroupIds", "It is not a list of strings in JSON.")
    if len(ids) > 20:
        raise invalid("ContainerGroupIds", "There are more than 20 ids.")
    return set(ids)
