"""What a tenant pod's status should say of its copy."""

from dataclasses import replace
from typing import Any, cast

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
from tests.unit.pods.acts import DEBUGGER
from tests.unit.pods.status.mirroring import (
    FLAT,
    LATER,
    NEVER_OURS,
    condition_of,
    isolated,
    mirrored,
    patched,
    shown,
    wanted,
)
from vnode.backend import HeldBack, ObservedPod, UpdatePart, WaitingReason
from vnode.kube.types import JSON, Pod
from vnode.pods.status import statuses
from vnode.pods.status.patch import patch as patch_for
from vnode.pods.status.statuses import Placement
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, copy_mark, view


def change(pod: Pod, copy: ObservedPod, placement: Placement = FLAT) -> Any:
    """The status part of the patch that mirrors a copy; {} where nothing differs."""
    patch = patch_for(pod, wanted(pod, copy, placement))
    return {} if patch is None else patch["status"]


class TestWhatIsWritten:
    def test_a_running_copy_is_shown(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        now = shown(pod)
        assert now["phase"] == "Running"
        assert now["containerStatuses"][0]["name"] == "main"
        assert now["startTime"] == NOW
        assert condition_of(pod, "Ready")["status"] == "True"

    @pytest.mark.parametrize("field", NEVER_OURS)
    def test_fields_of_others_are_never_written(self, field: str) -> None:
        below = {**running_status(), field: [{"name": "x"}]}
        assert field not in change(make_pod(), make_copy(status=below))

    @pytest.mark.parametrize("kind", ["PodScheduled", "example.com/below", "SchedulingGated"])
    def test_conditions_that_are_no_kubelet_s_stay_below(self, kind: str) -> None:
        below = running_status(conditions=[condition(kind, reason="x")])
        kinds = {c["type"] for c in change(make_pod(), make_copy(status=below))["conditions"]}
        assert kinds == {FORWARDED, COMPUTE_SCHEDULED}

    def test_conditions_of_other_writers_stay(self) -> None:
        theirs = condition("example.com/approved", reason="Because", message="so")
        pod = make_pod(status={"phase": "Pending", "conditions": [theirs]})
        assert condition_of(mirrored(pod, make_copy()), "example.com/approved") == theirs

    @pytest.mark.parametrize(
        ("below", "reason"),
        [
            (running_status(), "CopyMade"),
            (ended_status(), "CopyEnded"),
            (ended_status("Failed", exit_code=1), "CopyEnded"),
            (running_status(phase="Failed", reason="DeadlineExceeded"), "CopyMade"),
        ],
        ids=["runs", "succeeded", "failed", "failed, but a container is still stopping"],
    )
    def test_the_mark_says_when_nothing_runs_any_more(self, below: Object, reason: str) -> None:
        pod = mirrored(make_pod(), make_copy(status=below))
        assert condition_of(pod, FORWARDED)["reason"] == reason

    def test_the_mark_of_a_lost_pod_says_that_nothing_runs(self) -> None:
        running = mirrored(make_pod(), make_copy())
        gone = statuses.lost(running, view(running), None, FLAT)
        lost = patched(running, patch_for(running, gone))
        assert view(lost).ended

    @pytest.mark.parametrize(
        ("before", "now", "after"),
        [
            ("", "1a.c1", "1a.c1"),
            ("1a", "1a.c1", "1a.c1"),
            ("1a.c1", "1a", "1a.c1"),
            ("1a.c1", "1b.c1", "1a.c1"),
            ("1a", "1b.c1", "1a"),
            ("1a.c1", "", "1a.c1"),
        ],
    )
    def test_the_mark_stays_with_the_first_place_and_learns_more_of_it(
        self, before: str, now: str, after: str
    ) -> None:
        first = replace(FLAT, place=before)
        again = replace(FLAT, place=now, now=LATER)
        pod = mirrored(mirrored(make_pod(), make_copy(), first), make_copy(), again)
        assert view(pod).place == after

    def test_the_mark_stays_with_the_first_copy(self) -> None:
        first, second = make_copy(), replace(make_copy(), handle="second")
        pod = mirrored(mirrored(make_pod(), first), second)
        assert view(pod).copy == copy_mark(first.handle)

    def test_a_mark_that_names_no_copy_learns_of_none(self) -> None:
        pod = make_pod(status={"conditions": [condition(FORWARDED)]})
        assert view(mirrored(pod, make_copy())).copy == ""

    def test_the_patch_can_hit_no_namesake(self) -> None:
        patch = cast("Any", patch_for(make_pod(), wanted(make_pod(), make_copy())))
        assert patch["metadata"]["uid"] == make_pod().metadata.uid

    def test_a_phase_is_only_written_over_the_version_it_was_judged_by(self) -> None:
        pod = make_pod(version=77)
        patch = cast("Any", patch_for(pod, wanted(pod, make_copy())))
        assert patch["metadata"]["resourceVersion"] == "77"

    def test_without_a_new_phase_others_may_write_meanwhile(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        unready = running_status(conditions=[condition("Ready", "False")])
        patch = cast("Any", patch_for(pod, wanted(pod, make_copy(status=unready))))
        assert "phase" not in patch["status"]
        assert set(patch["metadata"]) == {"uid"}

    def test_pod_level_resources_are_replaced_as_a_whole(self) -> None:
        amounts: Object = {"cpu": "1", "memory": "1Gi"}
        pod = make_pod(resources={"requests": amounts})
        for has in (amounts, {"cpu": "1"}, {"memory": "1Gi"}):
            below = {**running_status(), "resources": {"requests": has}, "allocatedResources": has}
            pod = mirrored(pod, make_copy(pod, status=below))
            assert shown(pod)["allocatedResources"] == has
            assert shown(pod)["resources"] == {"requests": has}
        assert "resources" not in shown(mirrored(pod, make_copy(pod)))


class TestGenerations:
    """What the compute side counts are the copy's generations; shown are the tenant's."""

    @staticmethod
    def copy(*, seen: int | None, own: int = 4, applied: int = 7) -> ObservedPod:
        kubelet_s: Object = {} if seen is None else {"observedGeneration": seen}
        below = {**running_status(conditions=[{**condition("Ready"), **kubelet_s}]), **kubelet_s}
        return replace(make_copy(status=below, generation=applied), own_generation=own)

    @staticmethod
    def generations(pod: Pod) -> tuple[object, object]:
        ready = condition_of(pod, "Ready")
        return shown(pod).get("observedGeneration"), ready.get("observedGeneration")

    def test_what_was_applied_and_seen_below_is_observed(self) -> None:
        pod = mirrored(make_pod(generation=7), self.copy(seen=4))
        assert self.generations(pod) == (7, 7)

    def test_what_was_applied_but_not_seen_yet_is_not(self) -> None:
        pod = mirrored(make_pod(generation=6), self.copy(seen=3, own=3, applied=6))
        pod = mirrored(pod, self.copy(seen=3))
        assert self.generations(pod) == (6, 6)

    def test_a_status_of_an_unknown_generation_is_none_at_all(self) -> None:
        pod = mirrored(make_pod(generation=7), self.copy(seen=3))
        assert self.generations(pod) == (None, None)

    def test_a_compute_side_that_does_not_count_is_believed(self) -> None:
        pod = mirrored(make_pod(generation=7), self.copy(seen=None))
        assert self.generations(pod) == (7, None)

    def test_a_condition_about_an_older_spec_keeps_its_generation(self) -> None:
        resizing = condition("PodResizeInProgress", observedGeneration=3)
        old = replace(
            make_copy(status=running_status(conditions=[resizing]), generation=6), own_generation=3
        )
        pod = mirrored(make_pod(generation=7), old)
        pod = mirrored(pod, replace(old, generation=7, own_generation=4))
        assert condition_of(pod, "PodResizeInProgress")["observedGeneration"] == 6

    def test_one_that_was_spoilt_is_not_written(self) -> None:
        pod = mirrored(make_pod(), self.copy(seen=9, applied=0))
        assert self.generations(pod) == (None, None)

    def test_one_that_the_compute_side_forgets_costs_no_write_after_write(self) -> None:
        pod = mirrored(make_pod(generation=7), self.copy(seen=4))
        forgetful = running_status(conditions=[condition("Ready")], observedGeneration=4)
        copy = replace(make_copy(status=forgetful, generation=7), own_generation=4)
        assert "conditions" not in change(pod, copy)


RESIZE = HeldBack(UpdatePart.RESIZE, "QuotaExceeded", "exceeded quota: vnode", permanent=False)


class TestHeldBack:
    @pytest.mark.parametrize(("permanent", "reason"), [(False, "Deferred"), (True, "Infeasible")])
    def test_a_resize_that_did_not_travel_is_pending_as_kubelets_say_it(
        self, permanent: bool, reason: str
    ) -> None:
        held = replace(RESIZE, permanent=permanent)
        pod = mirrored(make_pod(generation=3), make_copy(), FLAT, held)
        pending = condition_of(pod, "PodResizePending")
        assert (pending["status"], pending["reason"]) == ("True", reason)
        assert pending["message"] == "exceeded quota: vnode"
        assert pending["observedGeneration"] == 3

    def test_it_takes_the_place_of_what_is_said_of_an_older_one(self) -> None:
        older = condition("PodResizePending", reason="Infeasible", message="older")
        copy = make_copy(status=running_status(conditions=[older]))
        pending = condition_of(mirrored(make_pod(), copy, FLAT, RESIZE), "PodResizePending")
        assert pending["message"] == "exceeded quota: vnode"

    def test_it_goes_when_the_resize_went_through(self) -> None:
        pod = mirrored(make_pod(), make_copy(), FLAT, RESIZE)
        assert condition_of(mirrored(pod, make_copy()), "PodResizePending") is None

    def test_it_goes_with_the_end_of_the_pod(self) -> None:
        pod = mirrored(make_pod(), make_copy(), FLAT, RESIZE)
        pod = mirrored(pod, make_copy(status=ended_status()), FLAT, RESIZE)
        assert condition_of(pod, "PodResizePending") is None

    def test_an_ephemeral_container_that_did_not_travel_waits_and_says_why(self) -> None:
        """`kubectl debug` prints the message of a container that waits."""
        pod = make_pod(ephemeral_containers=["dbg"])
        pod = mirrored(pod, make_copy(pod), FLAT, DEBUGGER)
        (container,) = shown(pod)["ephemeralContainerStatuses"]
        assert container["name"] == "dbg"
        assert container["state"] == {
            "waiting": {"reason": "UpdateRejected", "message": "privileged"}
        }

    def test_it_runs_when_it_travelled_in_the_end(self) -> None:
        pod = make_pod(ephemeral_containers=["dbg"])
        pod = mirrored(pod, make_copy(pod), FLAT, DEBUGGER)
        running = running_status(ephemeralContainerStatuses=[container_status("dbg")])
        pod = mirrored(pod, make_copy(pod, status=running))
        (container,) = shown(pod)["ephemeralContainerStatuses"]
        assert "running" in container["state"]


class TestAddresses:
    def test_flat_pods_show_the_copy_s_addresses(self) -> None:
        ips: list[JSON] = [{"ip": "10.9.0.4"}, {"ip": "fd00::4"}]
        pod = mirrored(make_pod(), make_copy(status=running_status(podIPs=ips)))
        assert shown(pod)["podIPs"] == ips

    def test_a_changed_address_replaces_the_old_one(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        pod = mirrored(pod, make_copy(status=running_status(pod_ip="10.9.0.5")))
        assert shown(pod)["podIP"] == "10.9.0.5"
        assert shown(pod)["podIPs"] == [{"ip": "10.9.0.5"}]

    def test_isolated_pods_show_one_that_leads_nowhere_and_keep_it(self) -> None:
        pod = mirrored(make_pod(), make_copy(), isolated("198.18.0.9"))
        again = mirrored(pod, make_copy(), isolated("198.18.0.10"))
        assert shown(again)["podIP"] == "198.18.0.9"
        assert shown(again)["podIPs"] == [{"ip": "198.18.0.9"}]

    def test_a_pod_without_address_below_has_none_above(self) -> None:
        copy = make_copy(status={"phase": "Pending"})
        assert "podIP" not in shown(mirrored(make_pod(), copy, isolated()))

    def test_the_host_is_the_virtual_node(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        assert shown(pod)["hostIP"] == NODE_ADDRESS
        assert shown(pod)["hostIPs"] == [{"ip": NODE_ADDRESS}]

    def test_the_host_is_never_rewritten(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        moved = Placement("192.0.2.99", None, LATER)
        assert shown(mirrored(pod, make_copy(), moved))["hostIP"] == NODE_ADDRESS


class TestInjectedContainers:
    INJECTED = "fluid-fuse-0"

    def test_they_are_not_shown(self) -> None:
        below = running_status(
            "main", self.INJECTED, initContainerStatuses=[container_status("inject", exit_code=0)]
        )
        pod = mirrored(make_pod(), make_copy(status=below))
        assert [c["name"] for c in shown(pod)["containerStatuses"]] == ["main"]
        assert not shown(pod).get("initContainerStatuses")

    @pytest.mark.parametrize(
        ("code", "restart", "phase"),
        [
            (0, "Never", "Succeeded"),
            (0, "OnFailure", "Succeeded"),
            (3, "Never", "Failed"),
            (3, "OnFailure", "Running"),
            (0, "Always", "Running"),
        ],
    )
    def test_they_keep_no_finished_pod_alive(self, code: int, restart: str, phase: str) -> None:
        states: list[JSON] = [
            container_status("main", exit_code=code),
            container_status(self.INJECTED),
        ]
        below = running_status(containerStatuses=states)
        pod = mirrored(make_pod(restart=restart), make_copy(status=below))
        assert shown(pod)["phase"] == phase

    def test_they_fail_no_pod_that_succeeded(self) -> None:
        states: list[JSON] = [
            container_status("main", exit_code=0),
            container_status(self.INJECTED, exit_code=1),
        ]
        below = ended_status("Failed", containerStatuses=states)
        assert shown(mirrored(make_pod(), make_copy(status=below)))["phase"] == "Succeeded"

    def test_a_pod_that_was_evicted_stays_failed(self) -> None:
        states: list[JSON] = [
            container_status("main", exit_code=0),
            container_status(self.INJECTED, exit_code=137),
        ]
        below = ended_status("Failed", containerStatuses=states, reason="Evicted")
        assert shown(mirrored(make_pod(), make_copy(status=below)))["phase"] == "Failed"

    def test_init_and_ephemeral_containers_of_the_tenant_are_shown(self) -> None:
        below = running_status(
            initContainerStatuses=[container_status("prepare", exit_code=0)],
            ephemeralContainerStatuses=[container_status("debug")],
        )
        pod = make_pod(init_containers=["prepare"], ephemeral_containers=["debug"])
        now = shown(mirrored(pod, make_copy(pod, status=below)))
        assert now["initContainerStatuses"][0]["name"] == "prepare"
        assert now["ephemeralContainerStatuses"][0]["name"] == "debug"


class TestWhatNoLongerHolds:
    def test_reason_and_message_go_with_what_they_explained(self) -> None:
        pod = patched(
            make_pod(),
            patch_for(make_pod(), statuses.held(make_pod(), WaitingReason("Quota", "full"), NOW)),
        )
        assert shown(pod)["reason"] == "Quota"
        pod = mirrored(pod, make_copy())
        assert "reason" not in shown(pod)
        assert "message" not in shown(pod)

    def test_fields_of_a_condition_go_one_by_one(self) -> None:
        why = running_status(conditions=[condition("Ready", "False", reason="A", message="b")])
        pod = mirrored(make_pod(), make_copy(status=why))
        pod = mirrored(pod, make_copy())
        assert condition_of(pod, "Ready") == condition("Ready")

    def test_a_resize_that_is_over_takes_its_condition_along(self) -> None:
        resizing = running_status(conditions=[condition("PodResizePending", reason="Deferred")])
        pod = mirrored(make_pod(), make_copy(status=resizing))
        assert condition_of(pod, "PodResizePending") is not None
        assert condition_of(mirrored(pod, make_copy()), "PodResizePending") is None

    def test_a_rejection_that_was_lifted_leaves_no_trace(self) -> None:
        pod = make_pod(restart="Always")
        rejected = statuses.rejected(pod, view(pod), ["main"], "no", now=NOW)
        pod = patched(pod, patch_for(pod, rejected))
        pod = mirrored(pod, make_copy(pod, status={"phase": "Pending"}, scheduled=False))
        assert not shown(pod).get("containerStatuses")
        assert condition_of(pod, COMPUTE_SCHEDULED)["reason"] != "PodRejected"

    def test_what_the_node_lifecycle_controller_wrote_is_put_right(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        cut = patched(
            pod,
            {"status": {"conditions": [condition("Ready", "False", reason="NodeNotReady")]}},
        )
        assert condition_of(cut, "Ready")["status"] == "False"
        assert shown(mirrored(cut, make_copy())) == shown(pod)


class TestReadinessGates:
    POD = make_pod(readinessGates=[{"conditionType": "lb/ready"}, {"conditionType": "x/ready"}])

    def test_ready_needs_every_gate(self) -> None:
        ready = condition_of(mirrored(self.POD, make_copy(self.POD)), "Ready")
        assert ready["status"] == "False"
        assert ready["reason"] == "ReadinessGatesNotReady"
        assert "lb/ready" in ready["message"]
        assert "x/ready" in ready["message"]

    def test_ready_follows_the_tenant_s_conditions(self) -> None:
        pod = mirrored(self.POD, make_copy(self.POD))
        gates: list[JSON] = [condition("lb/ready"), condition("x/ready")]
        pod = mirrored(patched(pod, {"status": {"conditions": gates}}), make_copy(self.POD))
        assert condition_of(pod, "Ready") == condition("Ready")
        closed: list[JSON] = [condition("x/ready", "False")]
        pod = mirrored(patched(pod, {"status": {"conditions": closed}}), make_copy(self.POD))
        assert condition_of(pod, "Ready")["status"] == "False"

    def test_it_turns_when_the_gate_does_and_not_when_the_copy_did(self) -> None:
        pod = mirrored(self.POD, make_copy(self.POD))
        gates: list[JSON] = [condition("lb/ready"), condition("x/ready")]
        opened = patched(pod, {"status": {"conditions": gates}})
        later = Placement(NODE_ADDRESS, None, LATER)
        pod = mirrored(opened, make_copy(self.POD), later)
        assert condition_of(pod, "Ready")["lastTransitionTime"] == LATER

    def test_containers_ready_does_not(self) -> None:
        pod = mirrored(self.POD, make_copy(self.POD))
        assert condition_of(pod, "ContainersReady")["status"] == "True"

    def test_a_copy_that_is_not_ready_keeps_its_own_reason(self) -> None:
        below = running_status(
            conditions=[condition("Ready", "False", reason="ContainersNotReady")]
        )
        pod = mirrored(self.POD, make_copy(self.POD, status=below))
        assert condition_of(pod, "Ready")["reason"] == "ContainersNotReady"
