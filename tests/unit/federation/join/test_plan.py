"""What is asked for, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from federation.join.plan import PlanError, endpoint_of, mapping_of, plan_of, quotas_of
from federation.join.render import compute_objects
from tests.unit.federation.join.builders import make_config, make_plan, of_kind
from vnode.kube.quantity import Quantity


def test_names_below_have_the_tenant_as_prefix_unless_told_otherwise() -> None:
    assert make_plan("a", "b").below("b") == "red--b"
    assert make_plan("a", same=True).below("a") == "a"
    assert make_plan("a=research", "b=lab").below("b") == "lab"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a=b", "c"], "either every namespace has a compute name"),
        (["a", "a"], "twice"),
        (["a=x", "b=x"], "map to 'x'"),
        (["a=X"], "not a DNS label"),
    ],
)
def test_names_that_do_not_go_together_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        mapping_of("red", names)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"namespaces": ()}, "--namespaces"),
        ({"pod_security": "none"}, "no Pod Security level"),
        ({"quotas": {"other": {"pods": "1"}}}, "none of --namespaces"),
        ({"on_demand": True, "quotas": {"": {"pods": "1"}}}, "leave --quota or --on-demand out"),
        ({"cluster": "GPU"}, "no name of a cluster"),
        ({"namespaces": ["Team"]}, "no name of a cluster or namespace"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        make_plan(**changes)


def test_a_namespace_of_kubernetes_has_none_below_under_the_same_name() -> None:
    with pytest.raises(PlanError, match="kube-system"):
        make_plan("kube-system", same=True)


def test_quotas_are_for_each_namespace_or_for_one() -> None:
    found = quotas_of(["pods=100,requests.nvidia.com/gpu=8", "a:pods=5"])
    assert found == {"": {"pods": "100", "requests.nvidia.com/gpu": "8"}, "a": {"pods": "5"}}


def test_quantities_are_written_as_api_servers_store_them() -> None:
    """Else the same number is a conflict with whoever applied what was printed."""
    assert quotas_of(["pods=1000,requests.cpu=0.5"]) == {"": {"pods": "1k", "requests.cpu": "500m"}}
    for each in of_kind(compute_objects(make_plan()), "ResourceQuota"):
        hard = each["spec"]["hard"]
        assert hard == {key: str(Quantity.parse(value)) for key, value in hard.items()}


@pytest.mark.parametrize("text", ["pods", "pods=", "pods=many", "=1", "a:"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="no quota"):
        quotas_of([text])


def test_an_api_server_is_an_address_and_a_port() -> None:
    assert endpoint_of("203.0.113.10:6443").cidr == "203.0.113.10/32"
    assert endpoint_of("[2001:db8::1]:443").cidr == "2001:db8::1/128"
    for text in ("api.example.com:443", "203.0.113.10", "203.0.113.10:0"):
        with pytest.raises(PlanError, match="no ADDRESS:PORT"):
            endpoint_of(text)


def test_a_configuration_says_what_its_agent_needs() -> None:
    config = make_config(
        {
            "usage": "kubelet",
            "namespaces": {"mode": "map", "table": {"team-a": "research"}},
            "pools": [{"capacity": {"sources": ["nodes"]}}],
        },
        tenant={
            "name": "red",
            "namespaces": ["team-a"],
            "apiServer": {"host": "203.0.113.10", "port": 6443},
        },
    )
    plan = plan_of(config, config.kubernetes_clusters[0])
    assert (plan.usage_kubelet, plan.capacity_nodes, plan.on_demand) == (True, True, False)
    assert plan.below("team-a") == "research"
    assert plan.api_server == endpoint_of("203.0.113.10:6443")


def test_a_configuration_that_needs_no_broad_right_gets_none_unless_asked_for() -> None:
    config = make_config()
    plan = plan_of(config, config.kubernetes_clusters[0])
    assert (plan.usage_kubelet, plan.capacity_nodes, plan.on_demand) == (False, False, False)
    assert plan_of(config, config.kubernetes_clusters[0], usage_kubelet=True).usage_kubelet


def test_an_api_server_that_is_known_by_name_only_has_no_rule() -> None:
    server = {"host": "api.example.com", "port": 6443}
    config = make_config(tenant={"name": "red", "namespaces": ["a"], "apiServer": server})
    assert plan_of(config, config.kubernetes_clusters[0]).api_server is None
