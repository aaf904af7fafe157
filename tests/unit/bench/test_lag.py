import math
from collections import Counter

from prometheus_client import CollectorRegistry, generate_latest

from federation.telemetry import FederationMetrics
from tests.bench.lag import late, not_exceeded


def _shown(*seconds: float) -> str:
    registry = CollectorRegistry()
    metrics = FederationMetrics(registry)
    for each in seconds:
        metrics.loop_late(each)
    return generate_latest(registry).decode()


def test_wake_ups_are_read_from_what_the_agent_shows() -> None:
    found = late(_shown(0.0, 0.0005, 0.3, 99.0))
    assert +found == {0.001: 2, 0.5: 1, math.inf: 1}


def test_the_difference_of_two_looks_is_what_came_between() -> None:
    assert late(_shown(0.0, 0.3)) - late(_shown(0.0)) == {0.5: 1}


def test_a_share_is_told_by_the_bound_that_it_keeps() -> None:
    found = Counter({0.001: 98, 0.1: 1, math.inf: 1})
    assert [not_exceeded(found, share) for share in (0.5, 0.98, 0.99, 1.0)] == [
        0.001,
        0.001,
        0.1,
        math.inf,
    ]
    assert math.isnan(not_exceeded(Counter(), 0.5))
