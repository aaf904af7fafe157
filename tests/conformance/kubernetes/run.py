"""ginkgo and e2e.test as processes.

In: programs, a kubeconfig with all rights, a choice of tests. Out: `Result`s, and a line of
progress per test that ends. Owned by the caller; the processes are gone when a call returns. Raises
`SuiteError` when the judge itself fails, which says nothing about the node.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clusters import programs
from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes.calling import call
from tests.conformance.kubernetes.lists import skip_expression
from tests.conformance.kubernetes.progress import ProgressLines
from tests.conformance.kubernetes.results import read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.conformance.kubernetes.lists import TestList
    from tests.conformance.kubernetes.results import Result

_RUN_SECONDS = 3 * 3600.0
_NODE_SECONDS = 120.0
"""The node is ready before; a taint that tests do not tolerate would be waited for in vain."""
_DRY_RUN_SECONDS = 300.0


@dataclass(frozen=True)
class Programs:
    """Executables of one release of Kubernetes."""

    e2e_test: Path
    ginkgo: Path
    kubectl: Path

    @staticmethod
    def version() -> str:
        """Release of Kubernetes."""
        return next(f.version for f in programs.FAMILIES if programs.E2E_TEST in f.packages)

    @classmethod
    def ensure(cls, progress: Callable[[str], None]) -> Programs:
        """Get them; the first time this builds for a quarter of an hour."""
        found = programs.ensure((programs.E2E_TEST, programs.GINKGO, programs.KUBECTL), progress)
        return cls(found[programs.E2E_TEST], found[programs.GINKGO], found[programs.KUBECTL])


def plan(executables: Programs, chosen: TestList, part: str | None, folder: Path) -> list[str]:
    """Names of the tests of a list, or of those of them that `part` (an expression) matches."""
    command = [
        str(executables.e2e_test),
        "--ginkgo.dry-run",
        f"--ginkgo.focus={chosen.focus}",
        f"--ginkgo.skip={skip_expression()}",
        "--report-complete-ginkgo",
        f"--report-dir={folder}",
        "--provider=skeleton",
        "--kubeconfig=/dev/null",
    ]
    _forget_report(folder)
    call(command, folder / "plan.log", timeout=_DRY_RUN_SECONDS, tell=lambda line: None)
    # A dry run says of every chosen test that it passed.
    names = sorted(name for name, result in _read(folder).items() if result.passed)
    return [name for name in names if part is None or re.search(part, name)]


def run(
    executables: Programs,
    names: Collection[str],
    *,
    chosen: TestList,
    kubeconfig: Path,
    processes: int,
    folder: Path,
    progress: Callable[[str], None],
) -> dict[str, Result]:
    """Run tests of a list, all or the given names of it (not none); each of them once."""
    command = [
        str(executables.ginkgo),
        "run",
        f"--procs={processes}",
        f"--timeout={_RUN_SECONDS:g}s",
        "-v",
        "--no-color",
        "--output-interceptor-mode=none",
        "--silence-skips",
        *focus(chosen, names),
        f"--skip={skip_expression()}",
        str(executables.e2e_test),
        "--",
        f"--kubeconfig={kubeconfig}",
        f"--kubectl-path={executables.kubectl}",
        "--provider=skeleton",
        "--num-nodes=1",
        f"--node-schedulable-timeout={_NODE_SECONDS:g}s",
        "--node-os-distro=debian",
        "--dump-logs-on-failure=false",
        "--disable-log-dump=true",
        "--report-complete-ginkgo",
        f"--report-dir={folder}",
    ]
    lines = ProgressLines(total=len(names))

    def tell(line: str) -> None:
        if text := lines.feed(line):
            progress(text)

    _forget_report(folder)
    call(command, folder / "run.log", timeout=_RUN_SECONDS, tell=tell)
    wanted = set(names)
    return {name: result for name, result in _read(folder).items() if name in wanted}


def focus(chosen: TestList, names: Collection[str], most: int = 60) -> list[str]:
    """Flags that choose these tests: by name if they are few, else by the list's expression.

    Many expressions are slow, as each process compares them with thousands of names. Ginkgo puts
    the name of the suite before that of the test.
    """
    if len(names) > most:
        return [f"--focus={chosen.focus}"]
    return [f"--focus= {re.escape(name)}$".replace(r"\ ", " ") for name in sorted(names)]


def report_file(folder: Path) -> Path:
    """Where e2e.test puts its report below its report folder."""
    return folder / "ginkgo" / "report.json"


def _forget_report(folder: Path) -> None:
    """An old report is not this run's."""
    report_file(folder).unlink(missing_ok=True)


def _read(folder: Path) -> dict[str, Result]:
    try:
        return read_report(report_file(folder).read_text())
    except FileNotFoundError:
        raise SuiteError(f"no report was written; see the log in {folder}") from None
