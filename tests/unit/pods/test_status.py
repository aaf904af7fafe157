"""What a tenant pod's status should say, and the patch to it."""

from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import (
    NODE_ADDRESS,
    NOW,
    Object,
    condition,
    container_status,
    ended_status,
    loads,
    make_copy,
    make_pod,
    running_status,
    with_status,
)
from tests.fakes.merge import strategic_merge
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import JSON, Pod
from vnode.pods import status
from vnode.pods.status import Placement
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, view

LATER = "2027-01-15T09:00:00Z"
FLAT = Placement(NODE_ADDRESS, None, NOW)
NEVER_OURS = (
    "qosClass",
    "nominatedNodeName",
    "resourceClaimStatuses",
    "extendedResourceClaimStatus",
    "allocatedResources",
)


def isolated(address: str = "198.18.0.9", *, now: str = NOW) -> Placement:
    return Placement(NODE_ADDRESS, lambda: address, now)


def wanted(pod: Pod, copy: ObservedPod, placement: Placement = FLAT) -> Any:
    return status.mirrored(pod, view(pod), copy, placement)


def change(pod: Pod, copy: ObservedPod, placement: Placement = FLAT) -> Any:
    """The status part of the patch that mirrors a copy; {} where nothing differs."""
    patch = status.patch(pod, wanted(pod, copy, placement))
    return {} if patch is None else patch["status"]


def patched(pod: Pod, patch: Object | None) -> Pod:
    """The pod after the API server applied a patch."""
    if patch is None:
        return pod
    return with_status(pod, cast("Object", strategic_merge(loads(pod.status), patch["status"])))


def mirrored(pod: Pod, copy: ObservedPod, placement: Placement = FLAT) -> Pod:
    return patched(pod, status.patch(pod, wanted(pod, copy, placement)))


def shown(pod: Pod) -> Any:
    return loads(pod.status)


def condition_of(pod: Pod, kind: str) -> Any:
    return next((c for c in shown(pod).get("conditions", []) if c["type"] == kind), None)


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

    def test_the_patch_can_hit_no_namesake(self) -> None:
        patch = cast("Any", status.patch(make_pod(), wanted(make_pod(), make_copy())))
        assert patch["metadata"]["uid"] == make_pod().metadata.uid

    def test_a_phase_is_only_written_over_the_version_it_was_judged_by(self) -> None:
        pod = make_pod(version=77)
        patch = cast("Any", status.patch(pod, wanted(pod, make_copy())))
        assert patch["metadata"]["resourceVersion"] == "77"

    def test_without_a_new_phase_others_may_write_meanwhile(self) -> None:
        pod = mirrored(make_pod(), make_copy())
        unready = running_status(conditions=[condition("Ready", "False")])
        patch = cast("Any", status.patch(pod, wanted(pod, make_copy(status=unready))))
        assert "phase" not in patch["status"]
        assert set(patch["metadata"]) == {"uid"}

    def test_the_generation_is_the_tenant_s_that_was_applied_below(self) -> None:
        below = running_status(
            observedGeneration=1,
            conditions=[condition("Ready", observedGeneration=1)],
        )
        pod = mirrored(make_pod(generation=7), make_copy(status=below, generation=5))
        assert shown(pod)["observedGeneration"] == 5
        assert condition_of(pod, "Ready")["observedGeneration"] == 5

    def test_an_unknown_generation_is_not_written(self) -> None:
        below = running_status(
            observedGeneration=9,
            conditions=[condition("Ready", observedGeneration=9)],
        )
        pod = mirrored(make_pod(), make_copy(status=below, generation=0))
        assert "observedGeneration" not in shown(pod)
        assert "observedGeneration" not in condition_of(pod, "Ready")


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
            status.patch(make_pod(), status.held(make_pod(), WaitingReason("Quota", "full"), NOW)),
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
        rejected = status.rejected(pod, view(pod), ["main"], "no", NOW)
        pod = patched(pod, status.patch(pod, rejected))
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

    def test_containers_ready_does_not(self) -> None:
        pod = mirrored(self.POD, make_copy(self.POD))
        assert condition_of(pod, "ContainersReady")["status"] == "True"

    def test_a_copy_that_is_not_ready_keeps_its_own_reason(self) -> None:
        below = running_status(
            conditions=[condition("Ready", "False", reason="ContainersNotReady")]
        )
        pod = mirrored(self.POD, make_copy(self.POD, status=below))
        assert condition_of(pod, "Ready")["reason"] == "ContainersNotReady"


class TestLost:
    @staticmethod
    def lost(pod: Pod, copy: ObservedPod | None) -> Pod:
        return patched(pod, status.patch(pod, status.lost(pod, view(pod), copy, FLAT)))

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
        assert shown(pod)["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137


class TestRejected:
    @staticmethod
    def rejected(restart: str) -> Any:
        pod = make_pod(restart=restart)
        made = status.rejected(pod, view(pod), ["main"], "spec.hostPID: no", NOW)
        return shown(patched(pod, status.patch(pod, made)))

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


# --- the patch says it all: applying it leaves nothing to say ------------------------------------

texts = st.sampled_from(["", "A", "B"])
states = st.sampled_from(["True", "False", "Unknown"])
times = st.sampled_from([NOW, LATER])
CONDITIONS = [
    "Ready",
    "ContainersReady",
    "Initialized",
    "PodScheduled",
    "PodReadyToStartContainers",
    "PodResizePending",
    "PodResizeInProgress",
    "DisruptionTarget",
    FORWARDED,
    COMPUTE_SCHEDULED,
    "x/gate",
]


@st.composite
def conditions(draw: st.DrawFn) -> list[JSON]:
    kinds = draw(st.lists(st.sampled_from(CONDITIONS), unique=True))
    listed: list[JSON] = []
    for kind in kinds:
        optional = {
            "reason": draw(texts),
            "message": draw(texts),
            "lastProbeTime": draw(st.none()),
            "observedGeneration": draw(st.sampled_from([None, 1, 2])),
        }
        made: Object = {"type": kind, "status": draw(states), "lastTransitionTime": draw(times)}
        listed.append({**made, **{k: v for k, v in optional.items() if v}})
    return listed


@st.composite
def containers(draw: st.DrawFn) -> list[JSON]:
    names = draw(st.lists(st.sampled_from(["main", "aux", "injected"]), unique=True))
    return [container_status(name, exit_code=draw(st.sampled_from([None, 0, 1]))) for name in names]


@st.composite
def statuses(draw: st.DrawFn) -> Object:
    made: Object = {"phase": draw(st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]))}
    made["conditions"] = draw(conditions())
    made["containerStatuses"] = draw(containers())
    made["initContainerStatuses"] = draw(containers())
    for name, values in (
        ("reason", texts),
        ("message", texts),
        ("startTime", times),
        ("resize", st.sampled_from(["Proposed", "Deferred"])),
        ("observedGeneration", st.integers(1, 3)),
        ("qosClass", st.sampled_from(["Burstable"])),
        ("nominatedNodeName", st.sampled_from(["n"])),
        ("hostIP", st.sampled_from(["192.0.2.1", "192.0.2.2"])),
    ):
        if draw(st.booleans()):
            made[name] = draw(values)
    ips = draw(st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), unique=True))
    if ips:
        made["podIP"], made["podIPs"] = ips[0], [{"ip": ip} for ip in ips]
    return {name: value for name, value in made.items() if value}


@st.composite
def copies(draw: st.DrawFn) -> ObservedPod:
    waiting = WaitingReason(draw(st.sampled_from(["W", "V"])), "words")
    return make_copy(
        status={"phase": "Pending", **draw(statuses())},
        generation=draw(st.integers(0, 3)),
        scheduled=draw(st.booleans()),
        waiting=draw(st.sampled_from([None, waiting])),
        gone=draw(st.booleans()),
        removal_requested=draw(st.sampled_from([None, NOW, LATER])),
    )


pods = st.builds(
    lambda now, restart, gates: make_pod(
        containers=["main", "aux"],
        init_containers=["prepare"],
        restart=restart,
        readinessGates=gates,
        status=now,
    ),
    statuses(),
    st.sampled_from(["Always", "OnFailure", "Never"]),
    st.sampled_from([[], [{"conditionType": "x/gate"}]]),
)
placements = st.sampled_from([FLAT, isolated()])
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(pods, copies(), placements)
def test_a_mirrored_status_needs_no_second_patch(
    pod: Pod, copy: ObservedPod, placement: Placement
) -> None:
    once = mirrored(pod, copy, placement)
    again = Placement(placement.host_ip, placement.allocate_ip, LATER)
    assert status.patch(once, wanted(once, copy, again)) is None


@quick
@given(pods, copies(), placements)
def test_the_status_does_not_depend_on_what_was_mirrored_before(
    pod: Pod, copy: ObservedPod, placement: Placement
) -> None:
    other = make_copy(status={"phase": "Pending", "reason": "Early", "resize": "Proposed"})
    direct, detour = mirrored(pod, copy, placement), mirrored(pod, other, placement)
    detour = mirrored(detour, copy, placement)
    ours = ("phase", "containerStatuses", "reason", "message", "resize")
    now, then = shown(direct), shown(detour)
    assert {k: now.get(k) or None for k in ours} == {k: then.get(k) or None for k in ours}


@quick
@given(pods, copies(), placements)
def test_what_others_wrote_stays_as_it_was(
    pod: Pod, copy: ObservedPod, placement: Placement
) -> None:
    before, after = shown(pod), shown(mirrored(pod, copy, placement))
    for field in NEVER_OURS:
        assert after.get(field) == before.get(field)
    for kind in ("PodScheduled", "x/gate"):
        assert condition_of(with_status(pod, after), kind) == condition_of(pod, kind)


@quick
@given(pods, copies(), placements)
def test_no_unknown_container_is_ever_shown(
    pod: Pod, copy: ObservedPod, placement: Placement
) -> None:
    now = shown(mirrored(pod, copy, placement))
    names = {c["name"] for c in now.get("containerStatuses", [])}
    assert "injected" not in names


@quick
@given(pods, st.one_of(st.none(), copies()))
def test_a_loss_needs_no_second_patch(pod: Pod, copy: ObservedPod | None) -> None:
    once = patched(pod, status.patch(pod, status.lost(pod, view(pod), copy, FLAT)))
    assert shown(once)["phase"] == "Failed"
    assert status.patch(once, status.lost(once, view(once), copy, FLAT)) is None


@quick
@given(pods, st.sampled_from(["held", "rejected"]))
def test_a_pod_that_waits_needs_no_second_patch(pod: Pod, kind: str) -> None:
    def make(of: Pod, now: str) -> Object:
        if kind == "held":
            return status.held(of, WaitingReason("Quota", "full"), now)
        return status.rejected(of, view(of), ["main"], "no", now)

    once = patched(pod, status.patch(pod, make(pod, NOW)))
    assert status.patch(once, make(once, LATER)) is None
