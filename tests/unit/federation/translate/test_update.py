"""What has to change in a copy that exists already."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.backends.kubernetes.translate.fingerprints import as_mark, from_mark
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_APPLIED_KEYS,
    ANNOTATION_CLAIMS,
    ANNOTATION_DIGEST,
    ANNOTATION_EPHEMERAL,
    ANNOTATION_IMAGES,
    ANNOTATION_RESOURCES,
)
from federation.backends.kubernetes.translate.pod import translate
from federation.backends.kubernetes.translate.policy import HostAccess, TranslationPolicy
from federation.backends.kubernetes.translate.update import Update, Write, update
from tests.fakes.merge import strategic_merge
from tests.unit.federation.translate.builders import (
    NAMESPACES,
    OWNER,
    POLICY,
    make_container,
    make_pod,
    make_request,
    make_spec,
)
from vnode.backend import UpdatePart
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


def with_spec(copy: Pod, **fields: Any) -> Pod:
    """The copy with other fields in its spec."""
    spec = {**msgspec.json.decode(copy.spec), **fields}
    return msgspec.structs.replace(copy, spec=msgspec.Raw(msgspec.json.encode(spec)))


def update_of(
    pod: Pod, copy: Pod, *, digest: str = "d2", policy: TranslationPolicy = POLICY
) -> Update:
    request = make_request(pod, digest=digest)
    return update(request, copy, owner=OWNER, namespaces=NAMESPACES, policy=policy)


def updated(pod: Pod, copy: Pod, *, refused: Sequence[Write] = ()) -> Pod:
    """The copy after all of an update but the refused writes was applied."""
    change = update_of(pod, copy)
    applied = [write for write in change.writes if write not in refused]
    for write in applied:
        copy = _patched(copy, write.patch)
    whole = not refused and not change.refused
    return _patched(copy, {"metadata": change.marks(applied, whole=whole, present=copy.metadata)})


def _patched(copy: Pod, patch: Any) -> Pod:
    body = msgspec.json.decode(msgspec.json.encode(copy))
    return msgspec.json.decode(msgspec.json.encode(strategic_merge(body, patch)), type=Pod)


def metadata_of(pod: Pod, copy: Pod) -> Any:
    """What an update that goes well changes in labels and annotations."""
    change = update_of(pod, copy)
    merged: Any = {"labels": {}, "annotations": {}}
    marks = change.marks(change.writes, whole=True, present=copy.metadata)
    parts: list[Any] = [marks, *(patch_of(write).get("metadata", {}) for write in change.writes)]
    for part in parts:
        for name, keys in part.items():
            merged[name].update(keys)
    return merged


def writes_of(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Any]:
    """The patches of the spec that lead from one tenant spec to another."""
    copy = make_copy(make_pod(make_spec(**before)))
    change = update_of(make_pod(make_spec(**after)), copy)
    return [patch_of(write)["spec"] for write in change.writes if "spec" in write.patch]


def patch_of(write: Write) -> Any:
    return write.patch


def decoded(pod: Pod) -> Any:
    return msgspec.json.decode(pod.spec)


class TestMarks:
    def test_a_copy_that_is_up_to_date_needs_nothing(self) -> None:
        pod = make_pod(labels={"a": "1"}, annotations={"b": "2"})
        change = update_of(pod, make_copy(pod), digest="d1")
        assert not change.writes
        assert not change.marks((), whole=True, present=make_copy(pod).metadata)

    def test_an_update_notes_what_it_applies(self) -> None:
        assert metadata_of(make_pod(generation=7), make_copy(make_pod()))["annotations"] == {
            "vnode.dev/spec-hash": "d2",
            "vnode.dev/generation": "7",
        }

    def test_a_new_generation_is_noted_even_where_nothing_travels(self) -> None:
        change = update_of(make_pod(generation=7), make_copy(make_pod()), digest="d1")
        marks = change.marks((), whole=True, present=make_copy(make_pod()).metadata)
        assert not change.writes
        assert marks == {"annotations": {"vnode.dev/generation": "7"}}

    def test_a_copy_that_lacks_something_does_not_claim_to_be_the_pod(self) -> None:
        copy = make_copy(make_pod())
        change = update_of(make_pod(labels={"a": "1"}, generation=2), copy)
        marks: Any = change.marks((), whole=False, present=copy.metadata)
        assert marks["annotations"] == {ANNOTATION_DIGEST: "", "vnode.dev/generation": "2"}

    @given(st.dictionaries(st.from_regex(r"[a-z0-9-]{0,9}", fullmatch=True), st.just("1a2b3c4d")))
    def test_fingerprints_survive_as_an_annotation(self, prints: dict[str, str]) -> None:
        assert from_mark(as_mark(prints)) == prints

    @given(st.text())
    def test_a_spoilt_mark_is_no_crash(self, mark: str) -> None:
        from_mark(mark)


class TestLabelsAndAnnotations:
    def test_they_are_added_changed_and_removed(self) -> None:
        copy = make_copy(make_pod(labels={"a": "1", "b": "1"}, annotations={"c": "1"}))
        changed = metadata_of(make_pod(labels={"a": "2", "d": "1"}), copy)
        assert changed["labels"] == {"a": "2", "b": None, "d": "1"}
        assert changed["annotations"]["c"] is None
        assert changed["annotations"][ANNOTATION_APPLIED_KEYS] == "a,d;"

    def test_what_others_wrote_on_the_copy_stays(self) -> None:
        copy = make_copy(make_pod(labels={"a": "1"}), injected="true")
        assert metadata_of(make_pod(), copy)["labels"] == {"a": None}

    def test_a_denied_label_does_not_travel_later_either(self) -> None:
        labels = {"kueue.x-k8s.io/queue-name": "x"}
        assert not metadata_of(make_pod(labels=labels), make_copy(make_pod()))["labels"]

    def test_a_refused_annotation_holds_no_other_up(self) -> None:
        pod = make_pod(annotations={APPARMOR: "unconfined", "note": "x"})
        change = update_of(pod, make_copy(make_pod()))
        (write,) = change.writes
        (refused,) = change.refused
        assert patch_of(write)["metadata"]["annotations"]["note"] == "x"
        assert APPARMOR not in str(write.patch)
        assert refused.permanent
        assert refused.message.startswith(f"metadata.annotations[{APPARMOR}]: ")

    def test_a_refused_annotation_leaves_the_value_that_was_there(self) -> None:
        copy = make_copy(make_pod(annotations={APPARMOR: "runtime/default"}))
        pod = make_pod(annotations={APPARMOR: "unconfined"})
        assert updated(pod, copy).metadata.annotations[APPARMOR] == "runtime/default"


class TestImages:
    def test_new_images_travel_each_on_its_own(self) -> None:
        before = {
            "containers": [make_container(), make_container(name="b", image="i:1")],
            "initContainers": [make_container(name="c", image="i:1")],
        }
        after = {
            "containers": [make_container(), make_container(name="b", image="i:2")],
            "initContainers": [make_container(name="c", image="i:2")],
        }
        assert writes_of(before, after) == [
            {"containers": [{"name": "b", "image": "i:2"}]},
            {"initContainers": [{"name": "c", "image": "i:2"}]},
        ]

    def test_an_image_that_a_webhook_below_changed_is_not_fought(self) -> None:
        pod = make_pod(make_spec(containers=[make_container(image="i:1")]))
        mirror = [make_container(image="mirror/i:1")]
        labelled = make_pod(make_spec(containers=[make_container(image="i:1")]), labels={"a": "1"})
        change = update_of(labelled, with_spec(make_copy(pod), containers=mirror))
        assert [write.patch.get("spec") for write in change.writes] == [None]

    def test_the_tenant_s_new_image_wins_over_a_webhook_s(self) -> None:
        pod = make_pod(make_spec(containers=[make_container(image="i:1")]))
        mirror = [make_container(image="mirror/i:1")]
        newer = make_pod(make_spec(containers=[make_container(image="i:2")]))
        copy = updated(newer, with_spec(make_copy(pod), containers=mirror))
        assert decoded(copy)["containers"][0]["image"] == "i:2"

    def test_a_refused_image_is_tried_again_and_the_others_are_not(self) -> None:
        two = [make_container(name="a", image="i:1"), make_container(name="b", image="i:1")]
        newer = [make_container(name="a", image="bad"), make_container(name="b", image="i:2")]
        pod = make_pod(make_spec(containers=newer))
        copy = make_copy(make_pod(make_spec(containers=two)))
        bad = update_of(pod, copy).writes[0]
        (left,) = update_of(pod, updated(pod, copy, refused=[bad])).writes
        assert left.container == "a"

    def test_a_refused_image_that_is_taken_back_leaves_nothing_to_do(self) -> None:
        pod = make_pod(make_spec(containers=[make_container(image="i:1")]))
        bad = make_pod(make_spec(containers=[make_container(image="bad")]))
        copy = updated(bad, make_copy(pod), refused=update_of(bad, make_copy(pod)).writes)
        assert not update_of(pod, copy, digest="d1").writes

    def test_a_copy_without_fingerprints_is_judged_by_its_own_images(self) -> None:
        copy = make_copy(make_pod(make_spec(containers=[make_container(image="i:1")])))
        copy.metadata.annotations.pop(ANNOTATION_IMAGES)
        pod = make_pod(make_spec(containers=[make_container(image="i:2")]))
        assert [write.container for write in update_of(pod, copy).writes] == ["main"]


@pytest.mark.parametrize(
    ("before", "after", "patched"),
    [(None, 60, 60), (60, 30, 30), (30, 60, None), (60, None, None), (60, 60, None), (5, 0, 0)],
)
def test_the_deadline_can_only_be_set_or_lowered(
    before: int | None, after: int | None, patched: int | None
) -> None:
    writes = writes_of({"activeDeadlineSeconds": before}, {"activeDeadlineSeconds": after})
    assert writes == ([] if patched is None else [{"activeDeadlineSeconds": patched}])


def test_added_tolerations_do_not_travel() -> None:
    assert not writes_of({}, {"tolerations": [{"key": "a", "operator": "Exists"}]})


class TestResize:
    @pytest.mark.parametrize(
        ("before", "after", "patch"),
        [
            ({"resources": CPU}, {"resources": MORE}, {"resources": MORE}),
            (
                {"containers": [make_container(), make_container(name="b", resources=CPU)]},
                {"containers": [make_container(), make_container(name="b", resources=MORE)]},
                {"containers": [{"name": "b", "resources": MORE}]},
            ),
            (
                {"initContainers": [make_container(name="b", restartPolicy="Always")]},
                {
                    "initContainers": [
                        make_container(name="b", restartPolicy="Always", resources=CPU)
                    ]
                },
                {"initContainers": [{"name": "b", "resources": CPU}]},
            ),
        ],
    )
    def test_exactly_what_was_resized_goes_by_its_subresource(
        self, before: Mapping[str, Any], after: Mapping[str, Any], patch: Mapping[str, Any]
    ) -> None:
        copy = make_copy(make_pod(make_spec(**before)))
        (write,) = update_of(make_pod(make_spec(**after)), copy).writes
        assert (write.part, write.subresource) == (UpdatePart.RESIZE, "resize")
        assert write.patch == {"spec": patch}

    def test_all_containers_are_resized_at_once(self) -> None:
        before = [make_container(name=name, resources=CPU) for name in "ab"]
        after = [make_container(name=name, resources=MORE) for name in "ab"]
        (spec,) = writes_of({"containers": before}, {"containers": after})
        assert [container["name"] for container in spec["containers"]] == ["a", "b"]

    def test_resources_that_cannot_be_resized_are_not_sent(self) -> None:
        gpu = {"nvidia.com/gpu": "1"}
        before = {"limits": {"cpu": "1", **gpu}, "requests": gpu}
        after = {"limits": {"cpu": "2", **gpu}, "requests": gpu}
        (spec,) = writes_of(
            {"containers": [make_container(resources=before)]},
            {"containers": [make_container(resources=after)]},
        )
        assert spec["containers"] == [{"name": "main", "resources": {"limits": {"cpu": "2"}}}]

    def test_resources_that_the_compute_side_changed_are_no_resize(self) -> None:
        spec = make_spec(containers=[make_container(resources=CPU)])
        defaulted = {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}}
        copy = with_spec(
            make_copy(make_pod(spec)), containers=[make_container(resources=defaulted)]
        )
        (write,) = update_of(make_pod(spec, labels={"a": "1"}), copy).writes
        assert write.part is UpdatePart.POD

    @pytest.mark.parametrize(
        "nothing", [None, {}, {"limits": None}, {"limits": {}, "requests": {}}]
    )
    def test_asking_for_nothing_is_the_same_however_it_is_written(self, nothing: object) -> None:
        assert not writes_of({}, {"containers": [make_container(resources=nothing)]})

    def test_a_refused_resize_is_tried_again(self) -> None:
        pod = make_pod(make_spec(containers=[make_container(resources=MORE)]))
        copy = make_copy(make_pod(make_spec(containers=[make_container(resources=CPU)])))
        copy = updated(pod, copy, refused=update_of(pod, copy).writes)
        assert [write.part for write in update_of(pod, copy).writes] == [UpdatePart.RESIZE]

    def test_a_copy_that_lost_its_fingerprints_gets_them_and_is_not_resized(self) -> None:
        copy = make_copy(make_pod())
        prints = copy.metadata.annotations.pop(ANNOTATION_RESOURCES)
        pod = make_pod(make_spec(containers=[make_container(resources=CPU)]), labels={"a": "1"})
        assert [write.part for write in update_of(pod, copy).writes] == [UpdatePart.POD]
        marks = metadata_of(make_pod(labels={"a": "1"}), copy)["annotations"]
        assert marks[ANNOTATION_RESOURCES] == prints


quantities = st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"]))
wishes = st.fixed_dictionaries({"limits": quantities, "requests": quantities})


@given(wishes, wishes)
def test_exactly_the_changed_wishes_are_sent_once(before: object, after: object) -> None:
    copy = make_copy(make_pod(make_spec(containers=[make_container(resources=before)])))
    pod = make_pod(make_spec(containers=[make_container(resources=after)]))
    assert bool(update_of(pod, copy).writes) == (before != after)
    assert not update_of(pod, updated(pod, copy), digest="d3").writes


def debugger(name: str = "debugger", **fields: Any) -> dict[str, Any]:
    return make_container(name=name, targetContainerName="main", stdin=True, tty=True, **fields)


def with_debuggers(*containers: Mapping[str, Any]) -> Pod:
    return make_pod(make_spec(ephemeralContainers=list(containers)), generation=2)


class TestEphemeralContainers:
    def test_an_added_one_goes_by_its_subresource(self) -> None:
        (write,) = update_of(with_debuggers(debugger()), make_copy(make_pod())).writes
        assert write.part is UpdatePart.EPHEMERAL_CONTAINER
        assert (write.subresource, write.container) == ("ephemeralcontainers", "debugger")
        (sent,) = patch_of(write)["spec"]["ephemeralContainers"]
        assert sent["targetContainerName"] == "main"
        assert sent["tty"] is True

    def test_its_environment_is_that_of_other_containers(self) -> None:
        env = [{"name": "NS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}]
        mounts = [{"name": "v", "mountPath": "/v"}]
        pod = with_debuggers(debugger(env=env, volumeMounts=mounts))
        (write,) = update_of(pod, make_copy(make_pod())).writes
        (sent,) = patch_of(write)["spec"]["ephemeralContainers"]
        assert sent["env"] == [{"name": "NS", "value": "team-a"}]
        assert sent["envFrom"] == [{"configMapRef": {"name": "vnode-services"}}]
        assert sent["volumeMounts"] == mounts

    def test_it_mounts_for_reading_only_what_the_pod_takes_so(self) -> None:
        claim = {"claimName": "data", "readOnly": True}
        mounts = [{"name": "v", "mountPath": "/v"}]
        spec = make_spec(
            volumes=[{"name": "v", "persistentVolumeClaim": claim}],
            ephemeralContainers=[debugger(volumeMounts=mounts)],
        )
        (write,) = update_of(make_pod(spec, generation=2), make_copy(make_pod())).writes
        (sent,) = patch_of(write)["spec"]["ephemeralContainers"]
        assert sent["volumeMounts"] == [{**mounts[0], "readOnly": True}]

    @pytest.mark.parametrize("by_pod", [True, False])
    def test_it_runs_as_root_no_more_than_other_containers(self, by_pod: bool) -> None:
        """Where the copy does not say it for all, each container does."""
        never = {"securityContext": {"runAsNonRoot": True}}
        copy = make_copy(make_pod(make_spec(**never)))
        if not by_pod:
            copy = with_spec(copy, securityContext={})
        pod = make_pod(make_spec(ephemeralContainers=[debugger()], **never), generation=2)
        (write,) = update_of(pod, copy).writes
        (sent,) = patch_of(write)["spec"]["ephemeralContainers"]
        assert sent.get("securityContext") == (None if by_pod else {"runAsNonRoot": True})

    def test_one_that_is_there_is_never_sent_again(self) -> None:
        first = with_debuggers(debugger())
        copy = updated(first, make_copy(make_pod()))
        both = with_debuggers(debugger(), debugger("second"))
        assert [w.container for w in update_of(both, copy, digest="d3").writes] == ["second"]

    def test_a_refused_one_names_its_field_and_holds_no_other_up(self) -> None:
        pod = with_debuggers(debugger(securityContext={"privileged": True}), debugger("second"))
        change = update_of(pod, make_copy(make_pod()))
        (refused,) = change.refused
        assert [write.container for write in change.writes] == ["second"]
        assert (refused.part, refused.container) == (UpdatePart.EPHEMERAL_CONTAINER, "debugger")
        assert refused.permanent
        assert refused.message.startswith(
            "spec.ephemeralContainers[0].securityContext.privileged: a privileged container"
        )

    @pytest.mark.parametrize(
        "fields",
        [
            {"securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}},
            {"securityContext": {"procMount": "Unmasked"}},
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
            {"newField": "x"},
        ],
    )
    def test_the_policy_holds_for_it(self, fields: Mapping[str, Any]) -> None:
        change = update_of(with_debuggers(debugger(**fields)), make_copy(make_pod()))
        assert not change.writes
        assert len(change.refused) == 1

    def test_one_beside_a_sidecar_has_no_power_over_its_network(self) -> None:
        power = {"capabilities": {"add": ["NET_ADMIN"]}}
        pod = with_debuggers(debugger(securityContext=power), debugger("second"))
        policy = TranslationPolicy(allow=frozenset({HostAccess.CAPABILITIES}))
        copy = make_copy(make_pod())
        assert len(update_of(pod, copy, policy=policy).writes) == 2

        marks = {**copy.metadata.annotations, ANNOTATION_CLAIMS: "data"}
        metadata = msgspec.structs.replace(copy.metadata, annotations=marks)
        beside = msgspec.structs.replace(copy, metadata=metadata)
        change = update_of(pod, beside, policy=policy)
        (refused,) = change.refused
        where = "spec.ephemeralContainers[0].securityContext.capabilities.add: "
        assert refused.message.startswith(where)
        assert [write.container for write in change.writes if write.container] == ["second"]

    def test_what_the_policy_allows_travels(self) -> None:
        pod = with_debuggers(debugger(securityContext={"capabilities": {"add": ["SYS_PTRACE"]}}))
        policy = TranslationPolicy(allow=frozenset({HostAccess.CAPABILITIES}))
        change = update_of(pod, make_copy(make_pod()), policy=policy)
        assert [write.container for write in change.writes] == ["debugger"]

    def test_one_that_was_there_before_the_copy_is_added_to_it(self) -> None:
        copy = make_copy(with_debuggers(debugger()))
        assert "ephemeralContainers" not in decoded(copy)
        assert copy.metadata.annotations[ANNOTATION_DIGEST] == ""
        writes = update_of(with_debuggers(debugger()), copy, digest="d1").writes
        assert [write.container for write in writes] == ["debugger"]

    def test_one_that_was_sent_before_we_were_interrupted_is_only_noted(self) -> None:
        pod = with_debuggers(debugger())
        copy = make_copy(make_pod())
        (write,) = update_of(pod, copy).writes
        sent = patch_of(write)["spec"]["ephemeralContainers"][0]
        defaulted = {**sent, "imagePullPolicy": "Always", "resources": {}}
        copy = with_spec(copy, ephemeralContainers=[defaulted])
        (again,) = update_of(pod, copy).writes
        assert again.patch == {}
        assert ANNOTATION_EPHEMERAL in updated(pod, copy).metadata.annotations

    def test_one_of_that_name_that_somebody_below_added_is_not_taken_for_it(self) -> None:
        theirs = make_container(name="debugger", image="admins/tools:1")
        copy = with_spec(make_copy(make_pod()), ephemeralContainers=[theirs])
        change = update_of(with_debuggers(debugger()), copy)
        assert not change.writes
        assert "of this name" in change.refused[0].message

    def test_a_pod_that_did_not_change_is_not_refused(self) -> None:
        pod = with_debuggers(debugger(securityContext={"privileged": True}))
        copy = updated(make_pod(), make_copy(make_pod()))
        assert not update_of(pod, copy, digest="d2").refused
