"""Flat parameters back to nested ones: `Container.1.Name` is `{"Container": [{"Name": ...}]}`."""

from typing import Any

from tests.eci.refusal import Refusal


def nested(flat: dict[str, str]) -> dict[str, Any]:
    """Build the tree. Lists have to count from 1 without gaps."""
    root: dict[str, Any] = {}
    for name, value in flat.items():
        place, parts = root, name.split(".")
        for part in parts[:-1]:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise Refusal("InvalidParameter", f"The parameter {name} is malformed.")
        place[parts[-1]] = value
    tree = _lists(root)
    assert isinstance(tree, dict)
    return tree


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _lists(one) for key, one in value.items()}
    if inner and all(key.isdigit() for key in inner):
        if sorted(map(int, inner)) != list(range(1, len(inner) + 1)):
            raise Refusal("InvalidParameter", "The indexes of a list have a gap.")
        return [inner[str(number)] for number in range(1, len(inner) + 1)]
    return inner
