"""What travels to a copy that exists already."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from federation.backends.kubernetes.translate.names import ANNOTATION_APPLIED_KEYS
from federation.backends.kubernetes.translate.pod import translate, update_patch
from tests.unit.federation.translate.builders import (
    NAMESPACES,
    OWNER,
    POLICY,
    make_container,
    make_pod,
    make_request,
    make_spec,
)
from vnode.backend import Rejected
from vnode.kube.types import UID, Pod

HANDLE = UID("copy-uid")
APPARMOR = "container.apparmor.security.beta.kubernetes.io/main"


def make_copy(pod: Pod, **webhook_labels: str) -> Pod:
    """The copy as the compute API server has it after `pod` was applied."""
    below = translate(make_request(pod), owner=OWNER, namespaces=NAMESPACES, policy=POLICY)
    copy = msgspec.convert(
        {"metadata": below["metadata"], "spec": msgspec.Raw(msgspec.json.encode(below["spec"]))},
        Pod,
    )
    metadata = msgspec.structs.replace(
        copy.metadata, uid=HANDLE, labels={**copy.metadata.labels, **webhook_labels}
    )
    return msgspec.structs.replace(copy, metadata=metadata)


def patch_of(pod: Pod, copy: Pod, *, digest: str = "d2") -> Any:
    request = make_request(pod, digest=digest)
    return update_patch(request, copy, owner=OWNER, namespaces=NAMESPACES, policy=POLICY)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Any:
    copy = make_copy(make_pod(make_spec(**before)))
    return patch_of(make_pod(make_spec(**after)), copy).get("spec")


def test_a_copy_that_is_up_to_date_needs_no_patch() -> None:
    pod = make_pod(labels={"a": "1"}, annotations={"b": "2"})
    assert patch_of(pod, make_copy(pod), digest="d1") is None


def test_a_patch_applies_only_to_this_copy() -> None:
    copy = make_copy(make_pod())
    assert patch_of(make_pod(labels={"a": "1"}), copy)["metadata"]["uid"] == HANDLE


def test_a_patch_records_what_it_applies() -> None:
    patch = patch_of(make_pod(generation=7), make_copy(make_pod()))
    assert patch["metadata"]["annotations"] == {
        "vnode.dev/spec-hash": "d2",
        "vnode.dev/generation": "7",
    }


def test_a_new_generation_is_recorded_even_where_nothing_travels() -> None:
    patch = patch_of(make_pod(generation=7), make_copy(make_pod()), digest="d1")
    assert patch == {
        "metadata": {"uid": HANDLE, "annotations": {"vnode.dev/generation": "7"}},
    }


def test_labels_and_annotations_are_added_changed_and_removed() -> None:
    copy = make_copy(make_pod(labels={"a": "1", "b": "1"}, annotations={"c": "1"}))
    patch = patch_of(make_pod(labels={"a": "2", "d": "1"}), copy)["metadata"]
    assert patch["labels"] == {"a": "2", "b": None, "d": "1"}
    assert patch["annotations"]["c"] is None
    assert patch["annotations"][ANNOTATION_APPLIED_KEYS] == "a,d;"


def test_labels_that_others_wrote_on_the_copy_stay() -> None:
    copy = make_copy(make_pod(labels={"a": "1"}), injected="true")
    assert patch_of(make_pod(), copy)["metadata"]["labels"] == {"a": None}


def test_a_denied_label_does_not_travel_later_either() -> None:
    patch = patch_of(make_pod(labels={"kueue.x-k8s.io/queue-name": "x"}), make_copy(make_pod()))
    assert "labels" not in patch["metadata"]


def test_a_denied_isolation_does_not_travel_later_either() -> None:
    with pytest.raises(Rejected) as refused:
        patch_of(make_pod(annotations={APPARMOR: "unconfined"}), make_copy(make_pod()))
    assert refused.value.field == f"metadata.annotations[{APPARMOR}]"


def test_new_images_travel() -> None:
    before = {
        "containers": [make_container(), make_container(name="b", image="i:1")],
        "initContainers": [make_container(name="c", image="i:1")],
    }
    after = {
        "containers": [make_container(), make_container(name="b", image="i:2")],
        "initContainers": [make_container(name="c", image="i:2")],
    }
    assert changed(before, after) == {
        "containers": [{"name": "b", "image": "i:2"}],
        "initContainers": [{"name": "c", "image": "i:2"}],
    }


def test_an_image_that_a_webhook_below_changed_is_not_fought() -> None:
    pod = make_pod(make_spec(containers=[make_container(image="i:1")]))
    copy = make_copy(make_pod(make_spec(containers=[make_container(image="mirror/i:1")])))
    assert patch_of(pod, copy, digest="d1") is None


@pytest.mark.parametrize(
    ("before", "after", "patched"),
    [(None, 60, 60), (60, 30, 30), (30, 60, None), (60, None, None), (60, 60, None)],
)
def test_the_deadline_can_only_be_set_or_lowered(
    before: int | None, after: int | None, patched: int | None
) -> None:
    spec = changed({"activeDeadlineSeconds": before}, {"activeDeadlineSeconds": after})
    assert spec == (None if patched is None else {"activeDeadlineSeconds": patched})


def test_added_tolerations_do_not_travel() -> None:
    assert changed({}, {"tolerations": [{"key": "a", "operator": "Exists"}]}) is None
