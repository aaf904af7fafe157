"""Answers of the emulator over the wire: shapes, logs, stock, tags."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.backends.eci import errors
from federation.backends.eci.api import EciApi
from tests.eci.actions import Actions
from tests.eci.connecting import KEYS, connected, make_group
from tests.eci.faults import Faults
from tests.eci.groups import Groups
from tests.eci.logs import content
from tests.eci.modes import LogLine
from tests.eci.refusal import Refusal
from tests.eci.schema import answer_shape, unknown_in
from tests.eci.script import Fate, Script
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock

REGION = "cn-beijing"


@pytest.fixture
def actions() -> Actions:
    script = Script(runs=1, exit_code=3, then=Script())
    fate = Fate(scheduling=0, pulling=0, containers={"main": script})
    return Actions(Groups(lambda _: fate), Faults(), region=REGION)


def ask(actions: Actions, action: str, now: float = 10.0, **asked: Any) -> dict[str, object]:
    return actions.carry_out(action, {"RegionId": REGION, **asked}, now, maker="key")


@pytest.fixture
async def api() -> AsyncIterator[EciApi]:
    async with Emulator(keys=KEYS, clock=SteppedClock()) as emulator, connected(emulator) as client:
        yield client


@pytest.mark.parametrize(
    ("action", "asked"),
    [
        ("DescribeContainerGroups", {"WithEvent": "true"}),
        ("DescribeContainerGroupStatus", {}),
        ("DescribeContainerGroupEvents", {}),
        ("DescribeRegions", {}),
        ("ListTagResources", {}),
        ("ListUsage", {}),
        (
            "DescribeContainerGroupPrice",
            {"Cpu": "2", "Memory": "4", "SpotStrategy": "SpotAsPriceGo"},
        ),
        (
            "DescribeAvailableResource",
            {"DestinationResource": {"Category": "InstanceType", "Value": "ecs.c6.large"}},
        ),
    ],
)
def test_the_sdk_reads_all_of_an_answer(
    actions: Actions, action: str, asked: dict[str, Any]
) -> None:
    init = {"Name": "init", "Image": "app:1"}
    ask(
        actions, "CreateContainerGroup", 0.0, **make_group(InitContainer=[init], Tag=[{"Key": "a"}])
    )
    ask(actions, "DescribeContainerGroups", 0.0)

    answer = ask(actions, action, **asked)

    # The one place where the SDK's model is believed to be misspelled.
    known = [one for one in unknown_in(answer_shape(action), answer) if "StartedAt" not in one]
    assert known == []


def test_the_newest_lines_are_given_from_the_start_of_them() -> None:
    lines = [LogLine(float(n), f"line {n}") for n in range(10)]

    assert content(lines, {"Tail": "2"}, 10.0) == "line 8\nline 9\n"
    assert content(lines, {"SinceSeconds": "3"}, 10.0) == "line 7\nline 8\nline 9\n"
    assert content(lines, {"StartTime": "1970-01-01T00:00:09Z"}, 10.0) == "line 9\n"
    assert content(lines, {"Tail": "2", "LimitBytes": "3"}, 10.0) == "lin"


def test_stamps_have_a_fraction_where_there_is_one() -> None:
    lines = [LogLine(1.25, "a"), LogLine(2.0, "b")]

    assert content(lines, {"Timestamps": "True"}, 10.0) == (
        "1970-01-01T00:00:01.250000000Z a\n1970-01-01T00:00:02Z b\n"
    )


@pytest.mark.parametrize(
    "wrong", [{"Tail": "2001"}, {"Tail": "0"}, {"LimitBytes": "1048577"}, {"StartTime": "now"}]
)
def test_a_log_is_not_given_out_of_range(wrong: dict[str, str]) -> None:
    with pytest.raises(Refusal):
        content([], wrong, 0.0)


async def test_the_log_of_the_run_before_is_kept() -> None:
    again = Script(output=["second"])
    script = Script(runs=1, exit_code=1, output=["first"], then=again)
    fate = Fate(scheduling=0, pulling=0, containers={"main": script})
    clock = SteppedClock()
    async with (
        Emulator(keys=KEYS, clock=clock, fate=lambda _: fate) as emulator,
        connected(emulator) as api,
    ):
        group = await api.create(make_group(), token="t")
        clock.now += 5

        assert await api.log(group, "main") == "second\n"
        assert await api.log(group, "main", previous=True) == "first\n"


def test_only_pending_and_running_groups_can_be_restarted(actions: Actions) -> None:
    made = ask(actions, "CreateContainerGroup", 0.0, **make_group(RestartPolicy="Never"))

    with pytest.raises(Refusal) as raised:
        ask(actions, "RestartContainerGroup", 10.0, ContainerGroupId=made["ContainerGroupId"])
    assert raised.value.code == "IncorrectStatus"


@pytest.mark.parametrize("seconds", ["59", "3601"])
def test_a_look_back_has_its_range(actions: Actions, seconds: str) -> None:
    with pytest.raises(Refusal) as raised:
        ask(actions, "DescribeContainerGroupStatus", SinceSecond=seconds)
    assert raised.value.code == "InvalidParameter.ValueExceeded"


def test_a_restart_of_a_container_is_news(actions: Actions) -> None:
    actions._groups.create(make_group(RegionId=REGION), 0.0)
    ask(actions, "DescribeContainerGroupStatus", 0.5)

    assert ask(actions, "DescribeContainerGroupStatus", 60.0, SinceSecond="60")["TotalCount"] == 1
    assert ask(actions, "DescribeContainerGroupStatus", 70.0, SinceSecond="60")["TotalCount"] == 0


async def test_the_next_type_or_zone_is_taken_when_one_is_sold_out(api: EciApi) -> None:
    vswitches = {"vsw-a": "cn-beijing-a", "vsw-b": "cn-beijing-b"}
    async with (
        Emulator(keys=KEYS, clock=SteppedClock(), vswitches=vswitches) as emulator,
        connected(emulator) as api,
    ):
        emulator.faults.no_stock = {"ecs.c6.large", "ecs.c6.xlarge@cn-beijing-a"}
        asked = make_group(InstanceType="ecs.c6.large,ecs.c6.xlarge", VSwitchId="vsw-a,vsw-b")
        await api.create(asked, token="t")
        [group] = emulator.groups.at(emulator.clock.time())

        assert (group.bought.type, group.zone) == ("ecs.c6.xlarge", "cn-beijing-b")
        with pytest.raises(errors.NoStock):
            await api.create(asked | {"VSwitchId": "vsw-a"}, token="u")
        with pytest.raises(errors.InvalidParameter):
            await api.create(asked | {"VSwitchId": "vsw-c"}, token="v")


def test_tags_can_be_changed(actions: Actions) -> None:
    made = ask(actions, "CreateContainerGroup", **make_group(Tag=[{"Key": "a", "Value": "1"}]))
    ids = [made["ContainerGroupId"]]
    ask(actions, "TagResources", ResourceId=ids, Tag=[{"Key": "b", "Value": "2"}])
    ask(actions, "UntagResources", ResourceId=ids, TagKey=["a"])

    listed = ask(actions, "ListTagResources")["TagResources"]
    assert isinstance(listed, list)
    assert [(one["TagKey"], one["TagValue"]) for one in listed] == [("b", "2")]


def test_hidden_variables_are_in_no_description(actions: Actions) -> None:
    asked = make_group()
    asked["Container"][0] |= {
        "EnvironmentVarHide": "true",
        "EnvironmentVar": [{"Key": "PASSWORD", "Value": "hunter2"}],
    }
    ask(actions, "CreateContainerGroup", **asked)

    assert "hunter2" not in str(ask(actions, "DescribeContainerGroups"))
