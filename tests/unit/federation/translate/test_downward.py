"""What a pod learns of itself, in variables and in files, is what the tenant's API server says."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.policy import HostAccess, TranslationPolicy
from federation.backends.translation.downward import format_map
from tests.builders import loads, raw
from tests.unit.federation.translate.builders import (
    POLICY,
    TENANT_UID,
    make_container,
    make_pod,
    make_spec,
    translated,
)
from tests.unit.federation.translate.test_update import make_copy, updated
from vnode.backend import Rejected

QUEUE = "kueue.x-k8s.io/queue-name"


def variable(path: str) -> dict[str, Any]:
    return {"name": "X", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}


def spec_with_variable(path: str, **spec: Any) -> dict[str, Any]:
    containers = [make_container(env=[variable(path)])]
    return make_spec(containers=containers, serviceAccountName="launcher", **spec)


def spec_with_file(path: str, *, projected: bool = False) -> dict[str, Any]:
    item = {"path": "f", "mode": 292, "fieldRef": {"apiVersion": "v1", "fieldPath": path}}
    source = {"downwardAPI": {"items": [item]}}
    return make_spec(
        volumes=[{"name": "v", **({"projected": {"sources": [source]}} if projected else source)}]
    )


def variable_below(spec: dict[str, Any], policy: TranslationPolicy = POLICY, **pod: Any) -> Any:
    return translated(make_pod(spec, **pod), policy)["spec"]["containers"][0]["env"][0]


def answer(below: Any) -> str:
    """What a kubelet would answer, from the copy's metadata."""
    spec, metadata = below["spec"], below["metadata"]
    if "volumes" in spec:
        volume = spec["volumes"][0]
        source = volume["projected"]["sources"][0] if "projected" in volume else volume
        [item] = source["downwardAPI"]["items"]
        assert (item["path"], item["mode"]) == ("f", 292)
        path = item["fieldRef"]["fieldPath"]
    else:
        path = spec["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"]
    kind, _, key = path.removeprefix("metadata.").removesuffix("']").partition("['")
    return str(metadata[kind].get(key, ""))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.namespace", "team-a"),
        ("metadata.uid", TENANT_UID),
        ("spec.nodeName", "vnode-a"),
        ("spec.host", "vnode-a"),
        ("spec.serviceAccountName", "launcher"),
        ("status.hostIP", "192.0.2.7"),
        ("status.hostIPs", "192.0.2.7"),
    ],
)
def test_a_variable_tells_who_the_pod_is_in_the_tenant_cluster(path: str, value: str) -> None:
    assert variable_below(spec_with_variable(path)) == {"name": "X", "value": value}


@pytest.mark.parametrize(
    "path",
    [
        "metadata.name",
        "metadata.labels['app']",
        "metadata.annotations['note']",
        "status.podIP",
        "status.podIPs",
    ],
)
def test_what_is_true_below_too_is_answered_there(path: str) -> None:
    assert variable_below(spec_with_variable(path)) == variable(path)
    if path.startswith("metadata"):
        item = translated(make_pod(spec_with_file(path)))["spec"]["volumes"][0]["downwardAPI"]
        assert item["items"][0]["fieldRef"]["fieldPath"] == path


@pytest.mark.parametrize("path", ["status.hostIP", "status.hostIPs"])
def test_the_real_host_is_seen_where_the_policy_exposes_it_or_the_network_is_the_hosts(
    path: str,
) -> None:
    exposed = TranslationPolicy(expose_host_ip=True)
    assert variable_below(spec_with_variable(path), exposed) == variable(path)
    allowed = TranslationPolicy(allow=frozenset({HostAccess.HOST_NETWORK}))
    on_host = spec_with_variable(path, hostNetwork=True)
    assert variable_below(on_host, allowed) == variable(path)


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize(
    ("path", "value"), [("metadata.namespace", "team-a"), ("metadata.uid", TENANT_UID)]
)
def test_a_file_tells_who_the_pod_is_in_the_tenant_cluster(
    path: str, value: str, projected: bool
) -> None:
    assert answer(translated(make_pod(spec_with_file(path, projected=projected)))) == value


KEYS = [QUEUE, "app.kubernetes.io/managed-by", "vnode.dev/tenant", "vnode.dev/spec-hash", "pool"]


@pytest.mark.parametrize("kind", ["labels", "annotations"])
@pytest.mark.parametrize("make", [spec_with_variable, spec_with_file])
@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("given", ["mine $(HOME)", None])
def test_a_key_that_is_another_below_is_still_the_tenants(
    kind: str, make: Any, key: str, given: str | None
) -> None:
    overlay = {"pool": "the platform's"}
    policy = TranslationPolicy(overlay_labels=overlay, overlay_annotations=overlay)
    own: Any = {kind: {key: given} if given else {}}
    below = translated(make_pod(make(f"metadata.{kind}['{key}']"), **own), policy)
    assert answer(below) == (given or "")
    if key != "pool":
        assert below["metadata"][kind].get(key) != "mine $(HOME)"


@pytest.mark.parametrize("kind", ["labels", "annotations"])
@pytest.mark.parametrize("projected", [False, True])
def test_a_file_of_a_whole_map_holds_what_the_tenant_has_and_no_more(
    kind: str, projected: bool
) -> None:
    has = {QUEUE: "gold", "app": "train", "app.kubernetes.io/managed-by": "Helm"}
    own: Any = {kind: has}
    policy = TranslationPolicy(overlay_labels={"x": "y"}, overlay_annotations={"x": "y"})
    pod = make_pod(spec_with_file(f"metadata.{kind}", projected=projected), **own)
    assert answer(translated(pod, policy)) == (
        'app="train"\napp.kubernetes.io/managed-by="Helm"\nkueue.x-k8s.io/queue-name="gold"'
    )


def test_a_pod_that_does_not_ask_carries_no_answers() -> None:
    below = translated(make_pod(labels={"app": "x"}))
    assert not [key for key in below["metadata"]["annotations"] if "field-" in key]


@pytest.mark.parametrize("make", [spec_with_variable, spec_with_file])
def test_an_unknown_field_path_is_refused(make: Any) -> None:
    with pytest.raises(Rejected, match="is not supported") as refused:
        translated(make_pod(make("status.phase")))
    assert refused.value.field in (
        "spec.containers[0].env[0]",
        "spec.volumes[0].downwardAPI.items[0].fieldRef",
    )


@pytest.mark.parametrize("path", ["metadata.labels", f"metadata.labels['{QUEUE}']"])
def test_a_changed_label_reaches_the_file(path: str) -> None:
    spec = spec_with_file(path)
    copy = make_copy(make_pod(spec, labels={QUEUE: "silver"}))
    changed = updated(make_pod(spec, labels={QUEUE: "gold"}, generation=2), copy)
    assert answer(loads(raw(changed))) == (
        f'{QUEUE}="gold"' if path == "metadata.labels" else "gold"
    )


GO = {
    "plain": '"plain"',
    "": '""',
    'say "x"': r'"say \"x\""',
    "back\\slash": r'"back\\slash"',
    "two\nlines\tand\r\a\b\f\v": r'"two\nlines\tand\r\a\b\f\v"',
    "\x00\x1f\x7f": r'"\x00\x1f\x7f"',
    "é ü 中 🚀": '"é ü 中 🚀"',
    "\u00a0\u00ad\u200b\u2028\ufeff": r'"\u00a0\u00ad\u200b\u2028\ufeff"',
    "\U000e0001": r'"\U000e0001"',
}
"""Values as Go's strconv.Quote writes them, by value."""


@pytest.mark.parametrize("value", GO)
def test_values_are_quoted_as_a_kubelet_does(value: str) -> None:
    assert format_map({"b": value, "a": "x"}) == f'a="x"\nb={GO[value]}'
