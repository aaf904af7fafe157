"""What ECI's virtual nodes say of a pod, as tenants are told."""

import pytest

from federation.backends.kubernetes.observe import observed_pod
from federation.backends.kubernetes.serverless import blot, tell
from federation.backends.kubernetes.translate.names import NamespaceMapping
from tests.builders import (
    OWNER,
    condition,
    container_status,
    ended_status,
    loads,
    make_compute_pod,
    make_pod,
    raw,
    running_status,
)
from vnode.backend import ObservedPod, WaitingReason
from vnode.kube.types import JSON

SOLD_OUT = "Create ECI failed because the specified instance is out of stock. %s"


def created(status: str, reason: str, message: str = "") -> JSON:
    return condition("ContainerInstanceCreated", status, reason=reason, message=message)


def read(status: dict[str, JSON]) -> ObservedPod:
    pod = make_compute_pod(make_pod(), node="virtual-kubelet-a", status=status)
    copy = observed_pod(pod, owner=OWNER, namespaces=NamespaceMapping("red"))
    assert copy is not None
    return copy


def pending(*conditions: JSON, **fields: JSON) -> dict[str, JSON]:
    return {"phase": "Pending", "conditions": list(conditions), **fields}


@pytest.mark.parametrize("reason", ["ContainerGroup.NoStock", "NoStock"])
def test_a_pod_without_an_instance_waits_although_it_has_a_node(reason: str) -> None:
    copy = read(pending(created("False", reason, SOLD_OUT)))
    assert not copy.scheduled
    assert copy.waiting == WaitingReason("NoStock", SOLD_OUT.removesuffix(" %s"))


def test_names_of_the_platforms_resources_are_not_told() -> None:
    text = "Schedule eci failed: no address left in vsw-bp1xpiowfm5vo8o3c"
    waiting = read(pending(created("False", "FailedScheduling", text))).waiting
    assert waiting == WaitingReason("FailedScheduling", text.replace("vsw-bp1xpiowfm5vo8o3c", "…"))


def test_names_of_users_that_look_alike_stay() -> None:
    assert blot("eci-training sg-2024 on eci-2ze1y0la40qgva09") == "eci-training sg-2024 on …"


def test_a_pod_with_an_instance_has_its_place() -> None:
    copy = read(running_status(conditions=[created("True", ""), condition("Ready")]))
    assert copy.scheduled
    assert copy.waiting is None


def test_a_pod_that_eci_gave_up_says_so_and_may_still_start() -> None:
    said = pending(
        created("False", "ContainerGroup.NoStock", SOLD_OUT),
        reason="ContainerInstanceScheduleFailed",
    )
    status = loads(read(said).status)
    assert status["phase"] == "Pending"
    assert status["reason"] == "ContainerInstanceScheduleFailed"
    assert status["message"] == SOLD_OUT.removesuffix(" %s")


def test_a_spot_instance_that_is_about_to_go_is_a_disruption() -> None:
    said = created("True", "SpotToBeReleased", "Spot ECI will be released in 3 minutes")
    status = loads(read(running_status(conditions=[said, condition("Ready")])).status)
    (target,) = [c for c in status["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "SpotToBeReleased")
    assert status["phase"] == "Running"


def test_a_spot_instance_whose_time_has_come_is_a_disruption_however_it_is_said() -> None:
    said = [created("True", ""), condition("ContainerInstanceExpired")]
    status = loads(read(running_status(conditions=said)).status)
    (target,) = [c for c in status["conditions"] if c["type"] == "DisruptionTarget"]
    assert (target["status"], target["reason"]) == ("True", "SpotToBeReleased")
    assert target["message"]


def test_a_pod_that_eci_takes_no_order_for_waits_with_its_words() -> None:
    text = "SDK.ServerError\nErrorCode: QuotaExceeded in vpc-bp1xpiowfm5vo8o3c"
    copy = read(pending(reason="ProviderFailed", message=text))
    assert not copy.scheduled
    wanted = text.replace("vpc-bp1xpiowfm5vo8o3c", "…")
    assert copy.waiting == WaitingReason("ProviderFailed", wanted)
    assert loads(copy.status)["message"] == wanted


@pytest.mark.parametrize(
    "said",
    [
        condition("SandboxReady", "False", reason="SystemFailure.Reboot"),
        condition("SandboxReady", "False", reason="InstanceFailure.Reboot"),
        created("True", "SystemFailureReboot"),
    ],
)
def test_a_pod_whose_instance_restarts_does_not_go_back_to_pending(said: JSON) -> None:
    copy = read(pending(said, condition("Ready", "False")))
    assert loads(copy.status)["phase"] == "Running"
    assert copy.scheduled


def test_a_pod_whose_sandbox_is_not_there_yet_is_pending() -> None:
    said = pending(created("True", ""), condition("SandboxReady", "False", reason="Creating"))
    assert loads(read(said).status)["phase"] == "Pending"


def test_a_pod_that_failed_without_an_instance_says_why() -> None:
    said = ended_status(
        "Failed",
        reason="ContainerInstanceScheduleFailed",
        conditions=[created("False", "ContainerGroup.NoStock", SOLD_OUT)],
    )
    assert loads(read(said).status)["message"] == SOLD_OUT.removesuffix(" %s")


def test_a_spot_instance_that_was_taken_back_is_an_eviction_of_what_ran() -> None:
    done = container_status("done", exit_code=0)
    below = ended_status(
        "Failed",
        reason="BidFailed",
        conditions=[condition("Ready")],
        containerStatuses=[container_status("main"), done],
    )
    status = loads(read(below).status)
    assert (status["phase"], status["reason"]) == ("Failed", "Evicted")
    main, other = status["containerStatuses"]
    assert main["state"]["terminated"]["exitCode"] == 137
    assert main["ready"] is False
    assert other == loads(raw(done))
    found = {c["type"]: c["status"] for c in status["conditions"]}
    assert found == {"Ready": "False", "DisruptionTarget": "True"}


def test_the_status_of_other_nodes_is_left_alone() -> None:
    status = bytes(raw(running_status()))
    assert tell(status).status is status
