"""The API server's clock as its answers tell it."""

from email.utils import formatdate

import pytest

from vnode.kube.server_time import ServerTime


class Clocks:
    """Ours: one that somebody may set, and one that only goes on."""

    def __init__(self) -> None:
        self.unix = 1_000_000.0
        self.monotonic = 50.0

    def pass_time(self, seconds: float) -> None:
        self.unix += seconds
        self.monotonic += seconds


def _server(clocks: Clocks) -> ServerTime:
    return ServerTime(unix=lambda: clocks.unix, monotonic=lambda: clocks.monotonic)


def _date(seconds: float) -> str:
    return formatdate(seconds, usegmt=True)


def test_before_the_first_answer_both_clocks_are_taken_for_equal() -> None:
    assert _server(Clocks()).offset == 0.0


def test_the_date_of_an_answer_is_the_middle_of_its_second() -> None:
    clocks = Clocks()
    server = _server(clocks)
    server.note(_date(1_000_100.0))
    clocks.pass_time(7.0)
    assert server.offset == pytest.approx(100.5)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_setting_our_clock_changes_nothing_of_the_server_s_time(step: float) -> None:
    clocks = Clocks()
    server = _server(clocks)
    server.note(_date(1_000_000.0))
    clocks.pass_time(10.0)
    clocks.unix += step
    assert clocks.unix + server.offset == pytest.approx(1_000_010.5)


def test_an_answer_after_the_server_s_clock_was_set_is_believed() -> None:
    clocks = Clocks()
    server = _server(clocks)
    server.note(_date(1_000_000.0))
    server.note(_date(1_003_600.0))
    assert server.offset == pytest.approx(3600.5)


def test_the_same_second_again_tells_nothing_new() -> None:
    clocks = Clocks()
    server = _server(clocks)
    server.note(_date(1_000_000.0))
    clocks.pass_time(0.9)
    server.note(_date(1_000_000.0))
    assert server.offset == pytest.approx(0.5)


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_that_cannot_be_read_is_passed_over(date: str) -> None:
    server = _server(Clocks())
    server.note(date)
    assert server.offset == 0.0
