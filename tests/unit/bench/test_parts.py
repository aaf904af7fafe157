"""Which parts share clusters, and what becomes of those after one that fails."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tests.bench import __main__ as command
from tests.clusters import progress
from tests.measuring.report import Report
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pytest


class _Harness:
    made = 0

    def __init__(self, **_: object) -> None:
        type(self).made += 1

    def __enter__(self) -> _Harness:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _fails_at_latency(parts: Sequence[str], *_: Any) -> Iterator[Report]:
    for part in parts:
        if part == "latency":
            raise MeasurementError("nothing came")
        yield Report(part, [], [])


def test_parts_share_clusters_where_they_can() -> None:
    parts = ["speed", "namespaces", "wide", "tenants", "distance"]
    assert command._by_clusters(parts) == [
        ["speed", "distance"],
        ["namespaces"],
        ["wide"],
        ["tenants"],
    ]
    assert command._by_clusters(["wide"]) == [["wide"]]


def test_a_part_that_fails_is_missed_and_those_after_it_get_new_clusters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "Harness", _Harness)
    monkeypatch.setattr(command, "_with_clusters", _fails_at_latency)
    monkeypatch.setattr(_Harness, "made", 0)
    parts = ["speed", "latency", "foreign"]
    reports = list(command._measured(parts, argparse.Namespace(), progress.begin()))
    assert [(report.title, report.passed) for report in reports] == [
        ("speed", True),
        ("latency", False),
        ("foreign", True),
    ]
    assert reports[1].missed == ["could be measured: nothing came"]
    assert _Harness.made == 2


def test_all_is_everything_but_distance_and_profile() -> None:
    assert set(command._PARTS) - set(command._ALL) == {"distance", "profile"}
