"""The last words of a run of all tests."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.outcome import OPTION, Run, summary

ROOT = Path(__file__).parents[3]
TESTS = """
import pytest

@pytest.fixture
def untidy():
    yield
    raise RuntimeError("the mount is busy")

@pytest.fixture
def missing():
    raise LookupError("no cluster")

@pytest.fixture
def untidy_too():
    yield
    raise OSError("nobody answers")

def test_good(): pass
def test_left_out(): pytest.skip("not here")
def test_bad():
    secret = "hidden"
    print(secret)
    assert [1, 2] == [1, 3], "the numbers" + " of" * 200
def test_not_begun(missing): pass
def test_untidy(untidy): pass
def test_untidy_twice(untidy, untidy_too): pass
"""


def _run(folder: Path, tests: str, *options: str) -> Run:
    (folder / "test_them.py").write_text(tests)
    outcomes = folder / "outcomes"
    plugin = ("-p", "tests.e2e.outcome", f"{OPTION}={outcomes}")
    places = (f"--rootdir={folder}", f"--confcutdir={folder}", str(folder))
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", *plugin, *places, *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    return Run("apart", done.returncode, outcomes)


LEFT = """
import gc
import pytest

class Mount:
    def __del__(self): raise OSError("still busy")

@pytest.fixture
def left():
    yield
    Mount()
    gc.collect()

@pytest.fixture
def tasks():
    yield
    raise ExceptionGroup("tasks", [ValueError("the first"), KeyError("the second")])

def test_left(left): pass
def test_tasks(tasks): pass
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "workers"])
def test_every_fault_is_told_with_its_phase_and_its_error(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    run = _run(tmp_path, TESTS, *options)
    told = summary([run])
    heads = {line for line in told.splitlines() if not line.startswith(" ")}
    assert heads == {
        "apart: failed in call of test_them.py::test_bad",
        "apart: error in setup of test_them.py::test_not_begun",
        "apart: error in teardown of test_them.py::test_untidy",
        "apart: error in teardown of test_them.py::test_untidy_twice",
        "apart: 3 passed, 1 failed, 3 error, 1 skipped (exit code 1)",
    }
    for error in ("RuntimeError: the mount is busy", "LookupError: no cluster", "OSError: nobody"):
        assert error in told
    assert "hidden" not in told
    assert max(map(len, told.splitlines())) < 210


def test_what_was_left_to_the_collector_and_what_is_in_a_group_is_told(tmp_path: Path) -> None:
    told = summary([_run(tmp_path, LEFT, "-W", "error::pytest.PytestUnraisableExceptionWarning")])
    lines = [line.strip() for line in told.splitlines()]
    assert "OSError: still busy (test_them.py:6)" in lines
    assert lines[-3:-1] == ["ValueError: the first", "KeyError: 'the second'"]


def test_a_run_whose_tests_cannot_be_read_says_so(tmp_path: Path) -> None:
    told = summary([_run(tmp_path, "import nothing_of_that_name")])
    assert told.startswith("apart: error in collection of test_them.py\n    ")
    assert "No module named 'nothing_of_that_name'" in told
    assert told.endswith("apart: 1 error (exit code 2)")


def test_a_run_that_was_killed_has_told_what_it_knew(tmp_path: Path) -> None:
    tests = "def test_a(): pass\ndef test_b():\n    import os\n    os._exit(9)\n"
    told = summary([_run(tmp_path, tests)])
    assert told.startswith("apart: 1 passed (exit code 9), without a test that is to blame")


def test_of_many_faults_the_first_are_told(tmp_path: Path) -> None:
    tests = "\n".join(f"def test_{number}(): assert False" for number in range(30))
    lines = summary([_run(tmp_path, tests)]).splitlines()
    assert len(lines) < 23
    assert lines[-2:] == ["and 25 more: see above", "apart: 30 failed (exit code 1)"]


def test_all_runs_are_counted_and_that_all_passed_comes_last(tmp_path: Path) -> None:
    good = _run(tmp_path, "def test_a(): pass\ndef test_b(): pass")
    empty = Run("judges", 0, tmp_path / "missing")
    assert summary([good, empty]) == "apart: 2 passed\njudges: no test\nall passed"
