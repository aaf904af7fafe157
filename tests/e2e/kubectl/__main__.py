"""`python -m tests.e2e.kubectl`: run the tests of kubectl's verbs, then write docs/kubectl.md.

The page is written when every row was tried by all of its ways. The exit code is 0 if all held.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.e2e import test_kubectl
from tests.e2e.kubectl.page import render
from tests.e2e.kubectl.ways import rows

_ROOT = Path(__file__).resolve().parents[3]
_PAGE = _ROOT / "docs" / "kubectl.md"


class _Verdicts:
    """A plugin of pytest that keeps how each test ended."""

    def __init__(self) -> None:
        self.passed: dict[str, bool] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test passed if it was called and nothing about it failed."""
        name = report.nodeid.rpartition("::")[2]
        if report.failed:
            self.passed[name] = False
        elif report.when == "call" and report.passed:
            self.passed.setdefault(name, True)


def main() -> int:
    """Run, and write the page if nothing is missing."""
    verdicts = _Verdicts()
    code = int(pytest.main([test_kubectl.__file__, f"--rootdir={_ROOT}"], plugins=[verdicts]))
    tests = {
        (row.shows, way): f"{name}[{way}]" for name, row in rows(test_kubectl) for way in row.ways
    }
    missing = sorted(set(tests.values()) - verdicts.passed.keys())
    if missing:
        print(f"not written, since these were not tried: {', '.join(missing)}", file=sys.stderr)
        return code or 1
    held = {key: verdicts.passed[test] for key, test in tests.items()}
    _PAGE.write_text(render([row for _, row in rows(test_kubectl)], held))
    print(f"written: {_PAGE}")
    return code


if __name__ == "__main__":
    sys.exit(main())
