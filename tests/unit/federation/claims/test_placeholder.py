"""What stands in the tenant for a claim's data, and what is ours."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.names import ANNOTATION_CLUSTER_UID, LABEL_MANAGED_BY
from federation.claims.placeholder import is_placeholder, placeholder, wants_placeholder
from tests.builders import OWNER
from tests.unit.federation.claims.builders import as_volume, make_claim, make_placeholder


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ({}, True),
        ({"storageClassName": "fast"}, False),
        ({"storageClassName": ""}, False),
        ({"storageClassName": None}, False),
        ({"volumeName": "by-hand"}, False),
        ({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}, False),
        ({"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "other"}}, False),
    ],
    ids=str,
)
def test_claims_of_our_class_that_wait_get_one(spec: dict[str, Any], wanted: bool) -> None:
    assert wants_placeholder(make_claim(**spec)) is wanted


def test_a_claim_that_is_being_deleted_gets_none() -> None:
    assert not wants_placeholder(make_claim(deleted="2027-01-15T08:00:00Z"))


def test_it_is_as_the_claim_asks_and_bound_to_its_uid() -> None:
    claim = make_claim(uid="c-7", volumeMode="Block", accessModes=["ReadOnlyMany"])
    body: Any = placeholder(claim, owner=OWNER)
    assert body["metadata"]["name"] == "vnode-c-7"
    spec = body["spec"]
    assert spec["capacity"] == {"storage": "5Gi"}
    assert spec["accessModes"] == ["ReadOnlyMany"]
    assert spec["volumeMode"] == "Block"
    assert spec["storageClassName"] == "vnode-shared"
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "team-a"}
    assert spec["claimRef"] == {**reference, "name": "data", "uid": "c-7"}


def test_no_node_but_a_virtual_one_can_use_it_and_nobody_deletes_for_it() -> None:
    spec = make_placeholder()["spec"]
    (term,) = spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term == {
        "matchExpressions": [{"key": "vnode.dev/claims", "operator": "In", "values": ["shared"]}]
    }
    assert spec["csi"]["driver"] == "vnode.dev"
    assert spec["persistentVolumeReclaimPolicy"] == "Retain"


def test_what_we_made_is_ours() -> None:
    assert is_placeholder(as_volume(make_placeholder()), owner=OWNER)


def _without_label(body: Any) -> None:
    del body["metadata"]["labels"][LABEL_MANAGED_BY]


def _of_another_cluster(body: Any) -> None:
    body["metadata"]["annotations"][ANNOTATION_CLUSTER_UID] = "another"


def _of_another_driver(body: Any) -> None:
    body["spec"]["csi"]["driver"] = "csi.example.com"


def _of_no_driver(body: Any) -> None:
    del body["spec"]["csi"]


def _for_another_claim(body: Any) -> None:
    body["spec"]["claimRef"]["uid"] = "c-2"


def _for_no_claim(body: Any) -> None:
    del body["spec"]["claimRef"]


@pytest.mark.parametrize(
    "spoil",
    [
        _without_label,
        _of_another_cluster,
        _of_another_driver,
        _of_no_driver,
        _for_another_claim,
        _for_no_claim,
    ],
)
def test_what_differs_is_not_ours(spoil: Any) -> None:
    body = make_placeholder()
    spoil(body)
    assert not is_placeholder(as_volume(body), owner=OWNER)
