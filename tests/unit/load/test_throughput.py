from tests.load.throughput import Transfer, report

SIZE = 1 << 30


def transfer(way: str, direction: str, seconds: float, arrived: str = str(SIZE)) -> Transfer:
    return Transfer(way, direction, SIZE, arrived, seconds, agent_seconds=seconds / 4)


def both(way: str, *seconds: float) -> list[Transfer]:
    return [transfer(way, d, s) for d in ("out of the pod", "into the pod") for s in seconds]


def test_the_best_of_each_way_are_compared() -> None:
    made = report([*both("direct", 10, 7), *both("through", 30, 10)])
    assert made.passed
    assert "70%" in made.text()


def test_less_than_the_target_is_missed_in_each_direction() -> None:
    made = report([*both("direct", 6.9), *both("through", 10)])
    assert [line.partition(":")[0] for line in made.missed] == ["out of the pod", "into the pod"]


def test_a_byte_that_did_not_arrive_is_missed_however_fast_it_was() -> None:
    lost = transfer("through", "into the pod", 1, arrived=str(SIZE - 1))
    made = report([*both("direct", 10), *both("through", 10), lost])
    assert made.missed == [f"into the pod: every byte arrives: through: {SIZE - 1}"]
