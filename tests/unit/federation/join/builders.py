"""Plans and configurations of one tenant, and a way into the objects that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from federation.config import AgentConfig
from federation.join.plan import Plan, mapping_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from federation.join.render import Object


def make_plan(*names: str, same: bool = False, **changes: Any) -> Plan:
    """A plan of tenant `red` for cluster `gpu-a`, by default with namespace `team-a`."""
    mapping, namespaces = mapping_of("red", names or ("team-a",), same=same)
    fields: dict[str, Any] = {"tenant": "red", "cluster": "gpu-a"}
    return Plan(**{**fields, "mapping": mapping, "namespaces": namespaces, **changes})


def make_config(cluster: dict[str, Any] | None = None, **sections: Any) -> AgentConfig:
    """A configuration of tenant `red` with one cluster `gpu-a`."""
    document: dict[str, Any] = {
        "tenant": {"name": "red", "namespaces": ["team-a"]},
        "clusters": [{"name": "gpu-a", "kubeconfig": "gpu-a", **(cluster or {})}],
    }
    return AgentConfig.model_validate({**document, **sections}, by_alias=True, by_name=False)


def of_kind(objects: Sequence[Object], kind: str) -> list[Any]:
    """Objects of a kind, free to look into."""
    return [each for each in objects if each["kind"] == kind]


def one(objects: Sequence[Object], kind: str, name: str) -> Any:
    """The object of that kind and name."""
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found
