import aiohttp
import pytest

from federation.backends.eci import errors
from tests.eci.connecting import KEY, KEYS, connected, make_group
from tests.eci.faults import Faults
from tests.eci.server import Emulator
from tests.eci.service import EciService
from tests.fakes.clock import SteppedClock


async def test_an_action_fails_as_often_as_asked() -> None:
    async with Emulator(keys=KEYS, clock=SteppedClock()) as emulator, connected(emulator) as api:
        emulator.faults.fail("ListUsage", times=2)
        for _ in range(2):
            with pytest.raises(errors.Unavailable, match="InternalError"):
                await api.usage()

        assert await api.usage()


async def test_a_new_group_can_be_late_in_listings_but_be_named() -> None:
    clock = SteppedClock()
    async with Emulator(keys=KEYS, clock=clock) as emulator, connected(emulator) as api:
        emulator.faults.unseen = 30
        group = await api.create(make_group(), token="t")

        assert [one async for one in api.statuses()] == []
        assert [one.container_group_id async for one in api.statuses(ids=[group])] == [group]
        clock.now += 30
        assert [one.container_group_id async for one in api.statuses()] == [group]


async def test_pages_may_be_shorter_than_asked_for() -> None:
    async with Emulator(keys=KEYS, clock=SteppedClock()) as emulator, connected(emulator) as api:
        for number in range(5):
            await api.create(make_group(f"g-{number}"), token=f"t-{number}")
        emulator.faults.page = 2

        assert len([one async for one in api.statuses()]) == 5
        assert emulator.counted["DescribeContainerGroupStatus"] == 3


async def test_connections_are_refused_for_a_while() -> None:
    async with Emulator(keys=KEYS) as emulator, connected(emulator) as api:
        await api.usage()
        await emulator.refuse_connections(0.05)
        with pytest.raises(errors.Unavailable):
            await api.usage()
        assert emulator._reopening is not None
        await emulator._reopening

        assert await api.usage()


async def test_switches_are_set_over_the_second_door() -> None:
    async with (
        Emulator(keys=KEYS, clock=SteppedClock()) as emulator,
        connected(emulator) as api,
        aiohttp.ClientSession() as http,
    ):
        wanted = {"slow": 1, "fail": [{"action": "ListUsage", "times": 1, "status": 503}]}
        async with http.post(f"{emulator.control_url}/faults", json=wanted) as answer:
            assert answer.status == 200
        with pytest.raises(errors.Unavailable):
            await api.usage()
        async with http.post(f"{emulator.control_url}/faults", json={"slwo": 1}) as answer:
            assert (answer.status, await answer.text()) == (400, "no such switch: slwo\n")
        async with http.get(f"{emulator.url}/faults") as answer:
            assert answer.status == 404


def test_every_switch_can_be_set_by_name() -> None:
    faults = Faults()
    faults.change(
        {
            "no_stock": ["*"],
            "blind": True,
            "refuse": {"ListUsage": {"code": "Forbidden", "message": "no", "status": 403}},
        }
    )

    assert (faults.no_stock, faults.blind) == ({"*"}, True)
    refusal = faults.due("ListUsage")
    assert refusal is not None
    assert (refusal.code, refusal.status) == ("Forbidden", 403)


async def test_the_state_says_who_made_what_and_what_was_called() -> None:
    async with (
        Emulator(keys=KEYS, clock=SteppedClock()) as emulator,
        connected(emulator) as api,
        aiohttp.ClientSession() as http,
    ):
        asked = make_group(Tag=[{"Key": "tenant", "Value": "a"}])
        asked["Container"][0]["EnvironmentVar"] = [{"Key": "PASSWORD", "Value": "hunter2"}]
        group = await api.create(asked, token="t")
        async with http.get(f"{emulator.control_url}/state") as answer:
            state = await answer.json()
        async with http.get(f"{emulator.control_url}/table") as answer:
            table = await answer.text()

    assert [(one["id"], one["made_by"], one["tags"]) for one in state["groups"]] == [
        (group, KEY.id, {"tenant": "a"})
    ]
    assert state["calls"] == {"CreateContainerGroup": {"made": 1, "throttled": 0}}
    assert group in table
    assert "tenant=a" in table
    assert "hunter2" not in table + str(state)


def test_the_emulator_runs_as_a_process_of_its_own() -> None:
    with EciService("--key", "LTAIother=secret") as eci:
        eci.faults(slow=0.1)

        assert eci.state() == {"groups": [], "made": 0, "calls": {}}
        assert eci.table().startswith("GROUP")
