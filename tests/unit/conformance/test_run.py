"""e2e.test is called as planned; what comes out of it is read. Shell scripts stand in for it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.conformance.errors import SuiteError
from tests.conformance.kubernetes.calling import Lines, call
from tests.conformance.kubernetes.lists import SIG_NODE
from tests.conformance.kubernetes.run import Programs, plan, report_file, run

NAMES = ("[sig-node] Pods a", "[sig-node] Probes b")


def _report(*names: str) -> str:
    specs = [
        {"LeafNodeType": "It", "LeafNodeText": name, "State": "passed", "RunTime": 1}
        for name in names
    ]
    return json.dumps([{"SpecReports": specs}])


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """Programs that print the ends of two tests and their own command line, and report."""
    (tmp_path / "report").write_text(_report(*NAMES))
    script = tmp_path / "program"
    script.write_text(f"""#!/bin/sh
for word; do
  echo "$word" >> {tmp_path}/words
  case $word in --report-dir=*) folder=${{word#*=}} ;; esac
done
printf '\\342\\200\\242 [1.000 seconds]\\n[sig-node] Pods a [x, y]\\n'
mkdir -p "$folder/ginkgo" && cp {tmp_path}/report "$folder/ginkgo/report.json"
exit 1
""")
    script.chmod(0o755)
    return Programs(script, script, Path("/kubectl"))


def _run(programs: Programs, folder: Path, *names: str) -> tuple[dict[str, object], list[str]]:
    said: list[str] = []
    results = run(
        programs,
        names,
        chosen=SIG_NODE,
        kubeconfig=Path("/kubeconfig"),
        processes=3,
        folder=folder,
        progress=said.append,
    )
    return dict(results), said


def test_the_plan_is_what_a_dry_run_chooses_and_the_expression_matches(
    programs: Programs, tmp_path: Path
) -> None:
    assert plan(programs, SIG_NODE, None, tmp_path / "out") == sorted(NAMES)
    assert plan(programs, SIG_NODE, "Probes", tmp_path / "out") == ["[sig-node] Probes b"]
    assert "--ginkgo.dry-run" in (tmp_path / "words").read_text()


def test_results_of_the_named_tests_are_read_though_tests_failed(
    programs: Programs, tmp_path: Path
) -> None:
    results, said = _run(programs, tmp_path / "out", NAMES[0])
    assert list(results) == [NAMES[0]]
    assert said == ["1/1, 0 failed: [sig-node] Pods a: passed, 1.000 s"]
    words = (tmp_path / "words").read_text().splitlines()
    assert {"--procs=3", r"--focus= \[sig\-node\] Pods a$", "--kubeconfig=/kubeconfig"} <= {*words}


def test_an_old_report_is_not_taken_for_this_run_s(programs: Programs, tmp_path: Path) -> None:
    old = report_file(tmp_path / "out")
    old.parent.mkdir(parents=True)
    old.write_text(_report(*NAMES))
    programs.ginkgo.write_text("#!/bin/sh\n")
    with pytest.raises(SuiteError, match="no report"):
        _run(programs, tmp_path / "out", NAMES[0])


def test_lines_are_told_whole() -> None:
    told: list[str] = []
    lines = Lines(told.append)
    for piece in ("a", "b\nc", "\n", "d"):
        lines.feed(piece)
    assert told == ["ab", "c"]


def test_temporary_files_of_a_program_go_with_it(tmp_path: Path) -> None:
    call(["sh", "-c", "mktemp"], tmp_path / "log", timeout=10, tell=lambda line: None)
    assert not Path((tmp_path / "log").read_text().strip()).exists()


def test_a_program_that_does_not_end_is_ended_with_its_children(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 60 & echo $!; wait"]
    told: list[str] = []
    with pytest.raises(SuiteError, match="no end"):
        call(command, tmp_path / "log", timeout=0.6, tell=told.append)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)
