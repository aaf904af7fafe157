"""What counts, what differs, and what makes the command fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.conformance.kubernetes.by_design import ByDesign
from tests.conformance.kubernetes.compare import Comparison, Group, compare
from tests.conformance.kubernetes.results import Result, State

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY = ByDesign("g b", "6, PVC", "no claims")


def _results(**states: State) -> dict[str, Result]:
    return {
        f"g {name}": Result(f"g {name}", "g", state, 1.0, "" if state is State.PASSED else "why")
        for name, state in states.items()
    }


def _compare(
    direct: dict[str, Result],
    through: dict[str, Result],
    *,
    with_pods: set[str] | None = None,
    by_design: Sequence[ByDesign] = (),
    whole: bool = True,
) -> Comparison:
    return compare(
        direct=direct,
        through=through,
        with_pods=set(direct) if with_pods is None else with_pods,
        by_design=by_design,
        whole=whole,
    )


def test_what_passes_both_ways_is_counted_and_no_problem() -> None:
    results = _results(a=State.PASSED, b=State.PASSED)
    found = _compare(results, results)
    assert (found.groups, found.direct, found.through) == ([Group("g", 2, 2)], 2, 2)
    assert not found.problems


def test_a_failure_through_the_virtual_node_is_a_problem() -> None:
    found = _compare(_results(a=State.PASSED), _results(a=State.FAILED))
    assert (found.direct, found.through) == (1, 0)
    assert found.problems == ["g a: failed: why"]


def test_a_test_that_skips_itself_or_is_missing_has_not_passed() -> None:
    direct = _results(a=State.PASSED, b=State.PASSED)
    found = _compare(direct, _results(a=State.SKIPPED))
    assert found.problems == ["g a: skipped: why", "g b: did not run"]


def test_what_fails_directly_does_not_count() -> None:
    found = _compare(_results(a=State.FAILED), _results(a=State.FAILED))
    assert found.direct == 0
    assert found.not_counted == {"g a": "failed directly too: why"}
    assert not found.problems


def test_what_starts_no_pod_does_not_count_but_is_named() -> None:
    found = _compare(_results(a=State.PASSED), _results(a=State.FAILED), with_pods=set())
    assert found.direct == 0
    assert found.not_counted == {
        "g a": "starts no pod (failed: why through the virtual node)",
    }


def _many(**changed: State) -> dict[str, Result]:
    return _results(**{f"x{i}": State.PASSED for i in range(40)}, **changed)


def test_a_committed_difference_is_no_problem() -> None:
    found = _compare(_many(b=State.PASSED), _many(b=State.FAILED), by_design=[ENTRY])
    assert [d.entry for d in found.differences] == [ENTRY]
    assert not found.problems


def test_a_committed_difference_that_passes_is_superfluous() -> None:
    results = _many(b=State.PASSED)
    found = _compare(results, results, by_design=[ENTRY])
    assert found.problems == ["superfluous in by_design.yaml, it passes: g b"]


def test_a_committed_difference_without_a_test_is_superfluous_when_all_ran() -> None:
    found = _compare(_many(), _many(), by_design=[ENTRY])
    assert found.problems == ["superfluous in by_design.yaml, no test has that name: g b"]
    assert not _compare(_many(), _many(), by_design=[ENTRY], whole=False).problems


def test_too_many_committed_differences_are_a_problem() -> None:
    all_of_them = ByDesign("g .*", "6", "everything")
    direct, through = _results(a=State.PASSED), _results(a=State.FAILED)
    found = _compare(direct, through, by_design=[all_of_them])
    assert found.problems == ["1 of 1 tests differ by design, more than 5%"]
