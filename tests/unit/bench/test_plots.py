from tests.bench.plots import by_delay, by_round, curves, memory, shares


def test_a_curve_begins_with_nothing_and_is_of_the_first_run() -> None:
    runs = [
        {"variant": "floor", "curve": [[2.0, 10]]},
        {"variant": "direct", "curve": [[1.0, 10]]},
        {"variant": "floor", "curve": [[9.0, 10]]},
    ]
    assert curves({"runs": runs}) == {
        "direct": [(0.0, 0.0), (1.0, 10)],
        "floor": [(0.0, 0.0), (2.0, 10)],
    }


def test_all_samples_are_below_the_slowest() -> None:
    found = shares({"added": [0.003, 0.001, 0.002], "own": [0.004]})
    assert found["added by the bridge"][-1] == (3.0, 1.0)
    assert found["added by the bridge"][0] == (1.0, 0.01)
    assert set(found["tenant: PATCH to watch"]) == {(4.0, n / 100) for n in range(1, 101)}


def test_rounds_begin_at_one() -> None:
    assert by_round([7.0, 5.0]) == [(1.0, 7.0), (2.0, 5.0)]


def test_each_delay_has_a_curve() -> None:
    delays = [{"delay": 0.0, "curve": [[1.0, 5]]}, {"delay": 0.1, "curve": [[2.0, 5]]}]
    assert by_delay({"delays": delays}) == {
        "0 ms": [(0.0, 0.0), (1.0, 5)],
        "100 ms": [(0.0, 0.0), (2.0, 5)],
    }


def test_memory_is_shown_by_tenants() -> None:
    moments = [{"tenants": 1, "api": 3 << 20, "etcd": 1 << 20}]
    assert memory({"moments": moments}) == {"API server": [(1, 3.0)], "etcd": [(1, 1.0)]}
