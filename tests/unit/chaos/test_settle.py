"""What keeps a scene from being settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.chaos.settle import Scene, differences, overdue, unattended
from tests.unit.chaos.stories import TENANT_UID, copy, pod

DATA = {"metadata": {"annotations": {"vnode.dev/cluster-uid": TENANT_UID}}, "data": {"a": "1"}}
SETTLED = Scene(
    pods={"web": pod()},
    copies={"a": {"web": copy()}, "b": {}},
    data={"configmaps": {"settings": DATA}},
    data_below={"a": {"configmaps": {"settings": DATA}}},
    cluster_uid=TENANT_UID,
)


AT = "2027-01-15T08:00:00Z"


def deleted(found: Any) -> Any:
    return {**found, "metadata": {**found["metadata"], "deletionTimestamp": AT}}


def test_a_pod_and_its_copy_are_settled() -> None:
    assert not differences(SETTLED)


def test_a_pod_without_copy_is_not() -> None:
    (left,) = differences(replace(SETTLED, copies={"a": {}, "b": {}}))
    assert left == "tenant pod web (u1), Running: no copy in a"


def test_a_copy_without_pod_is_not() -> None:
    (left,) = differences(replace(SETTLED, pods={}))
    assert left == "copy web in a has no tenant pod u1"


def test_the_copy_of_another_uid_is_neither() -> None:
    left = differences(replace(SETTLED, copies={"a": {"web": copy(uid="u0")}, "b": {}}))
    assert len(left) == 2


def test_a_copy_in_the_wrong_cluster_is_not() -> None:
    both = {"a": {"web": copy()}, "b": {"web": copy("c2")}}
    assert differences(replace(SETTLED, copies=both)) == ["copy web in b has no tenant pod u1"]


@pytest.mark.parametrize(
    ("above", "below"),
    [
        (pod(phase="Pending"), copy()),
        (pod(), copy(phase="Succeeded")),
        (pod(phase="Failed"), copy()),
        (pod(containers=("x",)), copy(containers=("y",))),
    ],
)
def test_a_status_that_is_not_mirrored_is_not(above: Any, below: Any) -> None:
    left = replace(SETTLED, pods={"web": above}, copies={"a": {"web": below}})
    assert len(differences(left)) == 1


@pytest.mark.parametrize("copies", [{}, {"web": copy(phase="Failed")}])
def test_an_ended_pod_needs_no_copy(copies: Any) -> None:
    assert not differences(
        replace(SETTLED, pods={"web": pod(phase="Failed")}, copies={"a": copies})
    )


def test_what_is_being_deleted_is_not() -> None:
    going = pod()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert differences(replace(SETTLED, pods={"web": going}))


def test_an_old_version_of_a_config_map_is_not() -> None:
    old = {**DATA, "data": {"a": "0"}}
    left = differences(replace(SETTLED, data_below={"a": {"configmaps": {"settings": old}}}))
    assert left == ["configmaps settings in a is an old version"]


def test_a_copied_object_without_original_is_not() -> None:
    left = differences(replace(SETTLED, data={"configmaps": {}}))
    assert left == ["configmaps settings in a stands for nothing in the tenant"]


def test_somebody_elses_pod_is_in_the_way() -> None:
    foreign = {"a": {"web": copy(), "x": copy("f", "?", "x", cluster_uid="other")}}
    left = differences(replace(SETTLED, copies=foreign))
    assert left == ["pod x in a is somebody else's"]


def test_of_a_pod_that_is_still_being_deleted_it_says_what_its_copy_does() -> None:
    def said(below: Any) -> str:
        going = replace(SETTLED, pods={"web": deleted(pod())}, copies={"a": below})
        (left,) = differences(going)
        return left.removeprefix("tenant pod web (u1) is still being deleted")

    assert said({}) == ""
    assert said({"web": copy()}) == ": its copy in a is not deleted"
    assert said({"web": deleted(copy())}) == f": its copy in a was to go at {AT}"


def test_kwok_is_reminded_of_copies_that_were_to_go_a_while_ago() -> None:
    scene = replace(SETTLED, copies={"a": {"web": deleted(copy()), "other": copy()}})
    uid = copy()["metadata"]["uid"]
    assert not list(overdue(scene, now=datetime(2027, 1, 15, 8, 0, 10, tzinfo=UTC)))
    later = datetime(2027, 1, 15, 8, 0, 11, tzinfo=UTC)
    assert list(overdue(scene, now=later)) == [("a", "web", uid)]
    foreign = replace(scene, cluster_uid="another")
    assert not list(overdue(foreign, now=later))


def bound(found: Any, node: str, **spec: Any) -> Any:
    return {**found, "spec": {**found["spec"], "nodeName": node, **spec}}


@pytest.mark.parametrize(
    ("change", "waits_for"),
    [
        ({}, []),
        ({"pods": {"web": bound(pod(phase="Pending"), "")}}, [("tenant", "kube-scheduler")]),
        ({"pods": {"web": pod(phase="Pending")}}, []),
        ({"copies": {"a": {"web": bound(copy(phase="Pending"), "")}}}, [("a", "kube-scheduler")]),
        ({"copies": {"a": {"web": bound(copy(phase="Pending"), "n1")}}}, [("a", "kwok")]),
        (
            {"copies": {"a": {"web": bound(copy(phase="Pending"), "", schedulingGates=[{}])}}},
            [],
        ),
        ({"copies": {"a": {"web": deleted(bound(copy(phase="Pending"), "n1"))}}}, []),
    ],
)
def test_who_lets_pods_wait(change: dict[str, Any], waits_for: list[tuple[str, str]]) -> None:
    scene = replace(SETTLED, **change)
    assert list(unattended(scene)) == waits_for
    if waits_for[:1] != [("tenant", "kube-scheduler")]:
        assert not list(unattended(replace(scene, cluster_uid="another")))
