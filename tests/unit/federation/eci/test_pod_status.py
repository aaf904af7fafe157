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
from federation.backends.eci.pod_status import Seen, pod_status
from tests.builders import loads

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
