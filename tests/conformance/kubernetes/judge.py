"""Lists of Kubernetes' tests, run on one cluster.

In: programs, a list and how much of it, a cluster. Out: results, and from the direct run which
tests start pods. Reports, logs and that evidence stay in the output folder, a folder per list, so
that a later run can take the direct results from there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes import run
from tests.conformance.kubernetes.pods import names_of_tests_with_pods
from tests.conformance.kubernetes.results import read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.clusters import Cluster
    from tests.conformance.kubernetes.lists import TestList
    from tests.conformance.kubernetes.results import Result
    from tests.conformance.kubernetes.run import Programs

_DIRECT, _THROUGH, _PLAN = "direct", "through", "plan"
_WITH_PODS = "tests-with-pods.json"


@dataclass(frozen=True)
class Direct:
    """What passes on this machine at all."""

    results: dict[str, Result]
    with_pods: set[str]
    """Names of the tests that start pods."""

    def __or__(self, other: Direct) -> Direct:
        """Both lists."""
        return Direct(self.results | other.results, self.with_pods | other.with_pods)


class Judge:
    """Runs lists of tests against clusters."""

    def __init__(
        self,
        programs: Programs,
        *,
        out: Path,
        part: str | None,
        processes: int | None,
        progress: Callable[[str], None],
    ) -> None:
        """`part`: only tests whose names it matches; `processes`: instead of the lists' own."""
        self._programs = programs
        self._out = out
        self._part = part
        self._processes = processes
        self._progress = progress

    def plan(self, chosen: TestList) -> list[str]:
        """Names of the tests of a list that are to run."""
        return run.plan(self._programs, chosen, self._part, self._folder(chosen, _PLAN))

    def direct(self, chosen: TestList, names: Sequence[str], compute: Cluster) -> Direct:
        """Run on the compute cluster's node, and see which tests start pods."""
        if compute.audit_log is None:
            raise SuiteError("the audit log of a given cluster cannot be read")
        results = self._run(chosen, names, compute, _DIRECT)
        with compute.audit_log.open() as audit:
            with_pods = names_of_tests_with_pods(audit) & set(names)
        evidence = self._folder(chosen, _DIRECT) / _WITH_PODS
        evidence.write_text(json.dumps(sorted(with_pods), indent=1))
        return Direct(results, with_pods)

    def earlier(self, chosen: TestList, names: Sequence[str], out: Path) -> Direct:
        """The direct results that an earlier run left in its output folder."""
        folder = out / chosen.name / _DIRECT
        results = read_report(run.report_file(folder).read_text())
        with_pods = set(json.loads((folder / _WITH_PODS).read_text()))
        if missing := set(names) - results.keys():
            raise SuiteError(
                f"{folder} has no result of {len(missing)} tests, e.g. {missing.pop()}"
            )
        return Direct({name: results[name] for name in names}, with_pods & set(names))

    def through(self, chosen: TestList, names: Sequence[str], tenant: Cluster) -> dict[str, Result]:
        """Run in the tenant."""
        return self._run(chosen, names, tenant, _THROUGH)

    def _run(
        self, chosen: TestList, names: Sequence[str], cluster: Cluster, kind: str
    ) -> dict[str, Result]:
        folder = self._folder(chosen, kind)
        processes = self._processes or chosen.processes
        self._progress(f"{chosen.name}, {kind}: {len(names)} tests, {processes} at once")
        results = run.run(
            self._programs,
            names,
            chosen=chosen,
            kubeconfig=cluster.kubeconfig,
            processes=processes,
            folder=folder,
            progress=lambda line: self._progress(f"{chosen.name}, {kind}: {line}"),
        )
        passed = sum(1 for result in results.values() if result.passed)
        self._progress(f"{chosen.name}, {kind}: {passed} of {len(names)} passed; logs in {folder}")
        return results

    def _folder(self, chosen: TestList, kind: str) -> Path:
        return self._out / chosen.name / kind
