"""The table covers the API of Kubernetes 1.36, and what it keeps is mapped."""

from typing import Any

import msgspec
import pytest

from federation.backends.eci.translate import spec as travels
from federation.backends.eci.translate.fields import POD_SPEC, Table, tables
from federation.backends.translation.rules import Action
from tests.unit.federation.eci.translate.builders import check
from tests.unit.federation.translate.test_fields import OPENAPI
from vnode.backend import Rejected

TABLES = list(tables())
LEAVES = {"PersistentVolumeClaimVolumeSource"}
"""What a refused field holds."""
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "ConfigMapEnvSource": travels.KeyRef,
    "ConfigMapKeySelector": travels.KeyRef,
    "ConfigMapProjection": travels.ObjectSource,
    "ConfigMapVolumeSource": travels.ObjectSource,
    "ContainerPort": travels.Port,
    "DownwardAPIProjection": travels.DownwardSource,
    "DownwardAPIVolumeFile": travels.DownwardFile,
    "DownwardAPIVolumeSource": travels.DownwardSource,
    "EmptyDirVolumeSource": travels.EmptyDir,
    "EnvFromSource": travels.EnvFrom,
    "EnvVarSource": travels.EnvSource,
    "ExecAction": travels.Exec,
    "HTTPGetAction": travels.HttpGet,
    "HTTPHeader": travels.Header,
    "KeyToPath": travels.KeyToPath,
    "LifecycleHandler": travels.Handler,
    "LocalObjectReference": travels.PullSecret,
    "ObjectFieldSelector": travels.ObjectField,
    "PodDNSConfig": travels.DnsConfig,
    "PodDNSConfigOption": travels.DnsOption,
    "PodSecurityContext": travels.SecurityContext,
    "ProjectedVolumeSource": travels.Projected,
    "ResourceFieldSelector": travels.ResourceField,
    "ResourceRequirements": travels.Resources,
    "SecretEnvSource": travels.KeyRef,
    "SecretKeySelector": travels.KeyRef,
    "SecretProjection": travels.ObjectSource,
    "SecretVolumeSource": travels.ObjectSource,
    "ServiceAccountTokenProjection": travels.TokenSource,
    "TCPSocketAction": travels.TcpSocket,
    "VolumeMount": travels.Mount,
    "VolumeProjection": travels.Source,
}
CHECKED = {"PodSpec.os", "PodOS.name", "Volume.persistentVolumeClaim"}
"""Judged by the table itself, and sent nowhere."""


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_has_a_row_for_every_field_of_its_type(table: Table) -> None:
    assert set(table.rows) == set(OPENAPI[table.name])


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_kept_is_checked_down_to_its_leaves(table: Table) -> None:
    for name, row in table.rows.items():
        kind = OPENAPI[table.name][name]
        if row.of is not None:
            assert (f"[{row.of.name}]" if row.many else row.of.name) == kind, name
        elif row.action in (Action.KEEP, Action.REWRITE) and name != "affinity":
            assert kind is None, name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_kept_has_a_place_in_what_is_mapped(table: Table) -> None:
    if table.name in LEAVES:
        return
    struct = STRUCTS.get(table.name) or getattr(travels, table.name, None)
    read = {field.encode_name for field in msgspec.structs.fields(struct)} if struct else set()
    for name, row in table.rows.items():
        if row.action in (Action.KEEP, Action.REWRITE):
            assert name in read or f"{table.name}.{name}" in CHECKED, name


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_what_is_not_kept_says_why(table: Table) -> None:
    for name, row in table.rows.items():
        if row.action in (Action.DROP, Action.REJECT):
            assert row.text, name
        if row.action is Action.REJECT:
            assert ": " in row.text, f"{name}: what to do is missing"


def test_a_field_that_nobody_knows_refuses_the_pod() -> None:
    unknown: dict[str, Any] = {"brandNew": 1}
    assert "brandNew" not in POD_SPEC.rows
    with pytest.raises(Rejected) as refused:
        check(**unknown)
    assert refused.value.field == "spec.brandNew"
