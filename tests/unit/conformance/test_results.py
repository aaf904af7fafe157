"""Ginkgo's report is read as what ran and how it ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes.results import State, read_report


def _spec(*texts: str, kind: str = "It", state: str = "passed", message: str = "") -> Any:
    *headings, leaf = texts
    return {
        "ContainerHierarchyTexts": headings or None,
        "LeafNodeType": kind,
        "LeafNodeText": leaf,
        "State": state,
        "RunTime": 1_500_000_000,
        **({"Failure": {"Message": message}} if message else {}),
    }


def _report(*specs: Any, special: list[str] | None = None) -> str:
    return json.dumps([{"SpecReports": specs, "SpecialSuiteFailureReasons": special}])


def test_a_test_is_named_by_all_its_headings_and_grouped_by_the_first() -> None:
    found = read_report(_report(_spec("[sig-node] Probes", "when slow", "restarts")))
    result = found["[sig-node] Probes when slow restarts"]
    assert (result.group, result.state, result.seconds) == ("[sig-node] Probes", State.PASSED, 1.5)


def test_tests_that_were_not_chosen_are_left_out() -> None:
    assert read_report(_report(_spec("a", "b", state="skipped"))) == {}


def test_a_test_that_skips_itself_says_why() -> None:
    found = read_report(_report(_spec("a", "b", state="skipped", message="needs\n  a GPU")))
    assert (found["a b"].state, found["a b"].reason) == (State.SKIPPED, "needs a GPU")


@pytest.mark.parametrize("state", ["failed", "panicked", "timedout", "interrupted", "aborted"])
def test_every_other_end_is_a_failure(state: str) -> None:
    found = read_report(_report(_spec("a", "b", state=state)))
    assert (found["a b"].state, found["a b"].reason) == (State.FAILED, state)


def test_nodes_of_the_suite_are_no_tests() -> None:
    assert read_report(_report(_spec("", kind="SynchronizedBeforeSuite"))) == {}


def test_a_broken_set_up_of_the_suite_says_nothing_about_the_node() -> None:
    broken = _spec("", kind="SynchronizedBeforeSuite", state="failed", message="no nodes")
    with pytest.raises(SuiteError, match="no nodes"):
        read_report(_report(broken))


def test_a_suite_that_was_ended_early_still_has_the_tests_that_ran() -> None:
    found = read_report(_report(_spec("a", "b"), special=["Interrupted by Timeout"]))
    assert list(found) == ["a b"]
