"""What becomes of a group, played on a clock that only the test moves."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.eci.containers import Container
from tests.eci.groups import Group, Groups
from tests.eci.script import Fate, Script


def container(name: str, *, env: Mapping[str, str] | None = None, **more: Any) -> dict[str, Any]:
    variables = [{"Key": key, "Value": value} for key, value in (env or {}).items()]
    return {"Name": name, "Image": "app:1", "EnvironmentVar": variables, **more}


def played(
    *containers: dict[str, Any],
    scripts: Mapping[str, Script] | None = None,
    **more: Any,
) -> Group:
    """A group that begins to run at 0."""
    fate = Fate(scheduling=0, pulling=0, containers=scripts or {})
    asked = {"ContainerGroupName": "web", "Container": list(containers), **more}
    return Groups(lambda _: fate).create(asked, 0.0)


def at(group: Group, now: float) -> dict[str, str]:
    """Each container's state."""
    group.life.advance(now)
    return {one.name: _state(one) for one in group.life.everyone}


def _state(one: Container) -> str:
    if one.running:
        return "ready" if one.ready else "running"
    return one.waiting or "ended"


def test_init_containers_run_in_turn_and_before_all_others() -> None:
    group = played(
        container("app"),
        InitContainer=[container("first"), container("second")],
        scripts={"first": Script(runs=5), "second": Script(runs=5)},
    )

    assert at(group, 1) == {
        "first": "running",
        "second": "ContainerCreating",
        "app": "ContainerCreating",
    }
    assert group.status(1) == "Pending"
    assert at(group, 6)["second"] == "running"
    assert at(group, 10) == {"first": "ended", "second": "ended", "app": "ready"}
    assert group.status(10) == "Running"


def test_a_failed_init_container_fails_a_group_that_never_restarts() -> None:
    group = played(
        container("app"),
        InitContainer=[container("init")],
        RestartPolicy="Never",
        scripts={"init": Script(runs=1, exit_code=2)},
    )

    assert group.status(2) == "Failed"
    assert group.life.containers[0].attempt == 0


def test_a_failed_init_container_is_tried_again() -> None:
    script = Script(runs=1, exit_code=2, then=Script(runs=1))
    group = played(container("app"), InitContainer=[container("init")], scripts={"init": script})

    assert at(group, 3)["app"] == "ready"
    assert group.life.inits[0].restarts == 1


def test_restarts_back_off_as_kubelets_do() -> None:
    group = played(container("app"), scripts={"app": Script(runs=0, exit_code=1)})
    starts = []
    for now in range(1000):
        group.life.advance(float(now))
        starts.append(group.life.containers[0].attempt)

    begun = [now for now in range(1, 1000) if starts[now] > starts[now - 1]]
    assert begun == [10, 30, 70, 150, 310, 610, 910]
    assert group.status(1000) == "Running"


@pytest.mark.parametrize(
    ("policy", "code", "status"),
    [
        ("Never", 0, "Succeeded"),
        ("Never", 3, "Failed"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 3, "Running"),
        ("Always", 0, "Running"),
    ],
)
def test_the_policy_says_whether_an_end_is_one(policy: str, code: int, status: str) -> None:
    group = played(
        container("app"), RestartPolicy=policy, scripts={"app": Script(runs=1, exit_code=code)}
    )

    assert group.status(1.5) == status


def test_the_run_before_is_told_after_a_restart() -> None:
    script = Script(runs=1, exit_code=3, message="why", then=Script())
    group = played(container("app"), scripts={"app": script})
    at(group, 2)
    [app] = group.life.containers

    assert app.previous is not None
    assert (app.previous.exit_code, app.previous.message, app.restarts) == (3, "why", 1)


def test_a_readiness_probe_holds_back_ready() -> None:
    probe = {"Exec": {"Command": ["true"]}, "PeriodSeconds": "2"}
    group = played(container("app", ReadinessProbe=probe), scripts={"app": Script(ready_after=5)})

    assert at(group, 4) == {"app": "running"}
    assert at(group, 6) == {"app": "ready"}


def test_a_liveness_probe_that_fails_three_times_restarts_the_container() -> None:
    probe = {"Exec": {"Command": ["true"]}, "PeriodSeconds": "10"}
    group = played(container("app", LivenessProbe=probe), scripts={"app": Script(dies_after=25)})
    at(group, 49)
    assert group.life.containers[0].restarts == 0
    at(group, 51)

    assert group.life.containers[0].restarts == 1
    assert "Unhealthy" in {event.reason for event in group.life.events}


def test_containers_start_by_priority_and_wait_for_ready_ones() -> None:
    probe = {"Exec": {"Command": ["true"]}, "PeriodSeconds": "1"}
    group = played(
        container("app"),
        container("fuse", env={"ECI_CONTAINER_LAUNCH_PRIORITY": "1000"}, ReadinessProbe=probe),
        scripts={"fuse": Script(ready_after=5)},
    )

    assert at(group, 4) == {"app": "ContainerCreating", "fuse": "running"}
    assert group.status(4) == "Pending"
    assert at(group, 5) == {"app": "ready", "fuse": "ready"}


def test_sidecars_end_when_the_others_are_done() -> None:
    sidecar = {"ECI_CONTAINER_TYPE": "sidecar", "ECI_CONTAINER_IGNORE_EXIT_CODE": "true"}
    group = played(
        container("app"),
        container("fuse", env=sidecar),
        RestartPolicy="Never",
        scripts={"app": Script(runs=5)},
    )

    assert at(group, 4) == {"app": "ready", "fuse": "ready"}
    assert group.status(5) == "Succeeded"


def test_a_sidecar_whose_exit_code_counts_fails_the_group() -> None:
    group = played(
        container("app"),
        container("fuse", env={"ECI_CONTAINER_TYPE": "sidecar"}),
        RestartPolicy="Never",
        scripts={"app": Script(runs=5)},
    )

    assert group.status(5) == "Failed"


def test_a_deleted_group_stops_by_exit_priority_and_then_by_force() -> None:
    group = played(
        container("app"),
        container("fuse", env={"ECI_CONTAINER_EXIT_PRIORITY": "-1000"}),
        TerminationGracePeriodSeconds="10",
        scripts={"app": Script(deaf=True)},
    )
    at(group, 1)
    group.life.delete(1)

    assert at(group, 10) == {"app": "ready", "fuse": "ready"}
    assert group.status(10) == "Terminating"
    assert at(group, 11) == {"app": "ended", "fuse": "ended"}
    ended = group.life.containers[0].ended
    assert ended is not None
    assert ended.exit_code == 137
    assert group.status(12) == "Gone"


def test_a_group_that_is_active_for_too_long_fails() -> None:
    group = played(container("app"), ActiveDeadlineSeconds="60")

    assert group.status(59) == "Running"
    assert group.step(60).status == "Failed"
    assert group.step(60).reason == "DeadlineExceeded"


def test_a_container_whose_image_is_missing_waits_and_is_tried_again() -> None:
    group = played(container("app"), scripts={"app": Script(cannot_start="ErrImagePull")})

    assert at(group, 1) == {"app": "ErrImagePull"}
    assert group.status(1) == "Pending"


def test_a_finished_group_cannot_be_restarted_but_deleted() -> None:
    group = played(container("app"), RestartPolicy="Never", scripts={"app": Script(runs=1)})
    assert group.status(2) == "Succeeded"
    group.life.delete(2)

    assert group.status(3) == "Gone"
