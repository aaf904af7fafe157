import json
from collections.abc import Callable, Generator

import pytest

from tests.clusters.errors import StartError
from tests.clusters.programs import Progress
from tests.measuring import command
from tests.measuring.report import Report, Target


@pytest.fixture(autouse=True)
def _no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)


def _of(*verdicts: bool) -> Callable[[Progress], Generator[Report, None, None]]:
    def measure(progress: Progress) -> Generator[Report, None, None]:
        for met in verdicts:
            yield Report("title", [], [Target("small", "1 MiB", met=met)])

    return measure


def test_a_missed_target_is_the_exit_code() -> None:
    assert command.run(_of(True, True), output="text") == 0
    assert command.run(_of(True, False), output="text") == 1


def test_reports_are_json_on_stdout_if_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command.run(_of(True), output="json")
    assert [report["passed"] for report in json.loads(capsys.readouterr().out)] == [True]


def test_what_could_not_be_measured_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def measure(progress: Progress) -> Generator[Report, None, None]:
        yield Report("title", [], [])
        raise StartError("no etcd")

    assert command.run(measure, output="text") == 1
    assert "error: no etcd" in capsys.readouterr().err


def test_what_was_started_ends_when_the_command_is_interrupted() -> None:
    ended = []

    def measure(progress: Progress) -> Generator[Report, None, None]:
        try:
            yield Report("title", [], [])
            raise KeyboardInterrupt
        finally:
            ended.append(True)

    assert command.run(measure, output="text") == 130
    assert ended
