"""Ginkgo's JSON report, read into one `Result` per test.

In: the report that `e2e.test --report-complete-ginkgo` writes. Out: what ran, by name. Tests that
were not chosen are left out. A suite that broke before its tests raises `SuiteError`.
https://pkg.go.dev/github.com/onsi/ginkgo/v2/types#Report
"""

from __future__ import annotations

import enum
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conformance.errors import SuiteError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NANOSECOND = 1e-9
_LONGEST_REASON = 400


class State(enum.StrEnum):
    """How a test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Chosen, but the test itself found that it cannot run."""


@dataclass(frozen=True)
class Result:
    """One test that ran."""

    name: str
    group: str
    """The outermost heading under which the test stands, e.g. `[sig-node] Probing container`."""
    state: State
    seconds: float
    reason: str = ""
    """Why it failed or was skipped, in one line."""

    @property
    def passed(self) -> bool:
        """Whether it passed."""
        return self.state is State.PASSED


def read_report(text: str) -> dict[str, Result]:
    """Results by test name. Raises SuiteError when a set-up or tear-down of the suite failed."""
    found: dict[str, Result] = {}
    broken: list[str] = []
    for suite in json.loads(text):
        broken.extend(suite.get("SpecialSuiteFailureReasons") or ())
        for spec in suite.get("SpecReports") or ():
            if spec["LeafNodeType"] == "It":
                found.update({result.name: result for result in _result(spec)})
            elif spec["State"] not in ("passed", "skipped"):
                broken.append(f"{spec['LeafNodeType']}: {_reason(spec)}")
    if broken and not found:
        raise SuiteError("; ".join(broken))
    return found


def _result(spec: Mapping[str, Any]) -> Iterator[Result]:
    headings = [*(spec.get("ContainerHierarchyTexts") or ()), spec["LeafNodeText"]]
    reason = _reason(spec)
    if spec["State"] == "passed":
        state = State.PASSED
    elif spec["State"] in ("skipped", "pending"):
        if not reason:
            return  # not chosen
        state = State.SKIPPED
    else:
        state, reason = State.FAILED, reason or str(spec["State"])
    yield Result(
        name=" ".join(headings),
        group=headings[0],
        state=state,
        seconds=spec.get("RunTime", 0) * _NANOSECOND,
        reason=reason,
    )


def _reason(spec: Mapping[str, Any]) -> str:
    failure = spec.get("Failure") or {}
    text = failure.get("Message") or failure.get("ForwardedPanic") or ""
    return re.sub(r"\s+", " ", text).strip()[:_LONGEST_REASON]
