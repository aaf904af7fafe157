"""A compute pod read as a copy: whose it is, and how it does."""

from collections.abc import Mapping

import msgspec
import pytest

from federation.backends.kubernetes.observe import (
    foreign_containers,
    names_of,
    observed_pod,
    tenant_key,
)
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    ANNOTATION_EPHEMERAL,
    ANNOTATION_GENERATION,
    ANNOTATION_NAME,
    ANNOTATION_NAMESPACE,
    LABEL_TENANT,
    START_GATE,
    NamespaceMapping,
    NamespaceMode,
    Owner,
)
from tests.builders import (
    NODE,
    OWNER,
    UID_1,
    condition,
    container_status,
    loads,
    make_compute_pod,
    make_pod,
    raw,
    running_status,
)
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import ObjectKey, Pod

MAPPING = NamespaceMapping("red")
OTHER_CLUSTER = Owner(tenant="red", cluster_uid="another-cluster-of-the-same-tenant-name")
OTHER_TENANT = Owner(tenant="blue", cluster_uid=OWNER.cluster_uid)


def read(pod: Pod) -> ObservedPod | None:
    return observed_pod(pod, owner=OWNER, namespaces=MAPPING)


def read_ours(pod: Pod) -> ObservedPod:
    copy = read(pod)
    assert copy is not None
    return copy


class TestIdentity:
    def test_marks_say_whose_copy_it_is(self) -> None:
        copy = read_ours(make_compute_pod(make_pod(generation=4), uid="below"))
        assert copy.key == ObjectKey("team-a", "job-0")
        assert (copy.uid, copy.handle, copy.node) == (UID_1, "below", NODE)
        assert copy.generation == 4
        assert copy.digest

    def test_its_own_generation_is_another(self) -> None:
        pod = make_compute_pod(make_pod(generation=4))
        metadata = msgspec.structs.replace(pod.metadata, generation=9)
        copy = read_ours(msgspec.structs.replace(pod, metadata=metadata))
        assert (copy.generation, copy.own_generation) == (4, 9)

    @pytest.mark.parametrize(
        "foreign",
        [
            make_compute_pod(owner=OTHER_CLUSTER),
            make_compute_pod(owner=OTHER_TENANT),
            make_compute_pod(labels={LABEL_TENANT: "blue"}),
            make_compute_pod(annotations={ANNOTATION_CLUSTER_UID: "x"}),
            make_compute_pod(annotations={ANNOTATION_NAMESPACE: "team-b"}),
            make_compute_pod(annotations={ANNOTATION_NAMESPACE: ""}),
            make_compute_pod(annotations={ANNOTATION_NAME: "job-1"}),
            make_compute_pod(annotations={ANNOTATION_NAME: ""}),
            make_compute_pod(namespace="red--team-b"),
            make_compute_pod(namespace="team-a"),
        ],
        ids=[
            "another cluster of this tenant",
            "another tenant",
            "its tenant label was changed",
            "its cluster mark was changed",
            "it claims another namespace",
            "it claims no namespace",
            "it claims another name",
            "it claims no name",
            "it lies in another namespace of ours",
            "it lies outside our namespaces",
        ],
    )
    def test_a_pod_whose_marks_do_not_agree_with_its_place_is_nobody_s(self, foreign: Pod) -> None:
        assert read(foreign) is None

    def test_a_namespace_that_is_not_mapped_has_no_copies(self) -> None:
        table = NamespaceMapping("red", NamespaceMode.MAP, {"team-b": "gpu"})
        pod = make_compute_pod(namespace="gpu")
        assert tenant_key(pod.metadata, owner=OWNER, namespaces=table) is None

    @pytest.mark.parametrize("mark", ["", "x", "-1", "1.5", "\u00b2", "9" * 5000])
    def test_a_spoilt_generation_is_an_unknown_one(self, mark: str) -> None:
        assert (
            read_ours(make_compute_pod(annotations={ANNOTATION_GENERATION: mark})).generation == 0
        )


class TestState:
    def test_a_deletion_shows_when_it_was_asked_for(self) -> None:
        copy = read_ours(make_compute_pod(deleted="2027-01-15T08:00:30Z", grace=30))
        assert copy.deleting
        assert copy.grace_seconds == 30
        assert copy.removal_requested == "2027-01-15T08:00:00Z"

    @pytest.mark.parametrize(
        ("deleted", "grace"),
        [("0001-01-01T00:00:00Z", 30), ("2027-01-15T08:00:00Z", 10**15), ("yesterday", 1)],
    )
    def test_an_absurd_deletion_is_one_all_the_same(self, deleted: str, grace: int) -> None:
        copy = read_ours(make_compute_pod(deleted=deleted, grace=grace))
        assert copy.deleting
        assert copy.removal_requested is None

    def test_a_copy_with_a_node_has_its_place(self) -> None:
        copy = read_ours(make_compute_pod(node="gpu-17"))
        assert copy.scheduled
        assert copy.waiting is None

    def test_a_copy_without_says_why_in_the_scheduler_s_words(self) -> None:
        status = {
            "phase": "Pending",
            "conditions": [
                condition(
                    "PodScheduled",
                    "False",
                    reason="Unschedulable",
                    message="0/3 nodes are available in red--team-a",
                )
            ],
        }
        copy = read_ours(make_compute_pod(status=status))
        assert not copy.scheduled
        assert copy.waiting is not None
        assert copy.waiting.reason == "Unschedulable"
        assert copy.waiting.message == "0/3 nodes are available in team-a"

    def test_a_fresh_copy_says_nothing_yet(self) -> None:
        assert read_ours(make_compute_pod()).waiting is None

    def test_its_status_names_nobody_below(self) -> None:
        status = running_status(message="evicted from gpu-17 in red--team-a")
        copy = read_ours(make_compute_pod(status=status, node="gpu-17"))
        assert loads(copy.status)["message"] == f"evicted from {NODE} in team-a"

    def test_fields_of_newer_apis_survive(self) -> None:
        copy = read_ours(make_compute_pod(status=running_status(fromTheFuture={"a": [1]})))
        assert loads(copy.status)["fromTheFuture"] == {"a": [1]}


class TestSchedulingGates:
    CLOSED: Mapping[str, object] = {
        "phase": "Pending",
        "conditions": [
            condition("PodScheduled", "False", reason="SchedulingGated", message="blocked")
        ],
    }

    def copy(self, *gates: str) -> ObservedPod:
        return read_ours(make_compute_pod(status=self.CLOSED, gates=gates))

    def test_a_copy_with_our_gate_is_gated_and_tenants_hear_nothing_of_it(self) -> None:
        copy = self.copy(START_GATE)
        assert copy.gated
        assert copy.waiting is None

    def test_the_condition_outlives_our_gate_and_is_still_not_shown(self) -> None:
        copy = self.copy()
        assert not copy.gated
        assert copy.waiting is None

    def test_gates_of_others_are_a_reason_to_wait(self) -> None:
        copy = self.copy("kueue.x-k8s.io/admission")
        assert not copy.gated
        assert copy.waiting == WaitingReason("SchedulingGated", "blocked")

    def test_ours_hides_no_other(self) -> None:
        assert self.copy(START_GATE, "kueue.x-k8s.io/admission").waiting is not None


def test_names_of_both_sides() -> None:
    names = names_of(make_compute_pod(uid="below", node="gpu-17"))
    assert (names.namespace_below, names.namespace) == ("red--team-a", "team-a")
    assert (names.uid_below, names.uid) == ("below", UID_1)
    assert (names.node_below, names.node) == ("gpu-17", NODE)


class TestEphemeralContainers:
    """Whoever may debug below can add some to a copy."""

    @staticmethod
    def copy(*names: str, ours: str = "") -> Pod:
        states = [container_status(name) for name in names]
        pod = make_compute_pod(
            status=running_status(ephemeralContainerStatuses=[*states]),
            annotations={ANNOTATION_EPHEMERAL: ours} if ours else {},
        )
        added = [{"name": name} for name in names]
        spec = {"containers": [{"name": "main"}], "ephemeralContainers": added}
        return msgspec.structs.replace(pod, spec=raw(spec))

    def test_the_tenant_s_are_those_that_we_noted(self) -> None:
        pod = self.copy("debug-a", "admins", ours="debug-a=1a2b3c4d")
        assert foreign_containers(pod) == {"admins"}

    def test_of_others_nothing_is_said(self) -> None:
        pod = self.copy("debug-a", "admins", ours="debug-a=1a2b3c4d")
        status = loads(read_ours(pod).status)
        assert [c["name"] for c in status["ephemeralContainerStatuses"]] == ["debug-a"]
        assert status["phase"] == "Running"

    def test_a_copy_without_foreign_ones_is_read_as_it_is(self) -> None:
        pod = self.copy("debug-a", ours="debug-a=1a2b3c4d")
        assert read_ours(pod).status is pod.status
