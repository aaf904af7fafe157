from tests.bench.plots import curves, shares


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
