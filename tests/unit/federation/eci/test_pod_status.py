"""What each state of a container group means for its pod."""

from typing import Any

import pytest

from federation.backends.eci.answers import (
    Condition,
    ContainerState,
    ContainerStatus,
    GroupStatus,
    PodStatus,
    Running,
    Terminated,
    Waiting,
)
from federation.backends.eci.copies import Copies
from federation.backends.eci.pod_status import Seen, pod_status
from federation.backends.eci.translate.identity import Identity
from tests.builders import loads
from vnode.kube.types import UID, NodeName, ObjectKey

RUNNING = ContainerState(running=Running(started_pascal="2027-01-15T08:00:00Z"))
ENDED = ContainerState(terminated=Terminated(exit_code=2, finished_at="2027-01-15T08:01:00Z"))
CREATING = ContainerState(waiting=Waiting(reason="ContainerCreating"))


def seen(state: str, *, container: ContainerState = CREATING, reason: str | None = None) -> Seen:
    placed = Condition(
        type="ContainerInstanceCreated",
        status="True" if reason is None else "False",
        reason=reason or "",
    )
    containers = (ContainerStatus(name="main", state=container),)
    below = PodStatus(phase="Failed", conditions=(placed,), container_statuses=containers)
    return pod_status(GroupStatus(container_group_id="eci-1", status=state, pod_status=below))


def shown(state: str, *, container: ContainerState = CREATING) -> dict[str, Any]:
    found: dict[str, Any] = loads(seen(state, container=container).status)
    return found


@pytest.mark.parametrize(
    ("state", "container", "phase"),
    [
        ("Scheduling", CREATING, "Pending"),
        ("ScheduleFailed", CREATING, "Pending"),
        ("Pending", CREATING, "Pending"),
        ("Pending", RUNNING, "Running"),
        ("Running", RUNNING, "Running"),
        ("Restarting", RUNNING, "Running"),
        ("Updating", RUNNING, "Running"),
        ("Terminating", RUNNING, "Running"),
        ("Terminating", ENDED, "Running"),
        ("Terminating", CREATING, "Pending"),
        ("Succeeded", ENDED, "Succeeded"),
        ("Failed", ENDED, "Failed"),
        ("Expired", RUNNING, "Failed"),
        ("SomethingNew", CREATING, "Pending"),
    ],
)
def test_each_state_is_a_phase(state: str, container: ContainerState, phase: str) -> None:
    assert shown(state, container=container)["phase"] == phase


@pytest.mark.parametrize("reason", ["NoStock", "StockExhaust", "DiskCapacityQuotaFull"])
def test_a_group_without_an_instance_says_why(reason: str) -> None:
    waiting = seen("Scheduling", reason=reason).waiting
    assert waiting is not None
    assert waiting.reason == reason
    assert not seen("Scheduling", reason=reason).scheduled


@pytest.mark.parametrize("reason", ["Creating", ""])
def test_one_that_is_on_its_way_has_nothing_to_explain(reason: str) -> None:
    assert seen("Scheduling", reason=reason).waiting is None


def test_only_terminating_is_a_deletion() -> None:
    states = ("Scheduling", "Running", "Restarting", "Updating", "Terminating", "Expired")
    assert [state for state in states if seen(state).deleting] == ["Terminating"]


def test_an_ended_container_keeps_how_it_ended() -> None:
    [container] = shown("Failed", container=ENDED)["containerStatuses"]
    ended = container["state"]["terminated"]
    assert ended == {"exitCode": 2, "finishedAt": "2027-01-15T08:01:00Z"}


def test_what_still_ran_when_its_spot_instance_went_was_killed() -> None:
    [container] = shown("Expired", container=RUNNING)["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 137
    [kept] = shown("Expired", container=ENDED)["containerStatuses"]
    assert kept["state"]["terminated"]["exitCode"] == 2


def test_conditions_of_the_service_itself_stay_below() -> None:
    assert shown("Running", container=RUNNING)["conditions"] == []


def with_sidecar(
    state: str, main: ContainerState, sidecar: ContainerState, *, restarts: str = ""
) -> Seen:
    """What is seen of a group that has one."""
    unready = Condition(
        type="Ready",
        status="False",
        reason="ContainersNotReady",
        message="containers with unready status: [fluid-fuse-0]",
    )
    containers = (
        ContainerStatus(name="main", state=main),
        ContainerStatus(name="fluid-fuse-0", image="starfs:1", state=sidecar),
    )
    below = PodStatus(phase="Running", conditions=(unready,), container_statuses=containers)
    group = GroupStatus(container_group_id="eci-1", status=state, pod_status=below)
    return pod_status(group, restarts=restarts)


def beside_a_sidecar(state: str, main: ContainerState, sidecar: ContainerState) -> dict[str, Any]:
    """Its status."""
    found: dict[str, Any] = loads(with_sidecar(state, main, sidecar).status)
    return found


def test_a_sidecar_is_no_container_of_the_pod() -> None:
    found = beside_a_sidecar("Running", RUNNING, RUNNING)
    assert [one["name"] for one in found["containerStatuses"]] == ["main"]
    assert "fluid-fuse" not in str(found)
    assert found["conditions"] == [
        {"type": "Ready", "status": "False", "reason": "ContainersNotReady"}
    ]
    assert "fluid-fuse" not in str(beside_a_sidecar("Expired", RUNNING, RUNNING))


@pytest.mark.parametrize("state", ["Running", "Pending"])
def test_a_pod_of_which_only_the_sidecar_runs_is_pending(state: str) -> None:
    assert beside_a_sidecar(state, CREATING, RUNNING)["phase"] == "Pending"
    assert beside_a_sidecar(state, RUNNING, RUNNING)["phase"] == "Running"
    assert beside_a_sidecar("Succeeded", ENDED, ENDED)["phase"] == "Succeeded"


NO_IMAGE = ContainerState(waiting=Waiting(reason="ErrImagePull", message="registry.example.com"))


@pytest.mark.parametrize(
    ("sidecar", "reason", "words"),
    [
        (CREATING, None, ""),
        (RUNNING, "DatasetNotReady", "is being mounted"),
        (NO_IMAGE, "AddedContainerWaiting", "does not start: ErrImagePull"),
        (ENDED, "AddedContainerFailed", "exit code 2"),
    ],
)
def test_containers_that_wait_for_the_files_say_why(
    sidecar: ContainerState, reason: str | None, words: str
) -> None:
    waiting = with_sidecar("Pending", CREATING, sidecar).waiting
    assert (waiting.reason if waiting else None) == reason
    if waiting is not None:
        assert words in waiting.message
        assert "registry.example.com" not in waiting.message
    assert with_sidecar("Running", RUNNING, sidecar).waiting is None


def ran(began: int, ended: int | None = None, code: int = 0) -> ContainerState:
    """One that began and ended in these seconds."""
    start = f"2027-01-15T08:00:{began:02}Z"
    if ended is None:
        return ContainerState(running=Running(started_pascal=start))
    end = f"2027-01-15T08:00:{ended:02}Z"
    return ContainerState(terminated=Terminated(exit_code=code, started_at=start, finished_at=end))


@pytest.mark.parametrize(
    ("restarts", "sidecar", "in_vain"),
    [
        ("Never", ran(1, 2, code=1), True),
        ("Never", ran(1, 2), True),
        ("Never", ran(1), False),
        ("OnFailure", ran(1, 2), True),
        ("OnFailure", ran(1, 2, code=1), False),
        ("Always", ran(1, 2), False),
        ("", ran(1, 2), False),
    ],
)
def test_containers_wait_in_vain_for_a_sidecar_that_is_not_begun_again(
    restarts: str, sidecar: ContainerState, *, in_vain: bool
) -> None:
    found = with_sidecar("Pending", CREATING, sidecar, restarts=restarts)
    assert (found.in_vain is not None) is in_vain
    assert not found.ended


@pytest.mark.parametrize("state", ["Expired", "Terminating", "Restarting", "Updating", "Succeeded"])
def test_nobody_waits_in_a_group_that_ends_or_is_begun_again(state: str) -> None:
    assert with_sidecar(state, CREATING, ran(1, 2), restarts="Never").in_vain is None


@pytest.mark.parametrize("main", [ran(2), ran(3, 4), ContainerState()])
def test_a_container_that_may_run_does_not_wait(main: ContainerState) -> None:
    assert with_sidecar("Running", main, ran(1, 2), restarts="Never").in_vain is None


def look(*own: ContainerStatus, state: str = "Running", ended: int = 2) -> GroupStatus:
    """A look at a group whose sidecar has ended."""
    sidecar = ContainerStatus(name="fluid-fuse-0", state=ran(1, ended, code=1))
    below = PodStatus(container_statuses=(*own, sidecar))
    return GroupStatus(container_group_id="eci-1", status=state, pod_status=below)


def main(state: ContainerState = CREATING, name: str = "main") -> ContainerStatus:
    """A container of the pod's own."""
    return ContainerStatus(name=name, state=state)


def after(*looks: tuple[float, GroupStatus]) -> dict[str, Any]:
    """The pod's status after looks at these times."""
    copies = Copies()
    who = Identity(
        ObjectKey("team-a", "x"), UID("uid-1"), NodeName("node"), digest="", generation=1
    )
    copies.learn("eci-1", who, made_at=None, listed=True, restarts="Never")
    for at, status in looks:
        copies.saw(status, now="2027-01-15T08:00:00Z", at=at)
    observed = copies.observed(who.key)
    assert observed is not None
    found: dict[str, Any] = loads(observed.status)
    return found


def failed(*looks: tuple[float, GroupStatus]) -> bool:
    """Whether the pod has failed for want of its files."""
    status = after(*looks)
    without = status.get("reason") == "AddedContainerFailed"
    assert not without or status["phase"] == "Failed"
    return without


def test_a_pod_fails_when_it_was_seen_for_a_minute_that_its_files_never_come() -> None:
    assert not failed((0.0, look(main())))
    assert not failed((0.0, look(main())), (59.0, look(main())))
    assert failed((0.0, look(main())), (60.0, look(main())))


@pytest.mark.parametrize(
    "between", [look(main(ran(2))), look(), look(main(ContainerState())), look(main(), ended=3)]
)
def test_a_look_that_says_otherwise_begins_the_minute_anew(between: GroupStatus) -> None:
    assert not failed((0.0, look(main())), (30.0, between), (61.0, look(main())))


def test_a_pod_of_which_a_container_runs_does_not_fail() -> None:
    training, late = main(ran(3)), main(name="helper")
    assert not failed(*((at, look(training, late)) for at in (0.0, 60.0, 120.0)))
    begun = main(ran(9), name="helper")
    assert not failed((0.0, look(training, late)), (99.0, look(training, begun)))
    assert not failed(
        (0.0, look(main(), late)), (59.0, look(training, late)), (99.0, look(training))
    )


def test_what_began_after_the_end_of_its_sidecar_has_not_succeeded() -> None:
    done = look(main(ran(3, 9)), state="Succeeded")
    assert failed((0.0, look(main())), (10.0, done))
    assert failed((0.0, look(main())), (5.0, look(main(ran(3)))), (10.0, done))


def test_times_of_the_group_do_not_make_a_success_a_failure() -> None:
    """A client is ended in the second in which its pod ends, and clocks of machines may step."""
    for began, ended in ((2, 2), (9, 10)):
        done = look(main(ran(began, ended)), state="Succeeded")
        assert not failed((0.0, done))
        assert not failed((0.0, look(main(ran(began)))), (1.0, done))


def test_only_containers_named_as_sidecars_are_hidden() -> None:
    theirs = ContainerStatus(name="fluid-fuse-prepare", state=ran(1, 2))
    below = PodStatus(container_statuses=(theirs, main()))
    status = pod_status(GroupStatus("eci-1", status="Running", pod_status=below), restarts="Never")
    assert status.in_vain is None
    shown = loads(status.status)["containerStatuses"]
    assert [one["name"] for one in shown] == ["fluid-fuse-prepare", "main"]
