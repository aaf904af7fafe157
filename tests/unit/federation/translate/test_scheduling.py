"""Where a copy may run: the pool's rules, passthrough keys, and what the annotation asks."""

import dataclasses
import json
from typing import Any

import pytest

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_COMPUTE_SCHEDULING,
    NamespaceMapping,
    NamespaceMode,
)
from federation.backends.kubernetes.translate.policy import TranslationPolicy
from tests.unit.federation.translate.builders import make_pod, make_spec, spec_below, translated
from vnode.backend import Rejected

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
ZONE = "topology.kubernetes.io/zone"
HOST = "kubernetes.io/hostname"
POOL = TranslationPolicy(
    node_selector={"pool": "gpu"},
    tolerations=({"key": "gpu", "operator": "Exists", "effect": "NoExecute"},),
    passthrough=frozenset({"disk", ZONE}),
    scheduling_keys=frozenset({"gpu-model", "rack", HOST}),
)


def expression(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def node_affinity(*terms: list[dict[str, Any]]) -> dict[str, Any]:
    selector = {"nodeSelectorTerms": [{"matchExpressions": term} for term in terms]}
    return {"nodeAffinity": {REQUIRED: selector}}


def pod_term(topology: str = ZONE, **fields: Any) -> dict[str, Any]:
    return {"topologyKey": topology, "labelSelector": {"matchLabels": {"a": "b"}}, **fields}


def asking(asked: object, policy: TranslationPolicy = POOL, **fields: Any) -> Any:
    text = asked if isinstance(asked, str) else json.dumps(asked)
    pod = make_pod(make_spec(**fields), annotations={ANNOTATION_COMPUTE_SCHEDULING: text})
    return translated(pod, policy)["spec"]


def test_a_pod_without_wishes_gets_the_pools_rules() -> None:
    below = spec_below(POOL)
    assert below["nodeSelector"] == {"pool": "gpu"}
    assert below["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoExecute"}]


def test_what_chose_the_virtual_node_stays_behind() -> None:
    below = spec_below(
        TranslationPolicy(),
        nodeSelector={"type": "virtual-kubelet", HOST: "vnode-a"},
        affinity={
            **node_affinity([expression("org", "public")]),
            "podAntiAffinity": {REQUIRED: [pod_term(HOST)]},
        },
        tolerations=[
            {"key": "vnode.dev/provider", "operator": "Exists"},
            {"operator": "Exists"},
            {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "operator": "Exists"},
        ],
        topologySpreadConstraints=[
            {"topologyKey": HOST, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
        ],
    )
    for field in ("nodeSelector", "affinity", "tolerations", "topologySpreadConstraints"):
        assert field not in below


def test_passthrough_labels_are_anded_with_the_pools() -> None:
    below = spec_below(POOL, nodeSelector={"disk": "ssd", "org": "public"})
    assert below["nodeSelector"] == {"pool": "gpu", "disk": "ssd"}


def test_nodes_are_never_chosen_by_name_even_where_that_key_passes() -> None:
    policy = TranslationPolicy(passthrough=frozenset({HOST}))
    below = spec_below(
        policy,
        nodeSelector={HOST: "vnode-a"},
        affinity=node_affinity([expression(HOST, "vnode-a")]),
    )
    assert "nodeSelector" not in below
    assert "affinity" not in below


def test_a_wish_against_the_pools_own_selector_is_refused() -> None:
    policy = TranslationPolicy(node_selector={"pool": "gpu"}, passthrough=frozenset({"pool"}))
    with pytest.raises(Rejected, match="pool=cpu") as refused:
        spec_below(policy, nodeSelector={"pool": "cpu"})
    assert refused.value.field == "spec.nodeSelector"
    assert "gpu" not in str(refused.value)


def test_passthrough_tolerations_never_tolerate_eviction() -> None:
    below = spec_below(
        TranslationPolicy(passthrough=frozenset({"disk"})),
        tolerations=[
            {"key": "disk", "operator": "Exists"},
            {"key": "disk", "operator": "Exists", "effect": "NoExecute"},
        ],
    )
    assert below["tolerations"] == [
        {"key": "disk", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "disk", "operator": "Exists", "effect": "PreferNoSchedule"},
    ]


def test_node_affinity_keeps_its_passthrough_expressions() -> None:
    affinity = node_affinity([expression("disk", "ssd"), expression("org", "x")])
    preference = {"weight": 1, "preference": {"matchExpressions": [expression(ZONE, "a")]}}
    affinity["nodeAffinity"][PREFERRED] = [
        preference,
        {"weight": 2, "preference": {"matchExpressions": [expression("org", "x")]}},
    ]
    below = spec_below(POOL, affinity=affinity)["affinity"]
    expected = node_affinity([expression("disk", "ssd")])
    expected["nodeAffinity"][PREFERRED] = [preference]
    assert below == expected


def test_an_alternative_that_says_nothing_below_lifts_the_constraint() -> None:
    affinity = node_affinity([expression("disk", "ssd")], [expression("org", "x")])
    assert "affinity" not in spec_below(POOL, affinity=affinity)


def test_the_affinity_of_a_daemon_set_pod_stays_behind() -> None:
    fields = [{"key": "metadata.name", "operator": "In", "values": ["vnode-a"]}]
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": fields}]}}}
    assert "affinity" not in spec_below(POOL, affinity=affinity)


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
def test_pod_affinity_travels_by_topology_key(kind: str) -> None:
    weighted = [
        {"weight": 1, "podAffinityTerm": pod_term()},
        {"weight": 1, "podAffinityTerm": pod_term(HOST)},
    ]
    below = spec_below(
        POOL, affinity={kind: {REQUIRED: [pod_term(HOST), pod_term()], PREFERRED: weighted}}
    )
    assert below["affinity"] == {kind: {REQUIRED: [pod_term()], PREFERRED: weighted[:1]}}


def test_namespaces_in_terms_are_the_tenants_own() -> None:
    term = pod_term(namespaces=["team-a", "team-b"])
    below = spec_below(POOL, affinity={"podAffinity": {REQUIRED: [term]}})
    assert below["affinity"]["podAffinity"][REQUIRED][0]["namespaces"] == [
        "red--team-a",
        "red--team-b",
    ]


def test_a_namespace_that_is_not_forwarded_is_refused_in_a_term() -> None:
    pod = make_pod(
        make_spec(affinity={"podAffinity": {REQUIRED: [pod_term(namespaces=["kube-system"])]}})
    )
    mapping = NamespaceMapping("red", NamespaceMode.MAP, {"team-a": "a"})
    with pytest.raises(Rejected, match="kube-system"):
        translated(pod, POOL, namespaces=mapping)


@pytest.mark.parametrize("mode", [NamespaceMode.PREFIX, NamespaceMode.SAME])
def test_a_term_names_no_namespace_that_the_agent_does_not_forward(mode: NamespaceMode) -> None:
    """In mode `same` it may be another tenant's."""
    policy = dataclasses.replace(POOL, namespaces=frozenset({"team-a"}))
    mapping = NamespaceMapping("red", mode)

    def below(*namespaces: str) -> Any:
        term = pod_term(namespaces=[*namespaces])
        pod = make_pod(make_spec(affinity={"podAntiAffinity": {REQUIRED: [term]}}))
        return translated(pod, policy, namespaces=mapping)

    assert below("team-a")
    with pytest.raises(Rejected, match="stranger"):
        below("team-a", "stranger")


@pytest.mark.parametrize("selector", [{}, {"matchLabels": {"vnode.dev/tenant": "blue"}}])
def test_terms_cannot_select_other_tenants_by_namespace_labels(selector: dict[str, Any]) -> None:
    term = pod_term(namespaceSelector=selector)
    with pytest.raises(Rejected, match="namespaceSelector"):
        spec_below(POOL, affinity={"podAntiAffinity": {REQUIRED: [term]}})


def test_match_label_keys_are_refused_where_they_would_travel() -> None:
    term = pod_term(matchLabelKeys=["pod-template-hash"])
    with pytest.raises(Rejected, match="matchLabelKeys"):
        spec_below(POOL, affinity={"podAntiAffinity": {REQUIRED: [term]}})


def test_spread_constraints_travel_by_topology_key() -> None:
    spread = {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    below = spec_below(POOL, topologySpreadConstraints=[spread, {**spread, "topologyKey": HOST}])
    assert below["topologySpreadConstraints"] == [spread]


def test_the_annotation_is_anded_with_the_pool_and_with_what_passes() -> None:
    asked = {
        "nodeSelector": {"gpu-model": "a100"},
        "affinity": {
            **node_affinity([expression("rack", "1")], [expression("rack", "2")]),
            "podAntiAffinity": {REQUIRED: [pod_term(HOST)]},
        },
        "tolerations": [{"key": "rack", "operator": "Exists", "effect": "NoSchedule"}],
        "topologySpreadConstraints": [
            {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "ScheduleAnyway"}
        ],
    }
    own = {
        **node_affinity([expression("disk", "ssd")]),
        "podAntiAffinity": {REQUIRED: [pod_term()]},
    }
    below = asking(asked, affinity=own)
    assert below["nodeSelector"] == {"pool": "gpu", "gpu-model": "a100"}
    assert below["affinity"] == {
        **node_affinity(
            [expression("disk", "ssd"), expression("rack", "1")],
            [expression("disk", "ssd"), expression("rack", "2")],
        ),
        "podAntiAffinity": {REQUIRED: [pod_term(), pod_term(HOST)]},
    }
    assert below["tolerations"][1:] == asked["tolerations"]
    assert below["topologySpreadConstraints"] == asked["topologySpreadConstraints"]


def test_an_affinity_of_the_annotation_alone_is_taken_over() -> None:
    asked = {"affinity": node_affinity([expression("rack", "1")])}
    assert asking(asked)["affinity"] == asked["affinity"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"nodeSelector": {"other": "x"}}, ".nodeSelector"),
        ({"nodeSelector": {HOST: "gpu-node-1"}}, ".nodeSelector"),
        ({"affinity": node_affinity([expression("other", "x")])}, ".affinity"),
        ({"affinity": node_affinity([expression(HOST, "gpu-node-1")])}, ".affinity"),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        REQUIRED: {
                            "nodeSelectorTerms": [{"matchFields": [expression("metadata.name")]}]
                        }
                    }
                }
            },
            ".affinity",
        ),
        ({"affinity": {"podAffinity": {REQUIRED: [pod_term("other")]}}}, ".affinity"),
        ({"tolerations": [{"operator": "Exists"}]}, ".tolerations"),
        ({"tolerations": [{"key": "other", "effect": "NoSchedule"}]}, ".tolerations"),
        ({"tolerations": [{"key": "rack", "effect": "NoExecute"}]}, ".tolerations"),
        ({"tolerations": [{"key": "rack", "operator": "Exists"}]}, ".tolerations"),
        (
            {"topologySpreadConstraints": [{"topologyKey": "other", "maxSkew": 1}]},
            ".topologySpreadConstraints",
        ),
        ({"nodeName": "gpu-node-1"}, ".nodeName"),
        ({"affinity": {"new": 1}}, ".affinity.new"),
        ("[]", ""),
        ("{", ""),
    ],
)
def test_the_annotation_cannot_ask_for_more_than_is_allowed(asked: object, field: str) -> None:
    with pytest.raises(Rejected) as refused:
        asking(asked)
    assert refused.value.field == f"metadata.annotations[{ANNOTATION_COMPUTE_SCHEDULING}]{field}"


def test_affinities_that_would_multiply_are_refused() -> None:
    many = node_affinity(*([expression("rack", str(n))] for n in range(20)))
    own = node_affinity(*([expression("disk", str(n))] for n in range(20)))
    with pytest.raises(Rejected, match="too many"):
        asking({"affinity": many}, affinity=own)


def test_priority_goes_through_the_clusters_table() -> None:
    policy = TranslationPolicy(priority_classes={"high": "tenant-high"})
    below = spec_below(policy, priorityClassName="high", priority=1_000_000)
    assert below["priorityClassName"] == "tenant-high"
    assert "priority" not in below
    assert "priorityClassName" not in spec_below(policy, priorityClassName="system-node-critical")


def test_the_scheduler_goes_through_the_clusters_table() -> None:
    policy = TranslationPolicy(scheduler_names={"volcano": "volcano-shared"})
    assert spec_below(policy, schedulerName="volcano")["schedulerName"] == "volcano-shared"
    assert "schedulerName" not in spec_below(policy, schedulerName="default-scheduler")


def test_a_runtime_class_that_the_cluster_lacks_is_refused() -> None:
    policy = TranslationPolicy(runtime_classes={"gvisor": "runsc"})
    assert spec_below(policy, runtimeClassName="gvisor")["runtimeClassName"] == "runsc"
    with pytest.raises(Rejected, match="kata") as refused:
        spec_below(policy, runtimeClassName="kata")
    assert refused.value.field == "spec.runtimeClassName"
