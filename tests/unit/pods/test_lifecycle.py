"""What to do next about one pod: DESIGN 4.5 and 5 as a table."""

from dataclasses import replace

import pytest

from tests.builders import (
    UID_2,
    Object,
    condition,
    container_status,
    ended_status,
    make_copy,
    make_pod,
    running_status,
)
from vnode.backend import ObservedPod, Sight
from vnode.kube.types import Pod
from vnode.pods.lifecycle import (
    Create,
    DeleteCopy,
    Forget,
    Lost,
    Mirror,
    Nothing,
    Orphan,
    RemovePod,
    Start,
    Step,
    Update,
    decide,
    finished_by_itself,
)
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, copy_mark, view

BEFORE, ASKED, AFTER = "2027-01-15T07:59:00Z", "2027-01-15T08:00:00Z", "2027-01-15T08:00:20Z"

FRESH = make_pod()
RUNNING = make_pod(status={"phase": "Running"})
MARKED = make_pod(status={"phase": "Pending", "conditions": [condition(FORWARDED)]})
FAILED = make_pod(status={"phase": "Failed"})
DELETED = make_pod(deleted=ASKED, grace=30)
DELETED_RUNNING = make_pod(deleted=ASKED, grace=30, status={"phase": "Running"})
DELETED_SOON = make_pod(deleted=ASKED, grace=5, status={"phase": "Running"})
DELETED_FAILED = make_pod(deleted=ASKED, grace=30, status={"phase": "Failed"})

ALIVE = make_copy()
ENDED = make_copy(status=ended_status())
STALE = make_copy(digest="older")
REVERTED = make_copy(generation=3)
STALE_ENDED = make_copy(digest="older", status=ended_status())
DYING = make_copy(deleting=True, grace_seconds=30, removal_requested=ASKED)
STALE_DYING = make_copy(digest="older", deleting=True, grace_seconds=30)
GONE = make_copy(gone=True)
GONE_ENDED = make_copy(gone=True, status=ended_status())
OTHER = make_copy(make_pod(uid=UID_2))
OTHER_DYING = make_copy(make_pod(uid=UID_2), deleting=True)
OTHER_GONE = make_copy(make_pod(uid=UID_2), gone=True)
ELSEWHERE = make_copy(node="vnode-b")
GATED = make_copy(gated=True, status={"phase": "Pending"}, scheduled=False)
UNFIT = replace(GATED, unfit=True)
UNFIT_DYING = replace(UNFIT, deleting=True)
GATED_STALE = replace(GATED, digest="older")
GATED_DYING = replace(GATED, deleting=True)
GATED_GONE = replace(GATED, gone=True)
STOPPED = make_copy(
    deleting=True,
    removal_requested=ASKED,
    status=ended_status(containerStatuses=[container_status(exit_code=0, finished=AFTER)]),
)
STOPPED_GONE = make_copy(
    deleting=True,
    gone=True,
    removal_requested=ASKED,
    status=ended_status(containerStatuses=[container_status(exit_code=0, finished=AFTER)]),
)
ENDED_THEN_DELETED = make_copy(
    deleting=True,
    removal_requested=ASKED,
    status=ended_status(containerStatuses=[container_status(exit_code=0, finished=BEFORE)]),
)


def make_ended(*, deleted: bool = False, phase: str = "Failed", reason: str = "CopyEnded") -> Pod:
    mark = {"type": "vnode.dev/Forwarded", "status": "True", "reason": reason}
    status = {"phase": phase, "conditions": [mark]}
    return make_pod(deleted=ASKED, grace=30, status=status) if deleted else make_pod(status=status)


def marked_for(handle: str, *conditions: Object, **status: str) -> Pod:
    mark = {**condition(FORWARDED), "message": f"place 1a2b3c4d copy {copy_mark(handle)}"}
    return make_pod(status={"phase": "Pending", "conditions": [mark, *conditions], **status})


def step(
    pod: Pod | None,
    copy: ObservedPod | None,
    *,
    sight: Sight = Sight.COMPLETE,
    remaining: int | None = None,
) -> Step:
    return decide(view(pod) if pod else None, copy, sight=sight, remaining=remaining)


CASES: dict[str, tuple[Pod | None, ObservedPod | None, Step]] = {
    "nothing on either side needs nothing": (None, None, Nothing()),
    "a new pod is created below": (FRESH, None, Create()),
    "a pod that ran is not made again": (RUNNING, None, Lost(None)),
    "a pod that was marked as forwarded is not made again": (MARKED, None, Lost(None)),
    "a finished pod is not made again": (FAILED, None, Nothing()),
    "a copy of the same spec is mirrored": (FRESH, ALIVE, Mirror(ALIVE)),
    "a copy of an older spec is updated": (RUNNING, STALE, Update(STALE)),
    "a copy of another generation is updated": (RUNNING, REVERTED, Update(REVERTED)),
    "a finished copy is not updated": (RUNNING, STALE_ENDED, Mirror(STALE_ENDED)),
    "a dying copy is not updated": (RUNNING, STALE_DYING, Mirror(STALE_DYING)),
    "a finished copy is mirrored": (RUNNING, ENDED, Mirror(ENDED)),
    "a copy that ended before it went is mirrored": (RUNNING, GONE_ENDED, Mirror(GONE_ENDED)),
    "a copy that went while it ran is lost": (RUNNING, GONE, Lost(GONE)),
    "a copy that went before the first status is lost, not made again": (FRESH, GONE, Lost(GONE)),
    "a copy that somebody stops is not shown as finished": (RUNNING, STOPPED, Nothing()),
    "a copy that somebody stopped is lost": (RUNNING, STOPPED_GONE, Lost(STOPPED_GONE)),
    "a copy that ended before somebody deleted it is mirrored": (
        RUNNING,
        ENDED_THEN_DELETED,
        Mirror(ENDED_THEN_DELETED),
    ),
    "a copy that somebody deletes is mirrored while it runs": (RUNNING, DYING, Mirror(DYING)),
    "an older pod's copy is deleted before the new one is made": (
        FRESH,
        OTHER,
        DeleteCopy(OTHER, None),
    ),
    "an older pod's dying copy is waited for": (FRESH, OTHER_DYING, Nothing()),
    "an older pod's copy that went is forgotten": (FRESH, OTHER_GONE, Forget(OTHER_GONE)),
    "an older pod's status never reaches its successor": (
        make_pod(deleted=ASKED, grace=30),
        OTHER_GONE,
        Forget(OTHER_GONE),
    ),
    "a copy made for another virtual node is an older pod's": (
        FRESH,
        ELSEWHERE,
        DeleteCopy(ELSEWHERE, None),
    ),
    "a gated copy is started": (FRESH, GATED, Start(GATED)),
    "a gated copy without a part that it needs is deleted": (FRESH, UNFIT, DeleteCopy(UNFIT, None)),
    "one that is being deleted for that is waited for": (FRESH, UNFIT_DYING, Nothing()),
    "a gated copy is started before it is updated": (FRESH, GATED_STALE, Start(GATED_STALE)),
    "a gated copy of a marked pod is started": (MARKED, GATED, Start(GATED)),
    "a gated copy that others delete is waited for": (FRESH, GATED_DYING, Nothing()),
    "a gated copy that went never ran, and may be made again": (
        FRESH,
        GATED_GONE,
        Forget(GATED_GONE),
    ),
    "a gated copy of a marked pod that went is lost": (MARKED, GATED_GONE, Lost(GATED_GONE)),
    "a gated copy of the mark is started": (marked_for(GATED.handle), GATED, Start(GATED)),
    "a gated copy of another mark is deleted": (
        marked_for("other"),
        GATED,
        DeleteCopy(GATED, None),
    ),
    "a gated copy of another mark that is being deleted is waited for": (
        marked_for("other"),
        GATED_DYING,
        Nothing(),
    ),
    "a gated copy of another mark that went says nothing of the pod": (
        marked_for("other"),
        GATED_GONE,
        Forget(GATED_GONE),
    ),
    "a gated copy of a pod that runs is a second one": (RUNNING, GATED, DeleteCopy(GATED, None)),
    "a gated copy of a pod that had a place is a second one": (
        marked_for(GATED.handle, condition(COMPUTE_SCHEDULED)),
        GATED,
        DeleteCopy(GATED, None),
    ),
    "a gated copy of a pod that has a start time is a second one": (
        marked_for(GATED.handle, startTime=BEFORE),
        GATED,
        DeleteCopy(GATED, None),
    ),
    "a gated copy of a finished pod is deleted": (FAILED, GATED, DeleteCopy(GATED, None)),
    "a gated copy of a deleted pod is deleted": (DELETED, GATED, DeleteCopy(GATED, 30)),
    "a gated copy of an older pod is deleted": (
        make_pod(uid=UID_2),
        GATED,
        DeleteCopy(GATED, None),
    ),
    "a gated copy without pod is an orphan": (None, GATED, Orphan(GATED)),
    "a copy without pod is an orphan": (None, ALIVE, Orphan(ALIVE)),
    "a dying copy without pod needs nothing": (None, DYING, Nothing()),
    "a copy that went after its pod is forgotten": (None, GONE, Forget(GONE)),
    "a deleted pod that never was forwarded goes": (DELETED, None, RemovePod(None)),
    "a deleted pod whose copy went goes": (DELETED_RUNNING, GONE, RemovePod(GONE)),
    "a deleted pod whose copy is not there goes": (DELETED_RUNNING, None, RemovePod(None)),
    "a deleted pod's dying copy is mirrored": (DELETED_RUNNING, DYING, Mirror(DYING)),
    "a deleted finished pod's dying copy is not mirrored": (DELETED_FAILED, DYING, Nothing()),
    "a deleted finished pod's copy is deleted too": (
        DELETED_FAILED,
        ENDED,
        DeleteCopy(ENDED, 30),
    ),
    "a shorter grace is sent again": (DELETED_SOON, DYING, DeleteCopy(DYING, 5)),
    "the copy of a pod that is terminal is stopped": (FAILED, ALIVE, DeleteCopy(ALIVE, None)),
    "the finished copy of a pod that is terminal stays": (FAILED, ENDED, Nothing()),
    "the dying copy of a pod that is terminal is left alone": (FAILED, DYING, Nothing()),
    "a terminal pod does not come back with its copy's end": (FAILED, GONE_ENDED, Nothing()),
}


@pytest.mark.parametrize(("pod", "copy", "expected"), CASES.values(), ids=CASES)
def test_next_step(pod: Pod | None, copy: ObservedPod | None, expected: Step) -> None:
    assert step(pod, copy) == expected


@pytest.mark.parametrize(
    ("remaining", "grace"),
    [(12, 12), (1, 1), (0, 30), (-500, 30), (None, 30)],
    ids=["what is left", "one second", "nothing left", "long ago", "unknown"],
)
def test_a_copy_gets_the_grace_that_is_left_or_all_of_it_after_an_outage(
    remaining: int | None, grace: int
) -> None:
    assert step(DELETED_RUNNING, ALIVE, remaining=remaining) == DeleteCopy(ALIVE, grace)


def test_a_copy_is_never_deleted_without_grace() -> None:
    pod = make_pod(deleted=ASKED, grace=0, status={"phase": "Running"})
    assert step(pod, ALIVE, remaining=0) == DeleteCopy(ALIVE, 1)


@pytest.mark.parametrize("pod", [None, FRESH, RUNNING, DELETED, DELETED_FAILED, FAILED])
@pytest.mark.parametrize("copy", [None, ALIVE, GONE, OTHER])
def test_nothing_is_decided_before_the_namespace_was_looked_at(
    pod: Pod | None, copy: ObservedPod | None
) -> None:
    assert step(pod, copy, sight=Sight.UNKNOWN) == Nothing()


class TestWithoutAPlaceBelow:
    def test_a_new_pod_is_tried_so_that_its_users_hear_why_it_waits(self) -> None:
        assert step(FRESH, None, sight=Sight.BARRED) == Create()

    def test_a_deleted_pod_that_never_was_forwarded_goes(self) -> None:
        assert step(DELETED, None, sight=Sight.BARRED) == RemovePod(None)

    def test_a_deleted_pod_that_failed_without_being_forwarded_goes(self) -> None:
        assert step(DELETED_FAILED, None, sight=Sight.BARRED) == RemovePod(None)

    def test_a_deleted_pod_whose_copy_ended_before_goes(self) -> None:
        assert step(make_ended(deleted=True), None, sight=Sight.BARRED) == RemovePod(None)

    def test_a_pod_whose_copy_ended_stays_until_somebody_deletes_it(self) -> None:
        assert step(make_ended(), None, sight=Sight.BARRED) == Nothing()

    def test_a_deleted_pod_that_others_called_failed_is_left_alone(self) -> None:
        pod = make_ended(deleted=True, reason="CopyMade")
        assert step(pod, None, sight=Sight.BARRED) == Nothing()

    def test_a_deleted_pod_whose_phase_was_taken_back_is_left_alone(self) -> None:
        pod = make_ended(deleted=True, phase="Running")
        assert step(pod, None, sight=Sight.BARRED) == Nothing()

    @pytest.mark.parametrize("pod", [RUNNING, MARKED, FAILED, DELETED_RUNNING])
    def test_a_pod_whose_copy_cannot_be_seen_is_left_alone(self, pod: Pod) -> None:
        assert step(pod, None, sight=Sight.BARRED) == Nothing()


class TestFinishedByItself:
    def test_a_running_copy_is_not_finished(self) -> None:
        assert not finished_by_itself(make_copy(status=running_status()))

    def test_a_copy_nobody_deleted_is(self) -> None:
        assert finished_by_itself(ENDED)

    def test_a_copy_with_one_container_that_outlived_the_request_is_not(self) -> None:
        copy = make_copy(
            removal_requested=ASKED,
            status=ended_status(
                containerStatuses=[
                    container_status("a", exit_code=0, finished=BEFORE),
                    container_status("b", exit_code=0, finished=AFTER),
                ]
            ),
        )
        assert not finished_by_itself(copy)

    def test_a_copy_that_never_had_containers_is(self) -> None:
        copy = make_copy(
            removal_requested=ASKED,
            status={"phase": "Failed", "reason": "UnexpectedAdmissionError"},
        )
        assert finished_by_itself(copy)
