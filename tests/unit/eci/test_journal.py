"""The emulator's own notes, on which verdicts rest."""

from tests.eci.connecting import KEYS, connected, make_group
from tests.eci.report import journal
from tests.eci.script import Fate, with_sleeps
from tests.eci.server import Emulator
from tests.fakes.clock import SteppedClock


async def test_a_group_stays_in_the_journal_after_it_is_gone() -> None:
    clock = SteppedClock()
    begin = clock.now
    async with Emulator(keys=KEYS, clock=clock) as emulator, connected(emulator) as api:
        tags = [{"Key": "a", "Value": "b"}]
        made = await api.create(make_group(Tag=tags), token="t-1")
        assert await api.create(make_group(Tag=tags), token="t-1") == made
        clock.now += 5
        await api.delete(made)
        clock.now += 60

        [entry] = journal(emulator)

    assert (entry["id"], entry["token"], entry["repeats"]) == (made, "t-1", 1)
    assert entry["tags"] == {"a": "b"}
    assert [(at - begin, status) for at, status in entry["steps"]] == [
        (0, "Scheduling"),
        (1, "Pending"),
        (3, "Running"),
        (5, "Terminating"),
        (6, "Gone"),
    ]


def test_a_container_that_sleeps_runs_for_so_long() -> None:
    naps = with_sleeps(Fate(runs=7))
    asked = make_group()
    asked["Container"][0]["Command"] = ["sleep", "30"]

    assert naps(asked).containers["main"].runs == 30
    asked["Container"][0]["Command"] = ["sh", "-c", "sleep 30"]
    assert not naps(asked).containers
