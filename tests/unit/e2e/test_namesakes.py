"""What a second tenant makes of the first one's objects."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.e2e import pod_groups
from tests.e2e.namesakes import MARK, of

SOURCE = {"csi": {"driver": "csi.example.com", "volumeHandle": "a"}}


def _pod(**spec: Any) -> Any:
    container = {"name": "main", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    return {
        "metadata": {"name": "a", "namespace": "team-a", "uid": "u-1", "labels": {"app": "a"}},
        "spec": {"nodeName": "vnode-gpu", "containers": [container], **spec},
    }


def _claimed(name: str) -> Any:
    return {"name": name, "persistentVolumeClaim": {"claimName": name}}


def test_a_pod_has_its_name_and_node_and_is_small() -> None:
    made = of("pods", _pod(), claims=False)
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("a", "team-a")
    assert "uid" not in made["metadata"]
    assert made["metadata"]["labels"].items() >= {"app": "a", **pod_groups.LABELS}.items()
    assert made["spec"]["nodeName"] == "vnode-gpu"
    assert "limits" not in made["spec"]["containers"][0]["resources"]


def test_a_pod_of_an_ordinary_node_is_nobodys_business() -> None:
    assert of("pods", _pod(nodeName="own"), claims=False) is None


@pytest.mark.parametrize(
    ("claims", "volume"), [(True, _claimed("data")), (False, {"name": "data", "emptyDir": {}})]
)
def test_a_pod_mounts_a_claim_only_where_there_is_one(claims: bool, volume: Any) -> None:
    assert of("pods", _pod(volumes=[_claimed("data")]), claims=claims)["spec"]["volumes"] == [
        volume
    ]


def test_a_token_is_not_the_other_tenants() -> None:
    volume = {"name": "kube-api-access-x", "projected": {}}
    assert of("pods", _pod(volumes=[volume]), claims=True)["spec"]["volumes"] == []


def test_values_say_whose_they_are() -> None:
    metadata = {"name": "a", "namespace": "team-a"}
    made = of("configmaps", {"metadata": metadata, "data": {"k": "v"}}, claims=False)
    assert made["data"] == {"k": f"{MARK}k"}
    made = of("secrets", {"metadata": metadata, "type": "x", "data": {"k": "dg=="}}, claims=False)
    assert base64.b64decode(made["data"]["k"]).decode() == f"{MARK}k"


def test_a_volume_is_free_and_a_placeholder_is_left_to_the_agent() -> None:
    bound = {**SOURCE, "claimRef": {"name": "data", "uid": "u-1"}}
    made = of("persistentvolumes", {"metadata": {"name": "a"}, "spec": bound}, claims=True)
    assert made == {"metadata": {"name": "a"}, "spec": SOURCE}
    ours = {"name": "a", "labels": {"app.kubernetes.io/managed-by": "vnode"}}
    assert of("persistentvolumes", {"metadata": ours, "spec": bound}, claims=True) is None


@pytest.mark.parametrize(("storage_class", "kept"), [("", True), ("vnode-shared", False)])
def test_a_claim_keeps_the_volume_that_its_user_chose(storage_class: str, kept: bool) -> None:
    notes = {"pv.kubernetes.io/bind-completed": "yes", "vnode.dev/warm-up": "/"}
    metadata = {"name": "data", "namespace": "team-a", "annotations": notes}
    spec = {"storageClassName": storage_class, "volumeName": "a"}
    made = of("persistentvolumeclaims", {"metadata": metadata, "spec": spec}, claims=True)
    assert ("volumeName" in made["spec"]) is kept
    assert made["metadata"]["annotations"] == {"vnode.dev/warm-up": "/"}
