import asyncio
from typing import Any

import pytest

from federation.backends.eci import errors
from federation.backends.eci.api import EciApi
from federation.backends.eci.signature import AccessKey
from tests.eci.connecting import KEYS, connected, make_group
from tests.eci.script import Fate
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock
from vnode.kube.errors import Withheld


@pytest.fixture
def clock(emulator: Emulator) -> SteppedClock:
    assert isinstance(emulator.clock, SteppedClock)
    return emulator.clock


async def state(api: EciApi, group: str) -> str:
    [found] = [one async for one in api.statuses(ids=[group])]
    return found.status


async def test_a_group_goes_from_scheduling_to_running(api: EciApi, clock: SteppedClock) -> None:
    group = await api.create(make_group(), token="t")
    assert await state(api, group) == "Scheduling"
    clock.now += 1
    assert await state(api, group) == "Pending"
    clock.now += 2
    assert await state(api, group) == "Running"


async def test_a_create_whose_answer_was_lost_returns_the_first_group(
    api: EciApi, emulator: Emulator
) -> None:
    emulator.faults.lose_answers = 1
    with pytest.raises(errors.Unavailable):
        await api.create(make_group(), token="uid-1")

    group = await api.create(make_group(), token="uid-1")

    assert [one.id for one in emulator.groups.at(emulator.clock.time())] == [group]


async def test_a_token_for_something_else_is_told_apart(api: EciApi) -> None:
    await api.create(make_group("one"), token="uid-1")

    with pytest.raises(errors.TokenReused):
        await api.create(make_group("two"), token="uid-1")


async def test_creates_at_once_with_one_token_make_one_group(
    api: EciApi, emulator: Emulator
) -> None:
    made = await asyncio.gather(*(api.create(make_group(), token="uid-1") for _ in range(8)))

    assert len(set(made)) == 1
    assert emulator.groups.made == 1


async def test_all_pages_of_states_are_read(api: EciApi, emulator: Emulator) -> None:
    now = emulator.clock.time()
    for number in range(450):
        emulator.groups.create(make_group(f"g-{number}", RegionId="cn-beijing"), now)

    seen = [one.name async for one in api.statuses()]

    assert seen == [f"g-{number}" for number in range(450)]
    assert emulator.calls == ["DescribeContainerGroupStatus"] * 3


async def test_more_than_twenty_ids_are_asked_for_in_turn(api: EciApi, emulator: Emulator) -> None:
    now = emulator.clock.time()
    ids = [emulator.groups.create(make_group(f"g-{n}"), now).id for n in range(45)]

    assert [one.container_group_id async for one in api.statuses(ids=ids)] == ids


async def test_only_what_changed_lately_is_read(api: EciApi, clock: SteppedClock) -> None:
    await api.create(make_group("old"), token="a")
    clock.now += 600
    await api.create(make_group("new"), token="b")

    assert [one.name async for one in api.statuses(since=60)] == ["new"]


async def test_a_look_back_that_the_service_would_refuse_is_widened(
    api: EciApi, clock: SteppedClock
) -> None:
    await api.create(make_group("old"), token="a")
    clock.now += 7200

    assert [one.name async for one in api.statuses(since=5)] == []
    assert [one.name async for one in api.statuses(since=8000)] == ["old"]


async def test_groups_are_found_by_their_tags(api: EciApi) -> None:
    ours = await api.create(make_group("aa", Tag=[{"Key": "tenant", "Value": "x"}]), token="a")
    await api.create(make_group("bb", Tag=[{"Key": "tenant", "Value": "y"}]), token="b")

    found = [one async for one in api.groups(tags={"tenant": "x"})]

    assert [one.container_group_id for one in found] == [ours]
    assert {tag.key: tag.value for tag in found[0].tags} == {"tenant": "x"}


async def test_a_throttled_call_is_made_again_after_the_budget_allows_it(
    api: EciApi, clock: SteppedClock, emulator: Emulator
) -> None:
    # Another program of the account has just used up the bucket.
    for _ in range(100):
        emulator.throttle.admit("CreateContainerGroup", clock.now)

    await api.create(make_group(), token="t")

    assert emulator.throttle.refused >= 1
    assert clock.slept


async def test_more_creates_than_the_bucket_holds_see_no_throttling(
    api: EciApi, emulator: Emulator
) -> None:
    for number in range(150):
        await api.create(make_group(f"g-{number}"), token=f"t-{number}")

    assert emulator.groups.made == 150
    assert emulator.throttle.refused == 0


@pytest.mark.parametrize(
    ("fault", "value", "kind"),
    [
        ("no_stock", {"*"}, errors.NoStock),
        ("max_cpu", 0.5, errors.QuotaExceeded),
        ("fail_with", 502, errors.Unavailable),
        ("down", True, errors.Unavailable),
    ],
)
async def test_faults_have_their_errors(
    api: EciApi, emulator: Emulator, fault: str, value: Any, kind: type[errors.EciError]
) -> None:
    setattr(emulator.faults, fault, value)

    with pytest.raises(kind):
        await api.create(make_group(), token="t")

    assert emulator.groups.made == 0


async def test_a_wrong_key_is_denied(emulator: Emulator) -> None:
    async with connected(emulator, key=AccessKey(id="LTAItest", secret="wrong")) as api:
        with pytest.raises(errors.Denied, match="SignatureDoesNotMatch"):
            await api.usage()


async def test_the_secret_of_an_environment_is_in_no_error(api: EciApi) -> None:
    asked = make_group()
    asked["Container"][0]["EnvironmentVar"] = [{"Key": "PASSWORD", "Value": "hunter2" * 50}]

    with pytest.raises(errors.InvalidParameter) as raised:
        await api.create(asked, token="t")

    assert "hunter2" not in str(raised.value)


async def test_a_cut_connection_says_nothing_of_the_request(
    api: EciApi, emulator: Emulator
) -> None:
    emulator.faults.down = True
    asked = make_group("name-of-a-tenant")

    with pytest.raises(errors.Unavailable) as raised:
        await api.create(asked, token="t")

    assert "name-of-a-tenant" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_what_the_url_escapes_arrives_as_it_was(api: EciApi, emulator: Emulator) -> None:
    value = "ä+b c&d=e%2F~/*'\n"
    asked = make_group()
    asked["Container"][0]["EnvironmentVar"] = [{"Key": "A", "Value": value}]

    group = await api.create(asked, token="t")

    found = emulator.groups.get(group, emulator.clock.time())
    assert found is not None
    assert found.asked["Container"][0]["EnvironmentVar"][0]["Value"] == value


async def test_a_deleted_group_is_not_found_after_its_end(api: EciApi, clock: SteppedClock) -> None:
    group = await api.create(make_group(), token="t")
    await api.delete(group)
    assert await state(api, group) == "Terminating"
    clock.now += 1

    with pytest.raises(errors.NotFound):
        await api.delete(group)


async def test_restarting_runs_the_containers_anew(api: EciApi, clock: SteppedClock) -> None:
    group = await api.create(make_group(), token="t")
    clock.now += 10
    await api.restart(group)
    clock.now += 10

    [status] = [one async for one in api.statuses(ids=[group])]
    assert status.pod_status.container_statuses[0].restart_count == 1


async def test_the_log_is_cut_and_stamped_as_asked(
    api: EciApi, clock: SteppedClock, emulator: Emulator
) -> None:
    group = await api.create(make_group(), token="t")
    for number in range(5):
        emulator.write_log(group, "main", f"line {number}")
        clock.now += 1

    assert await api.log(group, "main", tail=2) == "line 3\nline 4\n"
    stamped = await api.log(group, "main", since="2027-01-15T08:00:03Z", timestamps=True)
    assert stamped == "2027-01-15T08:00:03Z line 3\n2027-01-15T08:00:04Z line 4\n"


async def test_a_command_runs_in_a_websocket(api: EciApi, clock: SteppedClock) -> None:
    group = await api.create(make_group(), token="t")
    clock.now += 10
    session = await api.execute(group, "main", ["echo", "hi"], tty=False, stdin=True)

    socket = await api.open_socket(session)
    await socket.send(b"\0typed")
    said = [await socket.receive() for _ in range(3)]
    await socket.close()

    assert said == [b"\1", b"\1echo hi\n", b"\1typed"]
    assert "exec/" not in repr(session)


async def test_an_address_opens_once_and_not_after_half_a_minute(
    api: EciApi, clock: SteppedClock
) -> None:
    group = await api.create(make_group(), token="t")
    clock.now += 10
    used, late = [
        await api.execute(group, "main", ["ls"], tty=False, stdin=False) for _ in range(2)
    ]
    await (await api.open_socket(used)).close()
    clock.now += 31

    for session in (used, late):
        with pytest.raises(errors.Unavailable) as refused:
            await api.open_socket(session)
        assert session.web_socket_uri not in repr(refused.value)


async def test_prices_stock_and_usage_are_numbers(api: EciApi, emulator: Emulator) -> None:
    kind = "ecs.gn6i-c4g1.xlarge"
    emulator.faults.max_cpu = 64
    await api.create(make_group(), token="t")
    price = await api.price({"InstanceType": kind, "SpotStrategy": "SpotAsPriceGo"})
    emulator.faults.no_stock.add(kind)

    assert price.trade_price > price.spot[0].spot_price > 0
    assert [zone.stock for zone in await api.stock(kind)] == [{kind: "WithoutStock"}] * 2
    assert await api.usage() == {"UsedCpu": 1.0, "MaxCpu": 64.0}


async def test_the_end_of_a_group_is_told_with_its_exit_code() -> None:
    clock = SteppedClock()
    fate = Fate(runs=5, exit_code=3)
    async with (
        Emulator(keys=KEYS, clock=clock, fate=lambda _: fate) as emulator,
        connected(emulator) as api,
    ):
        group = await api.create(make_group(RestartPolicy="Never"), token="t")
        clock.now += 60
        [status] = [one async for one in api.statuses(ids=[group])]

    ended = status.pod_status.container_statuses[0].state.terminated
    assert status.status == "Failed"
    assert ended is not None
    assert ended.exit_code == 3


async def test_a_spot_instance_is_warned_before_it_expires(
    api: EciApi, clock: SteppedClock, emulator: Emulator
) -> None:
    group = await api.create(make_group(SpotStrategy="SpotAsPriceGo"), token="t")
    clock.now += 10
    emulator.reclaim(group)

    [events] = await api.events([group])
    assert [event.reason for event in events.events] == ["Started", "SpotToBeReleased"]
    assert await state(api, group) == "Running"
    clock.now += 180
    assert await state(api, group) == "Expired"


async def test_many_creates_at_once_are_made_once_each_though_answers_are_lost(
    emulator: Emulator,
) -> None:
    workers = asyncio.Semaphore(48)

    async def make(api: EciApi, number: int) -> str:
        async with workers:
            for _ in range(5):
                try:
                    return await api.create(make_group(f"g-{number}"), token=f"t-{number}")
                except errors.Unavailable:
                    continue
        raise AssertionError("no answer in five tries")

    emulator.faults.lose_answers = 60
    async with connected(emulator) as api:
        made = await asyncio.gather(*(make(api, number) for number in range(200)))

    assert len(set(made)) == emulator.groups.made == 200
    assert emulator.faults.lose_answers == 0


async def test_who_may_not_write_any_more_changes_nothing(api: EciApi, emulator: Emulator) -> None:
    may = True
    guarded = api.guarded(lambda: may)
    group = await guarded.create(make_group("one"), token="uid-1")
    may = False

    with pytest.raises(Withheld):
        await guarded.create(make_group("two"), token="uid-2")
    with pytest.raises(Withheld):
        await guarded.delete(group)

    assert emulator.calls == ["CreateContainerGroup"]
    assert await state(guarded, group)
