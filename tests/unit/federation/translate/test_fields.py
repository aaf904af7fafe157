"""The table covers the API, and what it does not know is refused.

`podspec-1.36.json` is the part of Kubernetes' api/openapi-spec/swagger.json (v1.36.3) that hangs on
PodSpec: type -> field -> type of the value, in brackets for lists, null for scalars and maps.
"""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.fields import POD_SPEC, Table, tables
from federation.backends.translation.rules import Action
from tests.unit.federation.translate.builders import (
    make_container,
    make_pod,
    make_spec,
    own_part,
    translated,
)
from vnode.backend import Rejected

OPENAPI: dict[str, dict[str, str | None]] = json.loads(
    (Path(__file__).parent / "podspec-1.36.json").read_text()
)
TABLES = {table.name: table for table in tables()}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_has_a_row_for_every_field_of_its_type(table: Table) -> None:
    assert set(table.rows) == set(OPENAPI[table.name])


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_travels_is_checked_down_to_its_leaves(table: Table) -> None:
    for name, row in table.rows.items():
        kind = OPENAPI[table.name][name]
        if row.of is not None:
            assert (f"[{row.of.name}]" if row.many else row.of.name) == kind, name
        elif row.action in (Action.KEEP, Action.REWRITE):
            assert kind is None, name


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_does_not_travel_says_why(table: Table) -> None:
    for name, row in table.rows.items():
        if row.action in (Action.DROP, Action.REJECT):
            assert row.text, name


unknown = st.from_regex(r"[a-z][a-zA-Z]{2,20}", fullmatch=True)
meaningful = st.one_of(
    st.booleans(), st.integers(), st.text(min_size=1), st.just([1]), st.just({"a": 1})
)


@given(unknown.filter(lambda name: name not in POD_SPEC.rows), meaningful)
def test_an_unknown_pod_field_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Rejected) as refused:
        translated(make_pod(make_spec(**{name: value})))
    assert refused.value.field == f"spec.{name}"


@given(unknown.filter(lambda name: name not in TABLES["Container"].rows), meaningful)
def test_an_unknown_container_field_is_refused_by_name(name: str, value: object) -> None:
    spec = make_spec(initContainers=[make_container(), make_container(**{name: value})])
    with pytest.raises(Rejected) as refused:
        translated(make_pod(spec))
    assert refused.value.field == f"spec.initContainers[1].{name}"


@given(unknown.filter(lambda name: name not in TABLES["Volume"].rows), meaningful)
def test_an_unknown_volume_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(Rejected) as refused:
        translated(make_pod(make_spec(volumes=[{"name": "v", name: value}])))
    assert refused.value.field == f"spec.volumes[0].{name}"


@pytest.mark.parametrize("empty", [None, "", [], {}])
def test_an_unknown_field_that_says_nothing_is_left_out(empty: object) -> None:
    assert "newField" not in translated(make_pod(make_spec(newField=empty)))["spec"]


def test_a_field_deep_inside_is_refused_with_its_whole_path() -> None:
    probe = {"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "b", "new": "c"}]}}
    with pytest.raises(Rejected) as refused:
        translated(make_pod(make_spec(containers=[make_container(livenessProbe=probe)])))
    assert refused.value.field == ("spec.containers[0].livenessProbe.httpGet.httpHeaders[0].new")
    assert str(refused.value).startswith(f"{refused.value.field}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("containers", {"name": "x"}),
        ("containers", ["x"]),
        ("volumes", "x"),
        ("securityContext", []),
        ("schedulerName", 7),
        ("dnsConfig", {"searches": "x"}),
        ("tolerations", [{"key": 1}]),
        ("nodeSelector", "x"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused_and_not_a_crash(field: str, value: object) -> None:
    with pytest.raises(Rejected) as refused:
        translated(make_pod(make_spec(**{field: value})))
    assert refused.value.field.startswith(f"spec.{field}")


def test_a_spec_that_is_no_object_is_refused() -> None:
    pod = msgspec.structs.replace(make_pod(), spec=msgspec.Raw(b"[]"))
    with pytest.raises(Rejected, match="must be an object"):
        translated(pod)


KEPT: dict[str, object] = {
    "activeDeadlineSeconds": 60,
    "dnsPolicy": "None",
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    "hostname": "h",
    "os": {"name": "linux"},
    "resources": {"limits": {"cpu": "4"}},
    "restartPolicy": "OnFailure",
    "securityContext": {"fsGroup": 5, "runAsNonRoot": True, "supplementalGroups": [1]},
    "setHostnameAsFQDN": True,
    "shareProcessNamespace": True,
    "subdomain": "s",
    "terminationGracePeriodSeconds": 5,
}


@pytest.mark.parametrize("field", KEPT)
def test_a_pod_field_that_means_the_same_below_is_kept(field: str) -> None:
    assert translated(make_pod(make_spec(**{field: KEPT[field]})))["spec"][field] == KEPT[field]


def test_a_native_sidecar_is_kept_whole() -> None:
    sidecar = make_container(
        name="proxy",
        restartPolicy="Always",
        args=["-v"],
        command=["proxy"],
        imagePullPolicy="Always",
        lifecycle={"preStop": {"exec": {"command": ["stop"]}}, "stopSignal": "SIGUSR1"},
        startupProbe={"grpc": {"port": 9, "service": "s"}, "periodSeconds": 1},
        ports=[{"containerPort": 80, "name": "http", "protocol": "TCP"}],
        resizePolicy=[{"resourceName": "cpu", "restartPolicy": "NotRequired"}],
        resources={"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
        restartPolicyRules=[{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
        stdin=True,
        tty=True,
        terminationMessagePolicy="FallbackToLogsOnError",
        volumeMounts=[{"name": "v", "mountPath": "/v", "subPathExpr": "$(X)", "readOnly": True}],
        workingDir="/w",
    )
    below = translated(make_pod(make_spec(initContainers=[sidecar])))["spec"]
    assert [own_part(container) for container in below["initContainers"]] == [sidecar]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("nodeName", "vnode-a"),
        ("overhead", {"cpu": "1"}),
        ("preemptionPolicy", "Never"),
        ("priority", 100),
        ("readinessGates", [{"conditionType": "x"}]),
        ("schedulingGates", [{"name": "x"}]),
        ("serviceAccount", "launcher"),
        ("ephemeralContainers", [{"name": "debug", "image": "busybox"}]),
    ],
)
def test_a_pod_field_of_the_tenant_cluster_alone_is_dropped(field: str, value: object) -> None:
    assert field not in translated(make_pod(make_spec(**{field: value})))["spec"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resourceClaims", [{"name": "gpu", "resourceClaimName": "c"}]),
        ("schedulingGroup", {"podGroupName": "g"}),
        ("resources", {"claims": [{"name": "gpu"}]}),
    ],
)
def test_what_is_not_done_yet_is_refused_and_said(field: str, value: object) -> None:
    with pytest.raises(Rejected, match="not supported yet") as refused:
        translated(make_pod(make_spec(**{field: value})))
    assert refused.value.field.startswith(f"spec.{field}")
