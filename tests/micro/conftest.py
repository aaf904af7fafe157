"""The comparison with the reference loop."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.micro import reference

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    Compare = Callable[[Callable[[], object], float], None]

_ROUNDS = 60
_WARM_UP = 3
_FOUND = pytest.StashKey[list[str]]()


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Compare:
    """Fails when some work takes more than so many times as long as the reference loop.

    The loop runs before each round of the work, and of many rounds the fastest counts on both
    sides: whatever else the machine does only adds time.
    """
    if not benchmark.enabled:
        pytest.skip("nothing is measured beside other tests: make micro")

    def judge(work: Callable[[], object], most: float) -> None:
        loops: list[float] = []
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            work, setup=lambda: loops.append(_seconds()), rounds=_ROUNDS, warmup_rounds=_WARM_UP
        )
        assert benchmark.stats is not None
        ratio = benchmark.stats.stats.min / min(loops)
        found = request.config.stash.setdefault(_FOUND, [])
        found.append(f"{request.node.name[5:]:50} {ratio:6.2f} x the loop, {most:g} x at most")
        assert ratio <= most, found[-1]

    return judge


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was found, thresholds beside it."""
    if found := terminalreporter.config.stash.get(_FOUND, None):
        terminalreporter.write_sep("-", "compared with the reference loop")
        terminalreporter.write_line("\n".join(found))


def _seconds() -> float:
    began = time.perf_counter()
    reference.loop()
    return time.perf_counter() - began
