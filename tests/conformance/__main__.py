"""`python -m tests.conformance`: all judges, then docs/conformance.md.

The page is written when everything ran. The exit code is 0 when every judge is content.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import Harness, can_run_containers
from tests.clusters.errors import HarnessError
from tests.clusters.progress import begin
from tests.conformance import page
from tests.conformance import site as sites
from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes import by_design
from tests.conformance.kubernetes.compare import Comparison, compare
from tests.conformance.kubernetes.judge import Direct, Judge
from tests.conformance.kubernetes.lists import LISTS
from tests.conformance.kubernetes.run import Programs
from tests.conformance.virtual_kubelet import suite

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conformance.kubernetes.results import Result
    from tests.conformance.site import Site
    from tests.conformance.virtual_kubelet.verdicts import Verdict

    Progress = Callable[[str], None]

_OUT = Path(".conformance")
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "conformance.md"
_VIRTUAL_KUBELET, _KUBERNETES = "virtual-kubelet", "kubernetes"


def main(arguments: Sequence[str]) -> int:
    """Run the judges; returns the exit code."""
    options = _parser().parse_args(arguments)
    progress = begin()
    possible, reason = can_run_containers()
    if not possible:
        print(f"error: real containers cannot run here: {reason}", file=sys.stderr)
        return 1
    try:
        return _judge(options, progress)
    except (HarnessError, SuiteError, by_design.ListError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _judge(options: argparse.Namespace, progress: Progress) -> int:
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    by_design.read(by_design.FILE.read_text())  # say so now if it is wrong
    verdicts: list[Verdict] = []
    compared: Comparison | None = None
    with Harness(progress=progress) as harness:
        site = sites.build(harness, out / "agent", conformance=options.judge != _VIRTUAL_KUBELET)
        if options.judge != _KUBERNETES:
            verdicts = _virtual_kubelet(site, progress)
        if options.judge != _VIRTUAL_KUBELET:
            compared = _kubernetes(site, options, out, progress)
    problems = [f"virtual-kubelet, {v.name}: {v.output}" for v in verdicts if not v.passed]
    problems += compared.problems if compared else []
    if verdicts and compared and _is_whole(options):
        text = page.render(
            virtual_kubelet=verdicts,
            virtual_kubelet_version=suite.version(),
            kubernetes=compared,
            kubernetes_version=Programs.version(),
        )
        _PAGE.write_text(text)
        progress(f"written: {_PAGE}")
    for problem in problems:
        print(f"FAILED {problem}")
    if compared:
        print(f"Kubernetes: {compared.through} of {compared.direct} pass through the virtual node")
    return 1 if problems else 0


def _is_whole(options: argparse.Namespace) -> bool:
    return not options.focus and not options.list and not options.judge


def _virtual_kubelet(site: Site, progress: Progress) -> list[Verdict]:
    program = suite.ensure(progress)
    verdicts = sites.judge_by_virtual_kubelet(site, program)
    for verdict in verdicts:
        word = "passed" if verdict.passed else "FAILED"
        progress(f"virtual-kubelet: {verdict.name} {word} in {verdict.seconds:.1f} s")
    return verdicts


def _kubernetes(
    site: Site, options: argparse.Namespace, out: Path, progress: Progress
) -> Comparison:
    judge = Judge(
        Programs.ensure(progress),
        out=out,
        part=options.focus,
        processes=options.processes,
        progress=progress,
    )
    chosen = [LISTS[options.list]] if options.list else list(LISTS.values())
    plans = [(tests, names) for tests in chosen if (names := judge.plan(tests))]
    if not plans:
        raise SuiteError(f"no test of the lists has a name that matches {options.focus!r}")
    direct = Direct({}, set())
    for tests, names in plans:
        if options.direct:
            direct |= judge.earlier(tests, names, options.direct.resolve())
        else:
            direct |= judge.direct(tests, names, site.compute)
    through: dict[str, Result] = {}
    with sites.agent_for_kubernetes(site):
        for tests, names in plans:
            through |= judge.through(tests, names, site.tenant)
    return compare(
        direct=direct.results,
        through=through,
        with_pods=direct.with_pods,
        by_design=by_design.read(by_design.FILE.read_text()),
        whole=not options.focus and not options.list,
    )


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"no regular expression: {error}") from error
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--judge", choices=[_VIRTUAL_KUBELET, _KUBERNETES], help="only this one")
    parser.add_argument("--list", choices=list(LISTS), help="only this list of Kubernetes' tests")
    parser.add_argument("--focus", type=_expression, help="only tests of the lists that match")
    parser.add_argument("--processes", type=int, help="how many of Kubernetes' tests run at once")
    parser.add_argument("--direct", type=Path, help="take the direct run from this earlier --out")
    parser.add_argument("--out", type=Path, default=_OUT, help="for reports and logs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
