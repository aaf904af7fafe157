"""The table of pod fields against the API server that runs: a field that it does not know fails.

`tests/unit/federation/translate/test_fields.py` compares the same table with a file of one release.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from federation.backends.kubernetes.translate.fields import tables
from federation.backends.translation.rules import Action

if TYPE_CHECKING:
    from tests.agents import Federation

TRAVEL = {"annotations", "labels", "name", "namespace"}
"""Fields of metadata that a copy has from its tenant pod."""
STAY = {
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
}
SCALARS = {"IntOrString", "Quantity", "Time", "FieldsV1"}
"""Types of the document that are one JSON value."""


@pytest.fixture(scope="module")
def schemas(federation: Federation) -> dict[str, dict[str, Any]]:
    """Fields of all types of the core API, by the type's short name."""
    document = json.loads(federation.tenant.kubectl("get", "--raw", "/openapi/v3/api/v1"))
    return {
        name.rpartition(".")[2]: schema.get("properties", {})
        for name, schema in document["components"]["schemas"].items()
    }


def _type(schema: dict[str, Any]) -> str:
    """Name of a field's own type, in brackets for lists; empty for scalars and maps."""
    if schema.get("type") == "array":
        inner = _type(schema["items"])
        return f"[{inner}]" if inner else ""
    refs = [schema.get("$ref", ""), *(part.get("$ref", "") for part in schema.get("allOf", ()))]
    name = next(filter(None, refs), "").rpartition(".")[2]
    return "" if name in SCALARS else name


def test_every_pod_field_that_the_api_server_knows_is_decided(
    schemas: dict[str, dict[str, Any]],
) -> None:
    undecided, unchecked = set(), set()
    for table in {table.name: table for table in tables()}.values():
        for field, schema in schemas[table.name].items():
            row, kind = table.rows.get(field), _type(schema)
            if row is None:
                undecided.add(f"{table.name}.{field}")
            elif row.of is not None:
                assert kind == (f"[{row.of.name}]" if row.many else row.of.name), field
            elif kind and row.action in (Action.KEEP, Action.REWRITE):
                unchecked.add(f"{table.name}.{field}: {kind}")
    assert not undecided, "fields without a row"
    assert not unchecked, "fields of which only the surface is looked at"


def test_every_field_of_metadata_is_decided(schemas: dict[str, dict[str, Any]]) -> None:
    assert set(schemas["ObjectMeta"]) - TRAVEL - STAY == set()
