import pytest

from tests.bench import targets


def test_speed_is_judged_by_medians() -> None:
    assert targets.of_speed([10.0, 10.0, 50.0], [13.0, 12.0, 99.0]).met
    assert not targets.of_speed([10.0, 10.0, 10.0], [13.1, 13.2, 1.0]).met


@pytest.mark.parametrize(
    ("automount", "writes", "met"),
    [(True, 7.004, True), (True, 7.01, False), (False, 7.0, False)],
)
def test_a_token_may_cost_two_writes(automount: bool, writes: float, met: bool) -> None:
    found = targets.of_cost(writes=writes, processor=0.0, peak=0.0, automount=automount, what="x")
    assert found[0].met is met


@pytest.mark.parametrize(("writes", "met"), [(8.0, True), (8.1, False)])
def test_sharing_may_cost_one_write(writes: float, met: bool) -> None:
    found = targets.of_cost(
        writes=writes, processor=0.0, peak=0.0, automount=True, what="x", shared=True
    )
    assert found[0].met is met


@pytest.mark.parametrize(("processor", "peak"), [(0.0141, 1e6), (0.001, 301e6)])
def test_processor_and_memory_are_judged(processor: float, peak: float) -> None:
    found = targets.of_cost(writes=1, processor=processor, peak=peak, automount=True, what="x")
    assert [target.met for target in found].count(False) == 1


def test_latency_is_judged_against_what_the_tenant_takes_itself() -> None:
    own = [0.004] * 100
    assert all(target.met for target in targets.of_latency([0.009] * 100, own))
    slow = [0.0091] * 99 + [0.019]
    assert [target.met for target in targets.of_latency(slow, own)] == [False, True]
    tail = [0.009] * 98 + [0.0191] * 2
    assert [target.met for target in targets.of_latency(tail, own)] == [True, False]


def test_the_worst_round_counts_for_what_foreign_pods_cost() -> None:
    found = targets.of_foreign(node_patches=[1, 21], processor=[0.1, 1.1], slowdown=1.1)
    assert [target.met for target in found] == [False, False, True]


def test_churn_is_judged_by_its_tail() -> None:
    assert targets.of_churn([0.1] * 99 + [9.0]).met
    assert not targets.of_churn([0.1] * 98 + [9.0] * 2).met


def test_one_write_after_a_restart_is_one_too_many() -> None:
    met = [
        target.met
        for target in targets.of_restart(seconds=15.0, writes=1, at_rest=0.02, resident=3e8)
    ]
    assert met == [True, False, True, True]


def test_distance_may_cost_a_fifth_of_the_speed() -> None:
    assert targets.of_distance(without=100.0, rate=80.0, delay=0.1).met
    assert not targets.of_distance(without=100.0, rate=79.0, delay=0.1).met
