"""What a tenant pod's status says where no copy can: it waits, is lost, or is rejected."""

from typing import Any

import pytest

from tests.builders import (
    NODE_ADDRESS,
    NOW,
    Object,
    condition,
    container_status,
    ended_status,
    make_copy,
    make_pod,
    running_status,
)
from tests.unit.pods.status.mirroring import FLAT, LATER, condition_of, mirrored, patched, shown
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import JSON, Pod
from vnode.pods.status import statuses
from vnode.pods.status.patch import patch as patch_for
from vnode.pods.status.statuses import Placement
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, view


class TestWaiting:
    def test_the_compute_side_s_words_are_shown(self) -> None:
        copy = make_copy(
            status={"phase": "Pending"},
            scheduled=False,
            waiting=WaitingReason("Unschedulable", "0/3 nodes are available"),
        )
        pod = mirrored(make_pod(), copy)
        assert shown(pod)["reason"] == "Unschedulable"
        assert shown(pod)["message"] == "0/3 nodes are available"
        scheduled = condition_of(pod, COMPUTE_SCHEDULED)
        assert (scheduled["status"], scheduled["reason"]) == ("False", "Unschedulable")

    def test_a_copy_that_found_its_place_says_so(self) -> None:
        scheduled = condition_of(mirrored(make_pod(), make_copy()), COMPUTE_SCHEDULED)
        assert scheduled["status"] == "True"
        assert "reason" not in scheduled

    def test_a_transition_keeps_its_time_until_it_turns(self) -> None:
        waiting = make_copy(status={"phase": "Pending"}, scheduled=False)
        pod = mirrored(make_pod(), waiting)
        reworded = make_copy(
            status={"phase": "Pending"}, scheduled=False, waiting=WaitingReason("Other", "x")
        )
        pod = mirrored(pod, reworded, Placement(NODE_ADDRESS, None, LATER))
        assert condition_of(pod, COMPUTE_SCHEDULED)["lastTransitionTime"] == NOW
        pod = mirrored(pod, make_copy(), Placement(NODE_ADDRESS, None, LATER))
        assert condition_of(pod, COMPUTE_SCHEDULED)["lastTransitionTime"] == LATER


class TestLost:
    @staticmethod
    def lost(pod: Pod, copy: ObservedPod | None) -> Pod:
        return patched(pod, patch_for(pod, statuses.lost(pod, view(pod), copy, FLAT)))

    def test_running_containers_end_with_137(self) -> None:
        pod = self.lost(mirrored(make_pod(), make_copy()), make_copy(gone=True))
        now = shown(pod)
        assert (now["phase"], now["reason"]) == ("Failed", "Evicted")
        (container,) = now["containerStatuses"]
        assert container["ready"] is False
        assert container["state"]["terminated"]["exitCode"] == 137
        assert container["state"]["terminated"]["startedAt"] == NOW

    def test_containers_that_had_ended_keep_their_exit_code(self) -> None:
        states: list[JSON] = [
            container_status("a", exit_code=4, finished="2027-01-15T07:00:00Z"),
            container_status("b"),
        ]
        pod = make_pod(containers=["a", "b"])
        copy = make_copy(pod, status=running_status(containerStatuses=states), gone=True)
        codes = [
            c["state"]["terminated"]["exitCode"]
            for c in shown(self.lost(pod, copy))["containerStatuses"]
        ]
        assert codes == [4, 137]

    def test_containers_that_ended_because_of_the_removal_end_with_137(self) -> None:
        """A process that ends orderly when told to would look like a job that succeeded."""
        states: list[JSON] = [container_status(exit_code=0, finished="2027-01-15T08:00:10Z")]
        copy = make_copy(
            status=ended_status(containerStatuses=states), gone=True, removal_requested=NOW
        )
        now = shown(self.lost(make_pod(), copy))
        assert now["phase"] == "Failed"
        assert now["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137

    def test_nothing_is_ready_any_more(self) -> None:
        pod = self.lost(mirrored(make_pod(), make_copy()), None)
        assert condition_of(pod, "Ready")["status"] == "False"
        assert condition_of(pod, "ContainersReady")["status"] == "False"

    def test_a_disruption_is_made_up_where_the_compute_side_gave_none(self) -> None:
        disrupted = condition_of(self.lost(make_pod(), None), "DisruptionTarget")
        assert (disrupted["status"], disrupted["reason"]) == ("True", "DeletedBelow")

    def test_the_compute_side_s_own_disruption_is_kept(self) -> None:
        theirs = condition("DisruptionTarget", reason="PreemptionByScheduler", message="m")
        copy = make_copy(status=running_status(conditions=[theirs]), gone=True)
        assert condition_of(self.lost(make_pod(), copy), "DisruptionTarget") == theirs

    def test_containers_that_never_started_end_too(self) -> None:
        waiting = container_status(state={"waiting": {"reason": "ContainerCreating"}})
        below: Object = {"phase": "Pending", "containerStatuses": [waiting]}
        pod = self.lost(make_pod(), make_copy(status=below, gone=True))
        ended = shown(pod)["containerStatuses"][0]["state"]["terminated"]
        assert ended["exitCode"] == 137
        assert "finishedAt" not in ended

    @staticmethod
    def states(pod: Pod, kind: str) -> list[str]:
        return [next(iter(c["state"])) for c in shown(pod)[kind]]

    def test_containers_behind_a_failed_init_container_are_not_said_to_have_run(self) -> None:
        waiting: Object = {"waiting": {"reason": "PodInitializing"}}
        below: Object = {
            "phase": "Pending",
            "initContainerStatuses": [
                container_status("first", exit_code=1),
                container_status("second", state=waiting),
            ],
            "containerStatuses": [container_status(state=waiting)],
        }
        pod = make_pod(init_containers=["first", "second"])
        pod = self.lost(pod, make_copy(pod, status=below, gone=True))
        assert self.states(pod, "initContainerStatuses") == ["terminated", "waiting"]
        assert self.states(pod, "containerStatuses") == ["waiting"]

    def test_an_init_container_that_ran_ends_and_the_next_waits_on(self) -> None:
        waiting: Object = {"waiting": {"reason": "PodInitializing"}}
        below: Object = {
            "phase": "Pending",
            "initContainerStatuses": [container_status("first")],
            "containerStatuses": [container_status(state=waiting)],
        }
        pod = make_pod(init_containers=["first"])
        pod = self.lost(pod, make_copy(pod, status=below, gone=True))
        assert self.states(pod, "initContainerStatuses") == ["terminated"]
        assert self.states(pod, "containerStatuses") == ["waiting"]

    @pytest.mark.parametrize(
        ("policy", "init"),
        [
            ("", container_status("first", exit_code=0)),
            ("Always", container_status("first", started=True)),
        ],
    )
    def test_containers_whose_turn_had_come_end(self, policy: str, init: Object) -> None:
        waiting: Object = {"waiting": {"reason": "ImagePullBackOff"}}
        below: Object = {
            "phase": "Pending",
            "initContainerStatuses": [init],
            "containerStatuses": [container_status(state=waiting)],
        }
        pod = make_pod(initContainers=[{"name": "first", "restartPolicy": policy}])
        pod = self.lost(pod, make_copy(pod, status=below, gone=True))
        assert self.states(pod, "containerStatuses") == ["terminated"]


class TestRejected:
    @staticmethod
    def rejected(restart: str) -> Any:
        pod = make_pod(restart=restart)
        made = statuses.rejected(pod, view(pod), ["main"], "spec.hostPID: no", now=NOW)
        return shown(patched(pod, patch_for(pod, made)))

    @pytest.mark.parametrize("restart", ["Never", "OnFailure"])
    def test_a_pod_that_is_not_restarted_fails(self, restart: str) -> None:
        now = self.rejected(restart)
        assert (now["phase"], now["reason"]) == ("Failed", "PodRejected")
        assert now["message"] == "spec.hostPID: no"

    def test_a_pod_that_always_restarts_waits(self) -> None:
        """A Failed one would make its ReplicaSet create pods without end."""
        now = self.rejected("Always")
        assert (now["phase"], now["reason"]) == ("Pending", "PodRejected")
        (container,) = now["containerStatuses"]
        assert container["state"]["waiting"]["reason"] == "PodRejected"

    def test_it_is_not_marked_as_forwarded(self) -> None:
        kinds = {c["type"] for c in self.rejected("Always")["conditions"]}
        assert FORWARDED not in kinds
