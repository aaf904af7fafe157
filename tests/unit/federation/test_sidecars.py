"""Containers that others put into a copy: the tenant sees the pod as if they were not there."""

from typing import Any

import msgspec
import pytest

from federation.backends.kubernetes.observe import foreign_containers, observed_pod
from federation.backends.kubernetes.sidecars import is_held_up
from federation.backends.kubernetes.translate.names import ANNOTATION_ENDED, NamespaceMapping
from tests.builders import NOW, OWNER, condition, container_status, make_pod
from tests.unit.federation.injected import FUSE, injected_status, make_injected
from vnode.backend import Sight
from vnode.kube.types import JSON, JSONObject, Pod
from vnode.pods.lifecycle import Nothing, decide, finished_by_itself
from vnode.pods.view import view


def read(pod: Pod) -> Any:
    """The status of the copy as it leaves the backend."""
    copy = observed_pod(pod, owner=OWNER, namespaces=NamespaceMapping("red"))
    assert copy is not None
    return msgspec.json.decode(copy.status)


def conditions(pod: Pod) -> dict[str, Any]:
    return {c["type"]: c for c in read(pod)["conditions"]}


def waiting(reason: str) -> Any:
    return {"state": {"waiting": {"reason": reason}}, "ready": False}


def test_they_are_in_no_list_and_no_text() -> None:
    init = [{"name": f"init-{FUSE}"}, {"name": "fetch"}]
    unready = "containers with incomplete status: [init-fluid-fuse-0 fetch]"
    status = injected_status(
        phase="Pending",
        initContainerStatuses=[
            container_status(f"init-{FUSE}"),
            container_status("fetch", **waiting("PodInitializing")),
        ],
        conditions=[condition("Initialized", "False", message=unready)],
    )
    pod = make_injected(status, init=init, ours="main=1,fetch=2")
    assert "fluid" not in msgspec.json.encode(read(pod)).decode()
    assert foreign_containers(pod) == {FUSE, f"init-{FUSE}"}


def test_a_native_sidecar_is_hidden_as_well() -> None:
    native = [{"name": "data", "restartPolicy": "Always"}]
    status = injected_status(main=0, initContainerStatuses=[container_status("data")])
    shown = read(make_injected(status, init=native))
    assert shown["initContainerStatuses"] == []
    assert shown["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("code", "restart", "phase"),
    [
        (0, "Never", "Succeeded"),
        (0, "OnFailure", "Succeeded"),
        (3, "Never", "Failed"),
        (3, "OnFailure", "Running"),
        (0, "Always", "Running"),
        (None, "Never", "Running"),
    ],
)
def test_the_phase_is_that_of_the_tenants_containers(
    code: int | None, restart: str, phase: str
) -> None:
    pod = make_injected(injected_status(main=code), restart=restart)
    assert read(pod)["phase"] == phase
    assert is_held_up(pod) == (phase in ("Succeeded", "Failed"))


@pytest.mark.parametrize(("codes", "phase"), [([], "Failed"), ([3], "Running")])
def test_a_container_may_have_restart_rules_of_its_own(codes: list[JSON], phase: str) -> None:
    rule: JSONObject = {"action": "Restart", "exitCodes": {"operator": "In", "values": codes}}
    main: JSONObject = {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    pod = make_injected(injected_status(main=3), restart="Always", main=main)
    assert read(pod)["phase"] == phase


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
@pytest.mark.parametrize("restart", ["Never", "OnFailure"])
def test_a_sidecar_that_failed_changes_nothing_of_the_end(
    code: int, phase: str, restart: str
) -> None:
    status = injected_status(main=code, fuse=1, phase="Failed")
    assert read(make_injected(status, restart=restart))["phase"] == phase


def test_a_sidecar_that_failed_fails_no_pod_that_runs() -> None:
    shown = read(make_injected(injected_status(fuse=1)))
    assert shown["phase"] == "Running"
    assert "reason" not in shown


def test_a_pod_that_was_evicted_with_its_sidecar_stays_failed() -> None:
    status = injected_status(main=0, fuse=137, phase="Failed", reason="Evicted", message="disk")
    shown = read(make_injected(status))
    assert (shown["phase"], shown["reason"]) == ("Failed", "Evicted")


def test_the_deadline_by_which_we_end_sidecars_is_not_the_pods() -> None:
    over = {"reason": "DeadlineExceeded", "message": "Pod was active on the node too long"}
    status = injected_status(main=0, fuse=137, phase="Failed", **over)
    assert read(make_injected(status))["phase"] == "Failed"
    shown = read(make_injected(status, annotations={ANNOTATION_ENDED: "sidecars"}))
    assert shown["phase"] == "Succeeded"
    assert "reason" not in shown
    assert "message" not in shown


def test_a_sidecar_that_is_not_ready_makes_no_pod_unready() -> None:
    said = "containers with unready status: [fluid-fuse-0]"
    no: dict[str, JSON] = {"reason": "ContainersNotReady", "message": said}
    status = injected_status(
        conditions=[condition("ContainersReady", "False", **no), condition("Ready", "False", **no)]
    )
    found = conditions(make_injected(status))
    assert found["Ready"] == {"type": "Ready", "status": "True"}  # When, the mirror says.
    assert found["ContainersReady"]["status"] == "True"


def test_what_the_tenants_containers_lack_is_said_without_the_sidecar() -> None:
    said = "containers with unready status: [fluid-fuse-0 main]"
    states: list[JSON] = [
        container_status(FUSE, ready=False),
        container_status("main", ready=False),
    ]
    unready = condition("Ready", "False", reason="ContainersNotReady", message=said)
    status = injected_status(conditions=[unready]) | {"containerStatuses": states}
    assert conditions(make_injected(status))["Ready"] == {
        "type": "Ready",
        "status": "False",
        "reason": "ContainersNotReady",
        "message": "containers with unready status: [main]",
        "lastTransitionTime": NOW,
    }


def test_a_finished_pod_is_completed_while_its_sidecar_runs() -> None:
    ready = conditions(make_injected(injected_status(main=0)))["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "PodCompleted")


def test_a_pod_that_waits_for_its_sidecar_says_so_without_its_name() -> None:
    states: list[JSON] = [
        container_status(FUSE, **waiting("ImagePullBackOff")),
        container_status("main", **waiting("PodInitializing")),
    ]
    shown = read(make_injected(injected_status(phase="Pending") | {"containerStatuses": states}))
    assert shown["phase"] == "Pending"
    assert shown["reason"] == "AddedContainerWaiting"
    assert "ImagePullBackOff" in shown["message"]
    assert FUSE not in shown["message"]


def test_a_pod_that_its_injected_init_container_kept_from_starting_says_so() -> None:
    status = injected_status(
        phase="Failed", initContainerStatuses=[container_status(f"init-{FUSE}", exit_code=1)]
    )
    status["containerStatuses"] = [container_status("main", **waiting("PodInitializing"))]
    shown = read(make_injected(status, init=[{"name": f"init-{FUSE}"}]))
    assert (shown["phase"], shown["reason"]) == ("Failed", "AddedContainerFailed")


def test_a_finished_copy_that_is_removed_with_its_sidecar_had_ended_by_itself() -> None:
    status = injected_status(main=0, fuse=137, phase="Failed")
    pod = make_injected(status)
    metadata = msgspec.structs.replace(
        pod.metadata, deletion_timestamp="2030-01-01T00:00:00Z", deletion_grace_period_seconds=0
    )
    copy = observed_pod(
        msgspec.structs.replace(pod, metadata=metadata),
        owner=OWNER,
        namespaces=NamespaceMapping("red"),
    )
    assert copy is not None
    assert finished_by_itself(copy)


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_the_copy_of_a_pod_that_ended_stays_with_its_logs(code: int, phase: str) -> None:
    copy = observed_pod(
        make_injected(injected_status(main=code)), owner=OWNER, namespaces=NamespaceMapping("red")
    )
    ended = view(make_pod(status={"phase": phase}))
    assert decide(ended, copy, sight=Sight.COMPLETE) == Nothing()


def test_a_copy_whose_mark_was_spoilt_is_taken_as_it_is() -> None:
    pod = make_injected(injected_status(main=0), ours="")
    assert read(pod)["phase"] == "Running"
    assert not is_held_up(pod)
