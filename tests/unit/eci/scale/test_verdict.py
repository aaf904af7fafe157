"""What the verdict on many groups rests on: each claim can fail."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tests.eci.scale.rounds import Kill, Round
from tests.eci.scale.seen import SeenPod
from tests.eci.scale.verdict import UID, Evidence, report

PODS = 4
NAMES = [f"u{number}" for number in range(PODS)]
STEPS = [[10.0, "Scheduling"], [11.0, "Pending"], [12.0, "Running"]]


def group(uid: str, *, steps: Sequence[Any] = (), token: str = "") -> dict[str, Any]:
    later = steps or ([20.0, "Terminating"], [21.0, "Gone"])
    return {
        "id": f"eci-{uid}",
        "token": token or uid,
        "repeats": 0,
        "tags": {UID: uid},
        "made_at": 10.0,
        "steps": [*STEPS, *later],
    }


def pod(uid: str, *, running: float = 13.0, gone: float = 22.0) -> SeenPod:
    return SeenPod(uid, {"Running": running}, gone)


ENDED = group("u0", steps=([15.0, "Succeeded"], [21.0, "Gone"]))
ENDED_POD = SeenPod("u0", {"Running": 13.0, "Succeeded": 16.0}, 17.0)
GOOD = Evidence(
    journal=[ENDED, group("u1", steps=ENDED["steps"][3:]), group("u2"), group("u3")],
    calls={"CreateContainerGroup": {"made": PODS, "throttled": 0}},
    pods={
        "u0": ENDED_POD,
        "u1": replace(ENDED_POD, name="u1"),
        "u2": pod("u2"),
        "u3": pod("u3", gone=24.0),
    },
    throttled={},
    warnings={},
)
ROUND = Round("steady", set(NAMES), began=9.0, running=13.0, deleted=19.0, gone=24.0)


def missed(evidence: Evidence, *, rounds: Sequence[Round] = (ROUND,)) -> list[str]:
    return report(rounds, evidence, pods=PODS).missed


def test_all_is_well_when_each_pod_had_one_group_that_was_shown_in_time() -> None:
    found = report([ROUND], GOOD, pods=PODS)

    assert found.missed == []
    assert found.numbers["latency_seconds"]["Gone"]["p99"] == 3.0


def test_a_second_group_of_a_pod_is_found() -> None:
    twice = replace(GOOD, journal=[*GOOD.journal, group("u3", token="other")])

    assert [text.partition(":")[0] for text in missed(twice)] == ["steady", "steady"]


def test_a_group_that_is_left_is_found() -> None:
    left = replace(GOOD, journal=[*GOOD.journal[:3], group("u3", steps=([9e9, "Running"],))])

    assert any("1 are left" in text for text in missed(left))


def test_a_throttling_error_on_a_pod_is_found() -> None:
    assert any(
        "ComputeBusy" in text for text in missed(replace(GOOD, throttled={"u1": "ComputeBusy"}))
    )


def test_slow_states_are_found() -> None:
    slow = {**GOOD.pods, "u2": pod("u2", running=17.5)}

    [text] = missed(replace(GOOD, pods=slow))
    assert text.startswith("p99 from Running")


def test_pods_that_were_never_seen_are_no_success() -> None:
    few = {uid: seen for uid, seen in GOOD.pods.items() if uid != "u3"}

    assert len(missed(replace(GOOD, pods=few))) == 2


def test_a_kill_at_the_end_is_none_in_the_middle() -> None:
    killed = replace(ROUND, name="killed", kills=[Kill("groups made", PODS, 1.0, 2.0)])

    assert any("4 of 4 groups made" in text for text in missed(GOOD, rounds=[ROUND, killed]))


def test_a_round_that_does_not_end_is_a_missed_target() -> None:
    assert any("in vain" in text for text in missed(replace(GOOD, failure="waited in vain")))
