"""What the lifecycle rules read of a tenant pod."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import NODE, UID_1, condition, make_pod, with_status
from vnode.kube.types import OwnerReference, Pod
from vnode.pods.view import FORWARDED, container_names, digest, pod_address, view


def test_the_facts_of_a_pod() -> None:
    seen = view(make_pod(init_containers=["prepare"], ephemeral_containers=["debug"]))
    assert (seen.uid, seen.node, seen.phase) == (UID_1, NODE, "Pending")
    assert seen.containers == {"main", "prepare", "debug"}
    assert seen.service_account == "default"
    assert not any((seen.deleting, seen.forwarded, seen.terminal, seen.daemon))


def test_an_empty_status_is_a_pending_pod() -> None:
    assert view(with_status(make_pod(), {})).phase == "Pending"


@pytest.mark.parametrize(
    ("status", "forwarded"),
    [
        ({"phase": "Pending"}, False),
        ({"phase": "Running"}, True),
        ({"phase": "Pending", "conditions": [condition(FORWARDED)]}, True),
        ({"phase": "Pending", "conditions": [condition(FORWARDED, "False")]}, False),
        ({"phase": "Failed"}, False),
    ],
)
def test_a_pod_was_forwarded_once_a_status_shows_it(
    status: dict[str, object], forwarded: bool
) -> None:
    assert view(make_pod(status=status)).forwarded is forwarded


@pytest.mark.parametrize(
    ("status", "unsent"), [("True", False), ("Unknown", False), ("False", True)]
)
def test_no_copy_was_asked_for_only_if_a_status_says_so(status: str, unsent: bool) -> None:
    assert not view(make_pod()).unsent
    assert view(make_pod(status={"conditions": [condition(FORWARDED, status)]})).unsent is unsent


@pytest.mark.parametrize(
    ("owner", "daemon"),
    [
        (OwnerReference(kind="DaemonSet", name="d", controller=True), True),
        (OwnerReference(kind="DaemonSet", name="d"), False),
        (OwnerReference(kind="ReplicaSet", name="r", controller=True), False),
    ],
)
def test_a_daemonset_s_pod_is_one_that_it_controls(owner: OwnerReference, daemon: bool) -> None:
    assert view(make_pod(owners=[owner])).daemon is daemon


def test_deletion_and_gates() -> None:
    pod = make_pod(
        deleted="2027-01-15T08:00:00Z", grace=30, readinessGates=[{"conditionType": "lb"}]
    )
    seen = view(pod)
    assert seen.deleting
    assert seen.grace_seconds == 30
    assert seen.readiness_gates == ("lb",)


def test_container_names_keep_their_order() -> None:
    pod = make_pod(containers=["b", "a"], init_containers=["z", "y"])
    assert container_names(pod) == (("z", "y"), ("b", "a"))


def test_the_address_that_a_status_shows() -> None:
    assert pod_address(make_pod(status={"podIP": "198.18.0.1"})) == "198.18.0.1"
    assert pod_address(make_pod()) == ""


class TestDigest:
    BASE = make_pod(labels={"a": "b"})

    @pytest.mark.parametrize(
        "other",
        [
            make_pod(labels={"a": "c"}),
            make_pod(labels={"a": "b"}, annotations={"x": "y"}),
            make_pod(annotations={"a": "b"}),
            make_pod(labels={"a": "b"}, activeDeadlineSeconds=5),
        ],
    )
    def test_it_changes_with_whatever_travels(self, other: Pod) -> None:
        assert digest(self.BASE) != digest(other)

    @pytest.mark.parametrize(
        "same",
        [
            make_pod(labels={"a": "b"}, version=9),
            make_pod(labels={"a": "b"}, generation=9),
            make_pod(labels={"a": "b"}, status={"phase": "Running"}),
            make_pod(labels={"a": "b"}, deleted="2027-01-15T08:00:00Z", grace=3),
        ],
    )
    def test_it_does_not_change_with_what_does_not(self, same: Pod) -> None:
        assert digest(self.BASE) == digest(same)

    def test_the_order_of_labels_does_not_matter(self) -> None:
        one = make_pod(labels={"a": "1", "b": "2"})
        other = make_pod(labels={"b": "2", "a": "1"})
        assert digest(one) == digest(other)

    @given(
        st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
        st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
    )
    def test_labels_and_annotations_are_told_apart(
        self, one: dict[str, str], other: dict[str, str]
    ) -> None:
        if one != other:
            assert digest(make_pod(labels=one, annotations=other)) != digest(
                make_pod(labels=other, annotations=one)
            )
