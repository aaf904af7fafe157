"""Rights for Fluid: never without the policies that fence them, and what these allow."""

from __future__ import annotations

import json
from typing import Any

import pytest

from federation.config import CopiedVolume
from federation.fluid import build
from federation.join.fluid import FluidPlan, fence_values, fluid_plan
from federation.join.plan import PlanError, plan_of
from federation.join.render import compute_objects
from tests.unit.federation.fluid.builders import make_wish
from tests.unit.federation.join.builders import make_config, make_plan, of_kind, one

VOLUME = CopiedVolume(
    driver="csi.example.com",
    volume_handles=("red/*",),
    attributes={"path": ("a*",), "b": ("x", "y")},
    mount_options=("ro",),
)
ECI = {"type": "virtual-kubelet"}
FLUID = FluidPlan(profiles=("starfs",), volumes=(VOLUME,), reach=(ECI,))
RIGHTS = {
    ("data.fluid.io", "datasets"),
    ("data.fluid.io", "thinruntimes"),
    ("data.fluid.io", "dataloads"),
    ("apps", "daemonsets"),
}
FENCE, PODS = "vnode-red-fluid", "vnode-red-fluid-pods"


def objects_of(fluid: FluidPlan, **changes: Any) -> list[Any]:
    return compute_objects(
        make_plan("team-a", "team-b", fluid=fluid, **{"pod_security": "privileged", **changes})
    )


def granted(objects: list[Any]) -> set[tuple[str, str]]:
    """What is granted beyond a plan without Fluid, by group and resource; claims with create."""
    return {
        (rule["apiGroups"][0], resource)
        for kind in ("Role", "ClusterRole")
        for role in of_kind(objects, kind)
        if "fluid" in role["metadata"]["name"] or "volumes" in role["metadata"]["name"]
        for rule in role["rules"]
        for resource in rule["resources"]
    }


def policies(objects: list[Any]) -> set[str]:
    return {each["metadata"]["name"] for each in of_kind(objects, "ValidatingAdmissionPolicy")}


def variables(policy: Any) -> dict[str, str]:
    return {each["name"]: each["expression"] for each in policy["spec"]["variables"]}


@pytest.mark.parametrize(
    ("fluid", "rights"),
    [
        (FLUID, {*RIGHTS, ("", "persistentvolumeclaims"), ("", "persistentvolumes")}),
        (FluidPlan(profiles=("starfs",), reach=(ECI,)), RIGHTS),
        (
            FluidPlan(profiles=("s",), makes_datasets=False, volumes=(VOLUME,), reach=(ECI,)),
            {("", "persistentvolumeclaims"), ("", "persistentvolumes")},
        ),
        (FluidPlan(profiles=("s",), makes_datasets=False, reach=(ECI,)), set()),
    ],
    ids=["all", "prepared volumes", "a wrapper makes Datasets", "nothing is made"],
)
def test_rights_come_with_the_fence_of_them_and_before_it_no_right(
    fluid: FluidPlan, rights: set[tuple[str, str]]
) -> None:
    objects = objects_of(fluid)
    assert granted(objects) == rights
    assert policies(objects) == ({FENCE, PODS} if rights else {PODS})
    kinds = [each["kind"] for each in objects if "fluid" in each["metadata"]["name"]]
    fences = [at for at, kind in enumerate(kinds) if kind.startswith("Validating")]
    assert fences == list(range(len(fences)))
    for policy in of_kind(objects, "ValidatingAdmissionPolicy"):
        (condition,) = policy["spec"]["matchConditions"]
        assert condition["expression"].endswith('"system:serviceaccount:vnode-system:vnode-red"')
        assert policy["spec"]["failurePolicy"] == "Fail"
    assert "${" not in str(objects)


def test_without_fluid_nothing_of_it_is_there() -> None:
    objects = compute_objects(make_plan())
    assert granted(objects) == set()
    assert policies(objects) == set()


def test_the_fence_allows_the_fields_that_are_made_and_no_others() -> None:
    fence = one(objects_of(FLUID), "ValidatingAdmissionPolicy", FENCE)
    keys = json.loads(variables(fence)["keys"])
    wish = make_wish()
    made = {
        "datasets": build.dataset(wish),
        "thinruntimes": build.thin_runtime(wish),
        "dataloads": build.data_load(wish, "/"),
        "persistentvolumeclaims": build.claim_below(wish),
        "persistentvolumes": build.volume_below(wish, wish.uid),
    }
    assert set(keys) == set(made)
    for kind, body in made.items():
        spec: Any = body["spec"]
        extra = {"policy"} if kind == "dataloads" else set()  # the API server's default
        empty = {key for key, value in spec.items() if value == "" and kind == "persistentvolumes"}
        optional = {"mountOptions"} - set(spec) if kind == "persistentvolumes" else set()
        assert set(keys[kind]) == (set(spec) - empty) | extra | optional, kind


def test_a_volume_has_to_be_one_that_is_allowed() -> None:
    star = r"""[^\\x00-\\x20\\x7f,;&|<>()$`\"'\\\\]*"""
    assert fence_values(FLUID, ["red--team-a"])["volumeRules"] == (
        '((object.spec.csi.driver == "csi.example.com"'
        f' && (object.spec.csi.volumeHandle.matches("^red/{star}$"))'
        " && object.spec.csi.?volumeAttributes.orValue({}).all(k, "
        '((k == "b" && (object.spec.csi.volumeAttributes[k].matches("^x$")'
        ' || object.spec.csi.volumeAttributes[k].matches("^y$")))'
        f' || (k == "path" && (object.spec.csi.volumeAttributes[k].matches("^a{star}$")))))'
        ' && "b" in object.spec.csi.?volumeAttributes.orValue({})'
        ' && "path" in object.spec.csi.?volumeAttributes.orValue({})'
        ' && object.spec.?mountOptions.orValue([]).all(o, (o.matches("^ro$")))))'
    )


def test_what_nobody_allows_is_false() -> None:
    bare = CopiedVolume(driver="d", volume_handles=("a.b",))
    rules = fence_values(FluidPlan(profiles=("s",), volumes=(bare,)), [])["volumeRules"]
    assert rules == (
        '((object.spec.csi.driver == "d" && (object.spec.csi.volumeHandle.matches("^a\\\\.b$"))'
        " && object.spec.csi.?volumeAttributes.orValue({}).all(k, false)"
        " && object.spec.?mountOptions.orValue([]).all(o, false)))"
    )
    assert fence_values(FluidPlan(profiles=("s",)), [])["volumeRules"] == "false"


def test_volumes_are_for_the_tenants_own_namespaces() -> None:
    fence = str(one(objects_of(FLUID), "ValidatingAdmissionPolicy", FENCE))
    assert '?namespace.orValue("") in ["red--team-a", "red--team-b"]' in fence


def test_pods_reach_for_nodes_of_the_pools_with_fluid_only() -> None:
    pods = one(objects_of(FLUID), "ValidatingAdmissionPolicy", PODS)
    assert variables(pods)["placed"].endswith(
        '((object.spec.?nodeSelector[?"type"].orValue("") == "virtual-kubelet"))'
    )


def test_a_pool_without_selector_has_no_fence_around_its_pods_and_the_plan_warns() -> None:
    everywhere = FluidPlan(profiles=("s",), reach=(ECI, {}))
    assert policies(objects_of(everywhere)) == {FENCE}
    fenced, free = (
        make_plan(fluid=fluid, pod_security="privileged").warnings[-1]
        for fluid in (FLUID, everywhere)
    )
    assert "reach for nodes with type=virtual-kubelet; an admission policy" in fenced
    assert "reach for any node" in free


def test_a_configuration_says_what_is_needed() -> None:
    pools = [
        {"name": "home", "nodeSelector": {"pool": "home"}},
        {"name": "eci", "nodeSelector": ECI, "pvc": "fluid"},
    ]
    fluid = {"profiles": ["starfs"], "volumes": [{"driver": "d", "volumeHandles": ["a"]}]}
    policy: dict[str, Any] = {"pvc": "shared", "fluid": fluid}
    config = make_config({"policy": policy, "pools": pools})
    plan = plan_of(config, config.kubernetes_clusters[0], pod_security="privileged")
    assert plan.fluid is not None
    assert plan.fluid.makes_datasets
    assert plan.fluid.reach == [ECI]
    assert [rule.driver for rule in plan.fluid.volumes] == ["d"]
    # Where tenants may reach for nodes anyway, they may in every pool.
    config = make_config({"policy": {**policy, "allow": ["hostPath"]}, "pools": pools})
    allowed = fluid_plan(config.kubernetes_clusters[0])
    assert allowed is not None
    assert allowed.reach == [{"pool": "home"}, ECI]
    assert fluid_plan(make_config().kubernetes_clusters[0]) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"on_demand": True, "pod_security": "privileged"}, "needs prepared namespaces"),
        ({}, "give --pod-security=privileged"),
    ],
)
def test_what_does_not_go_with_fluid_is_refused(changes: Any, text: str) -> None:
    with pytest.raises(PlanError, match=text):
        make_plan(fluid=FLUID, **changes)
