"""ginkgo and e2e.test as processes.

In: programs, a kubeconfig with all rights, a choice of tests. Out: `Result`s, and a line of
progress per test that ends. Owned by the caller; the processes are gone when a call returns. Raises
`SuiteError` when the judge itself fails, which says nothing about the node.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.clusters import programs
from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes.lists import skip_expression
from tests.conformance.kubernetes.progress import ProgressLines
from tests.conformance.kubernetes.results import read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.conformance.kubernetes.lists import TestList
    from tests.conformance.kubernetes.results import Result

_RUN_SECONDS = 3 * 3600.0
_DRY_RUN_SECONDS = 300.0
_LOOK_SECONDS = 0.5
_END_SECONDS = 60.0


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
    report = _report_file(folder)
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
    _call(command, folder / "plan.log", timeout=_DRY_RUN_SECONDS, tell=lambda line: None)
    # A dry run says of every chosen test that it passed.
    names = sorted(name for name, result in _read(report).items() if result.passed)
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
    """Run tests of a list, all or the given names of it; each of them once."""
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

    _call(command, folder / "run.log", timeout=_RUN_SECONDS, tell=tell)
    wanted = set(names)
    return {n: r for n, r in _read(_report_file(folder)).items() if n in wanted}


def focus(chosen: TestList, names: Collection[str], most: int = 60) -> list[str]:
    """Flags that choose these tests: by name if they are few, else by the list's expression.

    Many expressions are slow, as each process compares them with thousands of names. Ginkgo puts
    the name of the suite before that of the test.
    """
    if len(names) > most:
        return [f"--focus={chosen.focus}"]
    return [f"--focus= {re.escape(name)}$".replace(r"\ ", " ") for name in sorted(names)]


def _report_file(folder: Path) -> Path:
    """Where e2e.test puts it."""
    return folder / "ginkgo" / "report.json"


def _read(report: Path) -> dict[str, Result]:
    try:
        return read_report(report.read_text())
    except FileNotFoundError:
        log = next(iter(sorted(report.parent.parent.glob("*.log"))), None)
        raise SuiteError(f"no report was written; see {log}") from None


def _call(command: list[str], log: Path, *, timeout: float, tell: Callable[[str], None]) -> None:
    """Run it to its end, telling what it prints; failed tests are no error here.

    What is left of its process group ends with us.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(log.parent / "ginkgo", ignore_errors=True)  # an old report is not this run's
    deadline = time.monotonic() + timeout
    with log.open("wb") as output, log.open(errors="replace") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise SuiteError(f"no end after {timeout:g} s; see {log}")
                time.sleep(_LOOK_SECONDS)
                for line in printed:
                    tell(line.rstrip("\n"))
        finally:
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group: first politely, so that tests clean up."""
    deadline = time.monotonic() + _END_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            process.poll()
            os.killpg(process.pid, 0)
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
