"""What travels to a copy that exists already."""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.names import (
    ANNOTATION_APPLIED_KEYS,
    ANNOTATION_RESOURCES,
)
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


CPU = {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}
MORE = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}


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


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        ("spec.resources", {"resources": CPU}, {"resources": MORE}),
        (
            "spec.containers[1].resources",
            {"containers": [make_container(), make_container(name="b", resources=CPU)]},
            {"containers": [make_container(), make_container(name="b", resources=MORE)]},
        ),
        (
            "spec.initContainers[0].resources",
            {"initContainers": [make_container(name="b")]},
            {"initContainers": [make_container(name="b", resources=CPU)]},
        ),
    ],
)
def test_a_resize_is_not_taken_for_done(
    field: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    copy = make_copy(make_pod(make_spec(**before)))
    with pytest.raises(Rejected, match="not supported yet") as refused:
        patch_of(make_pod(make_spec(**after), labels={"a": "1"}, generation=2), copy)
    assert refused.value.field == field
    undone = patch_of(make_pod(make_spec(**before), labels={"a": "1"}, generation=3), copy)
    assert undone["metadata"]["labels"] == {"a": "1"}


def test_resources_that_the_compute_side_changed_are_no_resize() -> None:
    pod = make_spec(containers=[make_container(resources=CPU)])
    copy = make_copy(make_pod(pod))
    defaulted = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
    below = make_spec(containers=[make_container(resources=defaulted)])
    copy = msgspec.structs.replace(copy, spec=msgspec.Raw(msgspec.json.encode(below)))
    patch = patch_of(make_pod(pod, labels={"a": "1"}), copy)
    assert patch["metadata"]["labels"] == {"a": "1"}
    assert "spec" not in patch


@pytest.mark.parametrize("nothing", [None, {}, {"limits": None}, {"limits": {}, "requests": {}}])
def test_asking_for_nothing_is_the_same_however_it_is_written(nothing: object) -> None:
    after = {"containers": [make_container(resources=nothing, image="i:2")]}
    assert changed({}, after) == {"containers": [{"name": "main", "image": "i:2"}]}


quantities = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"]))
wishes = st.fixed_dictionaries({"limits": quantities, "requests": quantities})


@given(wishes, wishes)
def test_exactly_the_changed_wishes_are_refused(before: object, after: object) -> None:
    copy = make_copy(make_pod(make_spec(containers=[make_container(resources=before)])))
    pod = make_pod(make_spec(containers=[make_container(resources=after)]))
    with contextlib.nullcontext() if before == after else pytest.raises(Rejected):
        patch_of(pod, copy)


def test_a_copy_that_lost_its_fingerprints_gets_them_with_the_next_change() -> None:
    copy = make_copy(make_pod())
    fingerprints = copy.metadata.annotations.pop(ANNOTATION_RESOURCES)
    patch = patch_of(make_pod(labels={"a": "1"}), copy)
    assert patch["metadata"]["annotations"][ANNOTATION_RESOURCES] == fingerprints


def test_an_ephemeral_container_is_not_taken_for_started() -> None:
    pod = make_pod(make_spec(ephemeralContainers=[make_container(name="debug")]), generation=2)
    with pytest.raises(Rejected, match="not supported yet") as refused:
        patch_of(pod, make_copy(make_pod()))
    assert refused.value.field == "spec.ephemeralContainers"


def test_a_pod_that_did_not_change_is_not_refused() -> None:
    pod = make_pod(make_spec(ephemeralContainers=[make_container(name="debug")]))
    assert patch_of(pod, make_copy(pod), digest="d1") is None
