"""Each rule is seen to find what it is about, and to be silent about what is allowed."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.chaos.history import Version
from tests.unit.chaos.stories import (
    ABOVE,
    AGENT,
    USER,
    copy,
    created,
    deleted,
    judge,
    pod,
    request,
    version,
)

if TYPE_CHECKING:
    from tests.chaos.judge import Judge


def rules(judge: Judge) -> list[str]:
    """Names of the rules that were broken."""
    return [violation.rule for violation in judge.verdict()]


def test_a_pod_that_lives_and_ends_is_in_order() -> None:
    story = judge()
    story.version(version(pod(phase="Pending"), 1))
    story.request(created(copy(), 2))
    story.version(version(copy(containers=("x",)), 2.1))
    story.version(version(pod(containers=("x",), forwarded=True), 3))
    story.version(version(pod(containers=("x",), grace=30), 4))
    story.request(deleted(copy(), 4.1))
    story.version(version(copy(containers=("x",), phase="Succeeded"), 5, gone=True))
    story.version(version(pod(containers=("x",), phase="Succeeded"), 6))
    story.version(version(pod(containers=("x",), phase="Succeeded"), 7, gone=True))
    assert not story.verdict()


def test_two_copies_of_one_uid_are_found_by_the_answers_to_creates() -> None:
    story = judge()
    story.version(version(pod(), 1))
    story.request(created(copy("c1"), 2))
    story.request(created(copy("c2"), 3, cluster="b"))
    (found,) = story.verdict()
    assert found.rule == "created once"
    assert "c1 in a, then c2 in b" in found.text
    assert len(found.evidence) == 2


def test_two_copies_are_found_by_their_versions_where_a_killed_api_server_wrote_no_line() -> None:
    story = judge()
    story.version(version(copy("c1"), 2))
    story.version(version(copy("c2"), 3))
    assert rules(story) == ["created once"]


def _removed_by_others(
    story: Judge, *, told: bool = False, by: str = USER, gated: bool = False
) -> None:
    first = copy("c1", gated=gated)
    story.version(version(pod(phase="Pending"), 1))
    story.request(created(first, 2))
    if told:
        patch = {"namespace": ABOVE, "subresource": "status", "body": pod(forwarded=True)}
        story.request(request("patch", 2.5, cluster="tenant", **patch))
    story.request(deleted(first, 3, user=by))
    story.version(version(first, 3.1, gone=True))
    story.request(created(copy("c2"), 4))


def test_a_copy_removed_by_others_before_the_first_status_may_be_made_again() -> None:
    story = judge(strict=False)
    _removed_by_others(story)
    assert not story.verdict()
    assert story.windows == {"u1"}


def test_with_start_once_strict_only_if_the_first_one_could_not_start() -> None:
    story = judge(strict=True)
    _removed_by_others(story)
    assert rules(story) == ["created once"]
    story = judge(strict=True)
    _removed_by_others(story, gated=True)
    assert not story.verdict()


def test_not_when_the_first_one_lost_its_gate() -> None:
    story = judge(strict=True)
    story.version(version(copy("c1", gated=True), 2))
    story.version(version(copy("c1"), 2.5))
    _removed_by_others(story, gated=True)
    assert rules(story) == ["created once"]


def test_not_after_the_status_said_that_there_is_one() -> None:
    story = judge(strict=False)
    _removed_by_others(story, told=True)
    assert rules(story) == ["created once"]


def test_not_when_it_was_our_own_deletion() -> None:
    story = judge(strict=False)
    _removed_by_others(story, by=AGENT)
    assert rules(story) == ["created once"]


def test_not_while_the_first_one_is_there() -> None:
    story = judge(strict=False)
    story.request(created(copy("c1"), 2))
    story.request(created(copy("c2"), 4))
    assert rules(story) == ["created once"]


@pytest.mark.parametrize("after", ["Running", "Pending", "Failed"])
def test_a_terminal_pod_that_changes_its_phase_is_found(after: str) -> None:
    story = judge()
    story.version(version(pod(phase="Succeeded"), 1))
    story.version(version(pod(phase=after), 2))
    assert rules(story) == ["terminal is final"]


def test_containers_of_another_pods_copy_are_found() -> None:
    story = judge()
    story.version(version(copy("c1", "u1", containers=("x",)), 1))
    story.version(version(copy("c2", "u2", containers=("y",)), 2))
    story.version(version(pod("u2", containers=("x",)), 3))
    (found,) = story.verdict()
    assert found.rule == "own status"
    assert "copy c1 of u1" in found.text


def test_containers_of_nobodys_copy_are_found() -> None:
    story = judge()
    story.version(version(copy("f1", cluster_uid="other", containers=("x",)), 1))
    story.version(version(pod(containers=("x",)), 2))
    assert rules(story) == ["own status"]


def _orphan(story: Judge, *, deleted_at: float, asked: bool = True) -> None:
    """The tenant pod went while no agent ran; one starts at 10 and looks at 12."""
    story.version(version(pod(), 1))
    story.version(version(copy(), 2))
    story.version(version(pod(), 5, gone=True))
    story.agent_started(0)
    story.ledger.started[0][-1] = 10.0
    story.request(request("list", 12, name=""))
    if asked:
        story.request(request("get", 13, cluster="tenant", namespace=ABOVE, code=404))
    story.request(deleted(copy(), deleted_at))


def test_an_orphan_that_was_sighted_twice_may_go() -> None:
    story = judge()
    _orphan(story, deleted_at=14.1)
    assert not story.verdict()


def test_an_orphan_that_is_deleted_at_first_sight_is_found() -> None:
    story = judge()
    _orphan(story, deleted_at=13.2)
    assert rules(story) == ["orphans are sighted twice"]


def test_the_first_sight_is_when_all_of_its_namespace_was_asked_for() -> None:
    story = judge()
    story.request(request("list", 13, name="", resource="secrets"))
    _orphan(story, deleted_at=14.1)
    assert rules(story) == ["orphans are sighted twice"]


def test_an_orphan_that_is_deleted_unasked_is_found() -> None:
    story = judge()
    _orphan(story, deleted_at=14.1, asked=False)
    assert rules(story) == ["orphans are confirmed"]


def test_a_predecessor_may_go_at_once() -> None:
    story = judge()
    story.version(version(pod("u2"), 6))
    _orphan(story, deleted_at=12.5, asked=False)
    assert not story.verdict()


def _removed(story: Judge, *, copy_at: float | None) -> None:
    """The agent removes a tenant pod at 5."""
    story.version(version(pod(), 1))
    story.version(version(copy(), 2))
    if copy_at is not None:
        story.request(deleted(copy(), copy_at, user=USER))
        story.version(version(copy(), copy_at + 0.5, gone=True))
    story.request(deleted(pod(), 5, cluster="tenant", namespace=ABOVE))


def test_a_pod_may_go_after_its_copy() -> None:
    story = judge()
    _removed(story, copy_at=4.9)
    assert not story.verdict()


@pytest.mark.parametrize("copy_at", [None, 6.0])
def test_a_pod_that_goes_before_its_copy_is_found(copy_at: float | None) -> None:
    story = judge()
    _removed(story, copy_at=copy_at)
    assert rules(story) == ["copies go first"]


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("delete", {"gracePeriodSeconds": 0}),
        ("delete", None),
        ("patch", {"metadata": {"labels": {}}}),
        ("update", {"metadata": {"name": "web"}}),
    ],
)
def test_a_write_without_uid_is_found(verb: str, body: dict[str, object] | None) -> None:
    story = judge()
    story.request(request(verb, 1, body=body))
    assert rules(story) == ["UID preconditions"]


def test_an_event_that_is_counted_on_has_to_be_named_by_uid() -> None:
    """As the API server keeps it by the policy: with what was sent."""
    repeated = {"count": 2, "lastTimestamp": "2026-01-01T00:00:00Z"}
    where = {"cluster": "tenant", "namespace": ABOVE, "resource": "events", "name": "web.1"}
    story = judge()
    story.request(request("patch", 1, body={"metadata": {"uid": "e1"}, **repeated}, **where))
    assert not story.verdict()
    story.request(request("patch", 2, body=repeated, **where))
    (found,) = story.verdict()
    assert (found.rule, found.about) == ("UID preconditions", "patch events/")


def test_others_may_write_without_uid_anywhere() -> None:
    story = judge()
    story.request(request("delete", 1, user=USER, namespace="kube-system"))
    assert not story.verdict()


@pytest.mark.parametrize(
    ("cluster", "namespace", "resource"),
    [
        ("a", "kube-system", "secrets"),
        ("a", "other--team-a", "pods"),
        ("a", ABOVE, "pods"),
        ("a", "", "namespaces"),
        ("a", "", "nodes"),
        ("tenant", "", "namespaces"),
        ("tenant", "kube-system", "configmaps"),
    ],
)
def test_a_write_outside_our_namespaces_is_found_even_if_it_was_refused(
    cluster: str, namespace: str, resource: str
) -> None:
    story = judge()
    where = {"cluster": cluster, "namespace": namespace, "resource": resource}
    story.request(request("create", 1, code=403, **where))
    assert rules(story) == ["our namespaces only"]


def test_a_read_elsewhere_is_no_write() -> None:
    story = judge()
    story.request(request("get", 1, cluster="tenant", namespace="kube-system"))
    assert not story.verdict()


def test_nodes_of_the_tenant_are_ours_to_write() -> None:
    story = judge()
    story.request(request("create", 1, cluster="tenant", namespace="", resource="nodes", code=201))
    assert not story.verdict()


def test_a_write_to_somebody_elses_pod_is_found() -> None:
    story = judge()
    foreign = copy("f1", cluster_uid="other")
    story.version(version(foreign, 1))
    story.request(deleted(foreign, 2))
    assert rules(story) == ["nobody else's"]


@pytest.mark.parametrize("encoded", [False, True])
def test_a_secret_in_a_log_is_found_and_not_told_again(encoded: bool) -> None:
    story = judge()
    story.secret("hush-1")
    text = base64.b64encode(b"hush-1").decode() if encoded else "hush-1"
    story.text("the log", f"the password is {text}")
    (found,) = story.verdict()
    assert found.rule == "no secrets told"
    assert text not in found.text


def test_a_secret_in_an_event_is_found() -> None:
    story = judge()
    story.secret("hush-1")
    event = {"metadata": {"uid": "e"}, "message": "it is hush-1"}
    story.version(Version("tenant", "events", ABOVE, "e", event, gone=False, at=1))
    assert rules(story) == ["no secrets told"]


def test_a_token_in_a_log_is_found() -> None:
    story = judge()
    story.text("the log", "Bearer eyJhbGciOiJSUzI1NiJ9.x.y")
    assert rules(story) == ["no secrets told"]


def test_a_traceback_in_a_log_is_found() -> None:
    story = judge()
    story.text("the log", "fine\nTraceback (most recent call last):\n  ...\nValueError: no")
    (found,) = story.verdict()
    assert found.rule == "no surprises"
    assert found.evidence[-1] == "ValueError: no"


def test_a_violation_is_told_once() -> None:
    story = judge()
    story.version(version(pod(phase="Failed"), 1))
    story.version(version(pod(phase="Running"), 2))
    assert len(story.verdict()) == 1
    story.version(version(pod(phase="Running", containers=()), 3))
    assert not story.verdict()
