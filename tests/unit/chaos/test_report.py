from collections import Counter

from tests.chaos.report import Report, waited_for
from tests.chaos.rules import Violation

FOUND = Violation("created once", "u1", "pod u1 was created below 2 times", ("line 1", "line 2"))


def _report() -> Report:
    return Report(
        7,
        1,
        strict=False,
        rounds=10,
        seconds=50.0,
        faults=Counter({"link cut": 3, "agent killed": 4}),
    )


def test_a_run_without_violations_passes_and_tells_its_seed() -> None:
    report = _report()
    assert report.passed
    text = report.text()
    assert "seed 7, 10 rounds in 50 s (0.200 rounds/s" in text
    assert "faults 7: agent killed 4, link cut 3" in text
    assert "violations 0" in text


def test_long_rounds_are_counted_and_told() -> None:
    report = _report()
    assert "rounds of more than 20 s: 0" in report.text()
    report.long.append("round 3: 28.6 s: link cut (kwok-a); at 9 looks: pod a")
    assert "rounds of more than 20 s: 1\n  round 3: 28.6 s: link cut" in report.text()
    assert report.json()["long"] == report.long


def test_a_long_round_waited_for_what_differed_longest() -> None:
    looks = Counter({"pod a has no node": 40, "pod a, Pending: its copy is Running": 1})
    assert waited_for(looks) == "at 40 looks: pod a has no node"
    assert waited_for(Counter()) == "nothing differed after the faults"


def test_a_violation_fails_it_and_is_told_with_its_evidence() -> None:
    report = _report()
    report.violations.append((3, FOUND))
    assert not report.passed
    assert "round 3: created once: pod u1 was created below 2 times" in report.text()
    assert "    line 2" in report.text()
    told = report.json()
    assert told["passed"] is False
    assert told["violations"][0]["round"] == 3
    assert told["violations"][0]["rule"] == "created once"
