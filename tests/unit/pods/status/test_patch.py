"""The patch says it all: applying it leaves nothing to say."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import NOW, Object, container_status, make_copy, make_pod, with_status
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
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import JSON, Pod
from vnode.pods.status import statuses
from vnode.pods.status.patch import patch as patch_for
from vnode.pods.status.statuses import Placement
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED, view

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
def drawn_statuses(draw: st.DrawFn) -> Object:
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
        status={"phase": "Pending", **draw(drawn_statuses())},
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
    drawn_statuses(),
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
    assert patch_for(once, wanted(once, copy, again)) is None


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
    once = patched(pod, patch_for(pod, statuses.lost(pod, view(pod), copy, FLAT)))
    assert shown(once)["phase"] == "Failed"
    assert patch_for(once, statuses.lost(once, view(once), copy, FLAT)) is None


@quick
@given(pods, st.sampled_from(["held", "rejected"]))
def test_a_pod_that_waits_needs_no_second_patch(pod: Pod, kind: str) -> None:
    def make(of: Pod, now: str) -> Object:
        if kind == "held":
            return statuses.held(of, WaitingReason("Quota", "full"), now)
        return statuses.rejected(of, view(of), ["main"], "no", now=now)

    once = patched(pod, patch_for(pod, make(pod, NOW)))
    assert patch_for(once, make(once, LATER)) is None
