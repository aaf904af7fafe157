"""What a patch of an existing Node holds, and what it never touches."""

from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.node.builders import (
    NOW,
    THEN,
    decode_node,
    make_capacity,
    make_desired,
    make_node,
    make_virtual_node,
    node_json,
)
from vnode.backend import Capacity
from vnode.kube.types import JSON
from vnode.node.objects import Node, Taint
from vnode.node.patches import node_patch, taint_patch
from vnode.node.status import WEBSOCKETS, Desired

Body = dict[str, JSON]


def patch_of(node: Node, desired: Desired, *, heartbeat: bool = False) -> Body | None:
    return node_patch(node, desired, heartbeat=heartbeat)


def part(body: JSON, *keys: str) -> Body:
    for key in keys:
        body = cast("Body", body)[key]
    return cast("Body", body)


def test_a_node_as_desired_needs_no_patch() -> None:
    node, desired = make_node(), make_desired()
    assert patch_of(node, desired) is None
    assert taint_patch(node, desired) is None


def test_labels_and_annotations_of_users_are_in_no_patch() -> None:
    body = node_json()
    part(body, "metadata", "labels")["team"] = "blue"
    part(body, "metadata", "annotations")["note"] = "hands off"
    patch = patch_of(
        decode_node(body), make_desired(capacity=make_capacity(largest_free={"cpu": "1"}))
    )
    assert patch == {
        "metadata": {"uid": "uid-1", "annotations": {"vnode.dev/largest-free": '{"cpu":"1"}'}},
    }


def test_a_label_of_ours_that_somebody_changed_is_put_right() -> None:
    body = node_json()
    part(body, "metadata", "labels")["type"] = "other"
    patch = patch_of(decode_node(body), make_desired())
    assert patch == {"metadata": {"uid": "uid-1", "labels": {"type": "virtual-kubelet"}}}


def test_a_pool_label_goes_when_the_pool_no_longer_shares_it() -> None:
    gpu = {"nvidia.com/gpu.product": "A100"}
    node = make_node(make_desired(capacity=make_capacity(gpu)))
    patch = patch_of(node, make_desired())
    assert patch is not None
    assert part(patch, "metadata", "labels") == {"nvidia.com/gpu.product": None}
    assert part(patch, "metadata", "annotations") == {"vnode.dev/published-labels": ""}


def test_pool_labels_stay_while_the_capacity_is_unknown() -> None:
    node = make_node(make_desired(capacity=make_capacity({"gpu": "A100"})))
    assert patch_of(node, make_desired(unknown_capacity=True)) is None


def test_a_pool_label_never_replaces_a_label_that_every_virtual_node_has() -> None:
    imitation = make_capacity({"vnode.dev/cluster": "other", "type": "metal"})
    assert patch_of(make_node(), make_desired(capacity=imitation)) is None


def test_the_largest_free_slots_become_an_annotation_and_go_again() -> None:
    desired = make_desired(capacity=make_capacity(largest_free={"nvidia.com/gpu": "8", "cpu": "9"}))
    patch = patch_of(make_node(), desired)
    text = '{"cpu":"9","nvidia.com/gpu":"8"}'
    assert part(patch, "metadata", "annotations") == {"vnode.dev/largest-free": text}
    patch = patch_of(make_node(desired), make_desired())
    assert part(patch, "metadata", "annotations") == {"vnode.dev/largest-free": None}


def test_an_unreachable_compute_side_adds_one_taint_to_those_that_are_there() -> None:
    patch = taint_patch(make_node(), make_desired(reachable=False))
    assert patch == [
        {"op": "replace", "path": "/metadata/uid", "value": "uid-1"},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "5"},
        {
            "op": "add",
            "path": "/spec/taints/-",
            "value": {"key": "vnode.dev/compute-unreachable", "effect": "NoSchedule"},
        },
    ]


def test_the_taint_list_is_made_when_a_user_removed_all_taints() -> None:
    node = make_node(make_desired(make_virtual_node(taints=())))
    patch = taint_patch(node, make_desired(reachable=False))
    assert patch is not None
    assert part(patch[-1])["path"] == "/spec/taints"


def test_a_reachable_compute_side_removes_only_our_taint() -> None:
    user = Taint(key="maintenance", effect="NoExecute")
    node = make_node(make_desired(make_virtual_node(taints=(user,)), reachable=False))
    patch = taint_patch(node, make_desired())
    assert patch is not None
    assert patch[-1] == {"op": "remove", "path": "/spec/taints/1"}


@pytest.mark.parametrize("reachable", [True, False])
def test_a_provider_taint_that_a_user_removed_stays_away(reachable: bool) -> None:
    node = make_node(make_desired(make_virtual_node(taints=()), reachable=reachable))
    assert taint_patch(node, make_desired(reachable=reachable)) is None


def test_only_changed_quantities_travel_and_lost_ones_are_nulled() -> None:
    before = Capacity(allocatable={"cpu": "64", "memory": "1Gi", "nvidia.com/gpu": "8"})
    after = make_capacity(cpu="32", memory="1024Mi")
    patch = patch_of(
        make_node(make_desired(capacity=before)), make_desired(capacity=after), heartbeat=False
    )
    change = {"cpu": "32", "nvidia.com/gpu": None}
    assert patch == {
        "metadata": {"uid": "uid-1"},
        "status": {"capacity": change, "allocatable": change},
    }


def test_the_published_capacity_stays_while_it_is_unknown() -> None:
    assert patch_of(make_node(), make_desired(unknown_capacity=True)) is None


RESIZE = "InPlacePodLevelResourcesVerticalScaling"


def test_features_that_all_nodes_of_the_pool_declare_are_published_and_go_again() -> None:
    able = make_desired(capacity=make_capacity(features=("A", RESIZE)))
    assert patch_of(make_node(), able) == {
        "metadata": {"uid": "uid-1"},
        "status": {"declaredFeatures": ["A", RESIZE]},
    }
    less = patch_of(make_node(able), make_desired(capacity=make_capacity(features=())))
    assert part(less, "status") == {"declaredFeatures": []}


def test_published_features_stay_while_the_capacity_is_unknown() -> None:
    able = make_desired(capacity=make_capacity(features=(RESIZE,)))
    assert patch_of(make_node(able), make_desired(unknown_capacity=True)) is None


def test_configured_features_count_whatever_the_nodes_declare() -> None:
    node = make_virtual_node(declared_features=(RESIZE,))
    desired = make_desired(node, capacity=make_capacity(features=("A",)))
    patch = patch_of(make_node(), desired)
    assert part(patch, "status") == {"declaredFeatures": [RESIZE]}
    assert patch_of(make_node(desired), make_desired(node, unknown_capacity=True)) is None


def test_a_node_whose_streams_take_websocket_says_so_beside_what_the_pool_declares() -> None:
    able = make_desired(capacity=make_capacity(features=("A", RESIZE)), websockets=True)
    declared = {"declaredFeatures": ["A", WEBSOCKETS, RESIZE]}
    assert part(patch_of(make_node(), able), "status") == declared
    configured = make_virtual_node(declared_features=())
    only = patch_of(make_node(), make_desired(configured, websockets=True))
    assert part(only, "status") == {"declaredFeatures": [WEBSOCKETS]}


def test_a_condition_keeps_its_transition_time_until_its_status_changes() -> None:
    body = node_json()
    conditions = cast("list[Body]", part(body, "status")["conditions"])
    conditions[0]["message"] = "posted by somebody else"
    patch = patch_of(decode_node(body), make_desired())
    (ready,) = cast("list[Body]", part(patch, "status")["conditions"])
    assert ready["type"] == "Ready"
    assert (ready["lastTransitionTime"], ready["lastHeartbeatTime"]) == (THEN, NOW)


def test_a_ready_condition_that_the_lifecycle_controller_made_unknown_is_put_right() -> None:
    body = node_json()
    conditions = cast("list[Body]", part(body, "status")["conditions"])
    conditions[0].update(status="Unknown", reason="NodeStatusUnknown")
    patch = patch_of(decode_node(body), make_desired())
    (ready,) = cast("list[Body]", part(patch, "status")["conditions"])
    assert (ready["status"], ready["lastTransitionTime"]) == ("True", NOW)


def test_an_unreachable_compute_side_leaves_the_node_ready() -> None:
    patch = patch_of(make_node(), make_desired(reachable=False))
    (condition,) = cast("list[Body]", part(patch, "status")["conditions"])
    assert (condition["type"], condition["status"]) == ("vnode.dev/ComputeReachable", "False")


def test_a_heartbeat_renews_all_our_conditions_and_no_others() -> None:
    body = node_json()
    conditions = cast("list[JSON]", part(body, "status")["conditions"])
    conditions.append({"type": "KernelDeadlock", "status": "False"})
    patch = patch_of(decode_node(body), make_desired(), heartbeat=True)
    renewed = cast("list[Body]", part(patch, "status")["conditions"])
    assert {c["lastHeartbeatTime"] for c in renewed} == {NOW}
    assert {c["lastTransitionTime"] for c in renewed} == {THEN}
    assert "KernelDeadlock" not in {c["type"] for c in renewed}


def test_a_takeover_by_another_replica_rewrites_address_and_port_only() -> None:
    desired = make_desired(make_virtual_node(address="10.0.0.8", port=10251))
    patch = patch_of(make_node(), desired)
    assert part(patch, "status") == {
        "addresses": [
            {"type": "InternalIP", "address": "10.0.0.8"},
            {"type": "Hostname", "address": "10.0.0.8"},
            {"$patch": "replace"},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}},
    }


KEYS = st.sampled_from(["gpu", "zone", "team", "type", "vnode.dev/pool"])
LABELS = st.dictionaries(KEYS, st.sampled_from(["a", "b"]))


@given(old=LABELS, new=LABELS, users=LABELS)
def test_label_patches_converge_and_never_touch_what_we_did_not_publish(
    old: dict[str, str], new: dict[str, str], users: dict[str, str]
) -> None:
    body = node_json(make_desired(capacity=make_capacity(old)))
    labels = part(body, "metadata", "labels")
    foreign = {key: value for key, value in users.items() if key not in labels}
    labels.update(foreign)
    desired = make_desired(capacity=make_capacity(new))
    patch = patch_of(decode_node(body), desired) or {"metadata": {}}
    for section in ("labels", "annotations"):
        target = part(body, "metadata", section)
        for key, value in cast("Body", part(patch, "metadata").get(section, {})).items():
            if value is None:
                del target[key]
            else:
                target[key] = value
    assert patch_of(decode_node(body), desired) is None
    for key in foreign.keys() - new.keys():
        assert labels[key] == foreign[key]


def test_patches_are_json() -> None:
    for patch in (
        patch_of(make_node(), make_desired(capacity=make_capacity({"a": "b"}))),
        taint_patch(make_node(), make_desired(reachable=False)),
        patch_of(make_node(), make_desired(reachable=False), heartbeat=True),
    ):
        assert msgspec.json.encode(patch)
