import pytest

from tests.bench.timeline import Moment, Timeline, between, curve


def test_only_the_first_time_of_a_mark_counts() -> None:
    seen = Timeline([Moment("a", "w-1", "ready", 5.0), Moment("a", "w-1", "ready", 9.0)])
    assert seen.times("a", "ready", "w-") == {"w-1": 5.0}


def test_clusters_marks_and_workloads_are_kept_apart() -> None:
    seen = Timeline(
        [
            Moment("a", "w-1", "ready", 1.0),
            Moment("b", "w-1", "ready", 2.0),
            Moment("a", "w-1", "gone", 3.0),
            Moment("a", "w2-1", "ready", 4.0),
        ]
    )
    assert seen.times("a", "ready", "w-") == {"w-1": 1.0}


def test_a_latency_needs_both_ends() -> None:
    assert between({"x": 1.0, "y": 2.0}, {"x": 1.5, "z": 9.0}) == [0.5]


def test_a_watch_that_is_ahead_is_not_hidden() -> None:
    assert between({"x": 1.0}, {"x": 0.9}) == [pytest.approx(-0.1)]


@pytest.mark.parametrize("pods", [1, 7, 99, 100, 101, 2000])
def test_a_curve_is_short_and_ends_with_the_last_pod(pods: int) -> None:
    points = curve({str(n): 10.0 + n for n in range(pods)}, 10.0)
    assert points[-1] == (pods - 1.0, pods)
    assert len(points) <= 101
    assert points == sorted(points)


def test_nothing_has_no_curve() -> None:
    assert curve({}, 0.0) == []
