"""What of the emulator the client's tests do not show: retention, throttling, blindness, nonces."""

import pytest

from federation.backends.eci.signature import sign
from federation.backends.eci.transport import HttpTransport
from tests.eci.connecting import KEY, KEYS, connected, make_group
from tests.eci.groups import KEPT, RETENTION, Groups
from tests.eci.refusal import Refusal
from tests.eci.script import Fate
from tests.eci.server import Emulator
from tests.eci.throttle import Throttle
from tests.fakes.clock import SteppedClock

ENDED = Fate(scheduling=0, pulling=0, runs=0)


def test_final_states_are_kept_for_an_hour() -> None:
    groups = Groups(lambda _: ENDED)
    for number in range(KEPT + 50):
        groups.create(make_group(f"g-{number}", RestartPolicy="Never"), float(number))

    assert len(groups.at(RETENTION)) == KEPT + 50


def test_after_the_hour_only_the_newest_hundred_are_kept() -> None:
    groups = Groups(lambda _: ENDED)
    for number in range(KEPT + 50):
        groups.create(make_group(f"g-{number}", RestartPolicy="Never"), float(number))

    kept = groups.at(RETENTION + 1000)

    assert [group.asked["ContainerGroupName"] for group in kept] == [
        f"g-{number}" for number in range(50, KEPT + 50)
    ]


def test_a_group_that_runs_is_never_forgotten() -> None:
    groups = Groups()
    groups.create(make_group(), 0.0)

    assert [group.status(1e9) for group in groups.at(1e9)] == ["Running"]


def test_a_group_without_a_place_says_why() -> None:
    groups = Groups(lambda _: Fate(schedule_fails="NoStock"))
    group = groups.create(make_group(), 0.0)

    assert (group.status(5), group.step(5).reason) == ("ScheduleFailed", "NoStock")


def test_a_group_without_a_place_is_kept_for_a_day() -> None:
    groups = Groups(lambda _: Fate(scheduling=0, schedule_fails="NoStock"))
    groups.create(make_group(), 0.0)

    assert len(groups.at(86400)) == 1
    assert groups.at(86401) == []


def test_creates_are_a_bucket_of_a_hundred_and_twenty_a_second() -> None:
    throttle = Throttle()
    for _ in range(100):
        throttle.admit("CreateContainerGroup", 0.0)
    with pytest.raises(Refusal, match="flow control"):
        throttle.admit("CreateContainerGroup", 0.0)

    for _ in range(20):
        throttle.admit("CreateContainerGroup", 1.0)
    with pytest.raises(Refusal, match="flow control"):
        throttle.admit("CreateContainerGroup", 1.0)


def test_logs_are_counted_by_the_minute() -> None:
    throttle = Throttle()
    for _ in range(500):
        throttle.admit("DescribeContainerLog", 59.0)
    with pytest.raises(Refusal):
        throttle.admit("DescribeContainerLog", 59.9)

    throttle.admit("DescribeContainerLog", 60.0)


async def test_a_key_that_may_not_list_sees_nothing_and_no_error() -> None:
    async with Emulator(keys=KEYS, clock=SteppedClock()) as emulator, connected(emulator) as api:
        await api.create(make_group(), token="t")
        emulator.faults.blind = True

        assert [one async for one in api.groups()] == []


@pytest.mark.parametrize(("away", "code"), [(0, b"SignatureNonceUsed"), (901, b"Expired")])
async def test_a_recorded_call_is_not_taken_again(away: float, code: bytes) -> None:
    clock = SteppedClock()
    async with Emulator(keys=KEYS, clock=clock) as emulator:
        transport = HttpTransport(emulator.url)
        call = sign(
            {"RegionId": "cn-beijing"},
            key=KEY,
            host=transport.host,
            action="ListUsage",
            date="2027-01-15T08:00:00Z",
            nonce="n",
        )
        assert (await transport.send(call, timeout=5)).status == 200
        clock.now += away
        again = await transport.send(call, timeout=5)
        await transport.close()

    assert code in again.body
