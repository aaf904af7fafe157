import math

import pytest

from tests.measuring.report import Report, Table, Target, percentile


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.0, 1), (0.001, 1)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_nothing_has_no_percentile() -> None:
    assert math.isnan(percentile([], 0.5))


def test_a_missed_target_fails_the_report_and_is_named() -> None:
    report = Report("x", [], [Target("fast", "1 s", met=True), Target("small", "9 GiB", met=False)])
    assert not report.passed
    assert report.missed == ["small: 9 GiB"]
    assert "MISSED small: 9 GiB" in report.text()
    assert report.json()["passed"] is False


def test_a_report_whose_targets_are_met_passes() -> None:
    assert Report("x", [], [Target("fast", "1 s", met=True)]).passed


def test_a_table_has_its_numbers_to_the_right() -> None:
    table = Table(["what", "direct"], [["a", "1"], ["longer", "10000 ms"]])
    assert table.text().splitlines() == [
        "what      direct",
        "a              1",
        "longer  10000 ms",
    ]
