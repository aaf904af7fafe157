"""The manifests: what they hold for a plan, and no right too many."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_MADE,
    LABEL_TENANT,
    MADE_ON_DEMAND,
)
from federation.join.plan import endpoint_of
from federation.join.render import compute_objects, tenant_objects
from tests.unit.federation.join.builders import make_plan, of_kind, one

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FOLDER = resources.files("federation.join") / "manifests"
FILES = sorted((file for file in FOLDER.iterdir()), key=lambda file: file.name)
LEVEL = "pod-security.kubernetes.io/enforce"
EVERYTHING = [
    *compute_objects(make_plan(capacity_nodes=True, usage_kubelet=True)),
    *compute_objects(make_plan(on_demand=True)),
    *tenant_objects(make_plan()),
]
ROLES = [each for kind in ("Role", "ClusterRole") for each in of_kind(EVERYTHING, kind)]


def granted(roles: list[Any]) -> set[tuple[str, str, str]]:
    return {
        (rule["apiGroups"][0], resource, verb)
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_every_file_is_of_some_plan_and_nothing_in_it_is_left_open() -> None:
    written = sorted(
        str(each["kind"])
        for file in FILES
        for each in yaml.load_all(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    )
    assert set(written) <= {each["kind"] for each in EVERYTHING}
    assert "${" not in str(EVERYTHING)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role["metadata"]["name"]))
def test_nothing_is_granted_by_a_wildcard_and_no_right_leads_to_more(role: Any) -> None:
    dangerous = {"escalate", "bind", "impersonate", "approve", "sign", "deletecollection"}
    for rule in role["rules"]:
        assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
        assert dangerous.isdisjoint(rule["verbs"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_right_says_why(file: Traversable) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("- apiGroups:"):
            assert lines[number - 1].startswith("#"), f"{file.name}:{number + 1}"


def test_only_our_own_roles_are_bound_and_only_to_the_agent() -> None:
    own = {role["metadata"]["name"] for role in ROLES}
    for kind in ("RoleBinding", "ClusterRoleBinding"):
        for binding in of_kind(EVERYTHING, kind):
            assert binding["roleRef"]["name"] in own
            (subject,) = binding["subjects"]
            assert subject["name"] in ("vnode-red", "vnode")
            assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", "vnode-system")


def test_nothing_is_granted_in_the_whole_cluster_unless_asked_for() -> None:
    objects = compute_objects(make_plan("a", "b"))
    assert of_kind(objects, "ClusterRole") == of_kind(objects, "ClusterRoleBinding") == []


def test_the_agent_makes_tokens_of_its_own_account_alone() -> None:
    about_tokens = [
        (role["metadata"]["namespace"], rule)
        for role in ROLES
        for rule in role["rules"]
        if "serviceaccounts/token" in rule["resources"]
    ]
    for namespace, rule in about_tokens:
        assert namespace == "vnode-system"
        assert rule["resourceNames"] == ["vnode-red"]
    assert len(about_tokens) == 2  # of both sets of EVERYTHING


def test_every_object_but_the_accounts_namespace_belongs_to_the_tenant() -> None:
    shared = [each for each in EVERYTHING if LABEL_TENANT not in each["metadata"]["labels"]]  # type: ignore[index,call-overload,operator]
    assert {each["metadata"]["name"] for each in shared} == {"vnode-system"}  # type: ignore[index,call-overload]
    for role in of_kind(EVERYTHING, "ClusterRole"):
        assert role["metadata"]["name"].startswith("vnode-red-")


def test_a_namespace_says_whose_it_is_and_how_pods_are_judged() -> None:
    objects = compute_objects(make_plan(tenant_uid="uid-1"))
    metadata = one(objects, "Namespace", "red--team-a")["metadata"]
    assert metadata["labels"][LABEL_TENANT] == "red"
    assert metadata["labels"][LEVEL] == "baseline"
    assert metadata["annotations"] == {
        "vnode.dev/namespace": "team-a",
        "vnode.dev/cluster-uid": "uid-1",
    }


@pytest.mark.parametrize("on_demand", [False, True])
def test_the_account_says_for_which_tenant_cluster_it_is(on_demand: bool) -> None:
    objects = compute_objects(make_plan(tenant_uid="uid-1", on_demand=on_demand))
    metadata = one(objects, "ServiceAccount", "vnode-red")["metadata"]
    assert metadata["annotations"] == {"vnode.dev/cluster-uid": "uid-1"}
    # It holds the accounts of all tenants.
    assert "annotations" not in one(objects, "Namespace", "vnode-system")["metadata"]


def test_namespaces_come_before_what_is_in_them() -> None:
    objects: list[Any] = compute_objects(make_plan("a", "b"))
    made: set[str] = {"kube-system"}
    for each in objects:
        if each["kind"] == "Namespace":
            made.add(each["metadata"]["name"])
        assert each["metadata"].get("namespace", "kube-system") in made


def test_the_quota_holds_500_pods_of_a_tenth_of_a_cpu() -> None:
    objects = compute_objects(make_plan())
    hard = one(objects, "ResourceQuota", "vnode")["spec"]["hard"]
    (limit,) = one(objects, "LimitRange", "vnode")["spec"]["limits"]

    assert hard["pods"] == "1k"
    assert int(hard["requests.cpu"]) >= 50
    # A quota of these refuses pods without requests, unless they get default ones.
    assert limit["defaultRequest"]["cpu"]
    assert limit["defaultRequest"]["memory"]


def test_objects_and_disks_are_bounded_and_nobody_needs_to_ask_for_disk() -> None:
    objects = compute_objects(make_plan())
    (limit,) = one(objects, "LimitRange", "vnode")["spec"]["limits"]

    assert {"configmaps", "secrets"} <= set(
        one(objects, "ResourceQuota", "vnode-objects")["spec"]["hard"]
    )
    assert limit["default"]["ephemeral-storage"]
    # Without it the limit would be requested, and most nodes were full at once.
    assert limit["defaultRequest"]["ephemeral-storage"] == "0"


def test_quotas_are_the_ones_asked_for() -> None:
    quotas = {"": {"pods": "10", "secrets": "7"}, "b": {"pods": "20"}}
    objects = compute_objects(make_plan("a", "b", quotas=quotas))
    found = {
        (each["metadata"]["namespace"], each["metadata"]["name"]): each["spec"]["hard"]
        for each in of_kind(objects, "ResourceQuota")
    }
    assert found["red--a", "vnode"] == {"pods": "10"}
    assert found["red--b", "vnode"] == {"pods": "20"}
    assert found["red--a", "vnode-objects"] == {"configmaps": "2k", "secrets": "7"}
    assert found["red--b", "vnode-objects"] == {"configmaps": "2k", "secrets": "3k"}


def test_the_network_is_closed_but_for_the_own_namespace_dns_and_the_outside() -> None:
    policy = one(compute_objects(make_plan()), "NetworkPolicy", "vnode")["spec"]
    outside = {net for peer in policy["egress"][-1]["to"] for net in peer["ipBlock"]["except"]}

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"from": [{"podSelector": {}}]}]
    assert {"169.254.0.0/16", "100.64.0.0/10", "10.0.0.0/8"} <= outside
    assert len(policy["egress"]) == 3


def test_pods_reach_the_api_server_of_the_tenant_where_it_is_known() -> None:
    plan = make_plan(api_server=endpoint_of("203.0.113.10:6443"))
    policy = one(compute_objects(plan), "NetworkPolicy", "vnode")["spec"]
    assert {
        "to": [{"ipBlock": {"cidr": "203.0.113.10/32"}}],
        "ports": [{"protocol": "TCP", "port": 6443}],
    } in policy["egress"]
    assert len(policy["egress"]) == 4


def test_two_plans_do_not_share_what_was_filled_in() -> None:
    compute_objects(make_plan(quotas={"": {"pods": "1"}}))
    hard = one(compute_objects(make_plan()), "ResourceQuota", "vnode")["spec"]["hard"]
    assert hard["pods"] == "1k"


class TestOnDemand:
    objects = compute_objects(make_plan(on_demand=True))

    def test_it_grants_what_a_prepared_namespace_grants_and_the_making_of_namespaces(self) -> None:
        prepared = granted(of_kind(compute_objects(make_plan()), "Role"))
        here = granted(of_kind(self.objects, "ClusterRole") + of_kind(self.objects, "Role"))

        assert here - prepared == {
            ("", "namespaces", "create"),
            ("", "namespaces", "list"),
            ("", "namespaces", "delete"),
            ("", "persistentvolumeclaims", "list"),
            ("", "serviceaccounts", "get"),
        }
        assert prepared < here

    def test_no_namespace_is_prepared(self) -> None:
        assert [each["metadata"]["name"] for each in of_kind(self.objects, "Namespace")] == [
            "vnode-system"
        ]

    def test_the_policies_are_about_the_agents_account_and_deny(self) -> None:
        policies = of_kind(self.objects, "ValidatingAdmissionPolicy")
        bindings = of_kind(self.objects, "ValidatingAdmissionPolicyBinding")
        user = 'request.userInfo.username == "system:serviceaccount:vnode-system:vnode-red"'

        assert len(policies) == 2
        for policy in policies:
            (condition,) = policy["spec"]["matchConditions"]
            assert condition["expression"] == user
            assert policy["spec"]["failurePolicy"] == "Fail"
        assert {each["spec"]["policyName"] for each in bindings} == {
            each["metadata"]["name"] for each in policies
        }
        assert all(each["spec"]["validationActions"] == ["Deny"] for each in bindings)

    def test_privileged_namespaces_have_no_policy_of_pod_security(self) -> None:
        plan = make_plan(on_demand=True, pod_security="privileged")
        (policy,) = of_kind(compute_objects(plan), "ValidatingAdmissionPolicy")
        assert policy["metadata"]["name"] == "vnode-red-fence"

    @pytest.mark.parametrize(
        ("plan", "expression"),
        [
            (make_plan(on_demand=True), 'request.name.startsWith("red--")'),
            (make_plan("a=x", "b=y", on_demand=True), 'request.name in ["x", "y"]'),
            (make_plan("a", same=True, on_demand=True), '!request.name.startsWith("kube-")'),
        ],
        ids=["prefix", "map", "same"],
    )
    def test_the_fence_lets_through_the_names_that_the_agent_makes(
        self, plan: Any, expression: str
    ) -> None:
        fence = one(compute_objects(plan), "ValidatingAdmissionPolicy", "vnode-red-fence")
        variables = {each["name"]: each["expression"] for each in fence["spec"]["variables"]}
        assert variables["fits"] == expression

    def test_the_fence_asks_for_the_marks_that_the_agent_writes(self) -> None:
        fence = str(one(self.objects, "ValidatingAdmissionPolicy", "vnode-red-fence"))
        assert f'"{LABEL_TENANT}"].orValue("") == "red"' in fence
        assert f'"{ANNOTATION_MADE}"].orValue("") == "{MADE_ON_DEMAND}"' in fence

    def test_of_kubelets_the_fence_lets_resource_usage_through_alone(self) -> None:
        fence = one(self.objects, "ValidatingAdmissionPolicy", "vnode-red-fence")
        variables = {each["name"]: each["expression"] for each in fence["spec"]["variables"]}
        assert re.findall(r"object\.path .*", variables["usage"]) == [
            'object.path == "/stats/summary"'
        ]
