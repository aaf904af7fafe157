"""`vnode check`: what it prints, and its exit codes."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federation.check.findings import Finding, ok, untried, warn, wrong
from federation.check.runner import Check
from federation.cli import app


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("tenant: {name: red}\nclusters:\n- {name: gpu, kubeconfig: k}\n")
    return path


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, Finding]]:
    """Where, check and finding: what the checks of this test say."""
    made: list[tuple[str, str, Finding]] = []

    def checks(site: object) -> list[Check]:
        def each(where: str, name: str, finding: Finding) -> Check:
            async def run() -> Sequence[Finding]:
                return [finding]

            return Check(where, name, run)

        return [each(*one) for one in made]

    @contextlib.asynccontextmanager
    async def opened(config: object, **options: object) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr("federation.check.checklist.checklist", checks)
    monkeypatch.setattr("federation.check.site.open_site", opened)
    return made


Found = list[tuple[str, str, Finding]]


def check(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["check", "--config", str(config), *arguments])


def test_all_is_well(found: Found, config: Path) -> None:
    found += [("tenant", "link", ok("it answers")), ("tenant", "rights", ok("all 3"))]
    result = check(config)
    assert result.exit_code == 0
    head, link, rights, _, total = result.stdout.splitlines()
    assert head.split() == ["WHERE", "CHECK", "RESULT", "WHAT"]
    assert link.split() == ["tenant", "link", "OK", "it", "answers"]
    assert rights.split() == ["rights", "OK", "all", "3"], "where it is stands once"
    assert total == "2 OK"


def test_warnings_and_what_was_not_tried_are_no_failure(found: Found, config: Path) -> None:
    found += [("gpu", "link", warn("http", "use https")), ("gpu", "kubelet", untried("no right"))]
    assert check(config).exit_code == 0


def test_what_is_wrong_comes_with_its_mend_on_one_line(found: Found, config: Path) -> None:
    mend = "kubectl apply -f " + "x" * 300
    found.append(("gpu", "rights", wrong("may not get pods/log", mend)))
    result = check(config)
    assert result.exit_code == 1
    assert f"-> {mend}\n" in result.stdout
    assert "1 WRONG" in result.stdout


def test_text_is_never_taken_for_markup(found: Found, config: Path) -> None:
    found.append(("gpu", "link", ok("clusters[0] [bold]")))
    assert "clusters[0] [bold]" in check(config).stdout


def test_a_kubeconfig_that_cannot_be_used_is_a_fault_of_the_configuration(
    found: Found, config: Path
) -> None:
    found += [("gpu", "kubeconfig", wrong("no such file")), ("tenant", "rights", wrong("none"))]
    assert check(config).exit_code == 2


def test_a_wrong_configuration_says_all_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("tenant: {name: UPPER}\nclusters: []\n")
    result = check(path)
    assert result.exit_code == 2
    assert result.stderr.count("error:") == 2


def test_json_has_every_finding(found: Found, config: Path) -> None:
    found += [("tenant", "link", ok("it answers")), ("gpu", "rights", wrong("none", "apply"))]
    result = check(config, "-o", "json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["ok"] is False
    assert shown["checks"] == [
        {"where": "tenant", "check": "link", "result": "OK", "text": "it answers", "mend": None},
        {"where": "gpu", "check": "rights", "result": "WRONG", "text": "none", "mend": "apply"},
    ]


def test_what_takes_long_is_said_on_stderr(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow() -> Sequence[Finding]:
        for _ in range(10):
            await asyncio.sleep(0)
        return [ok("at last")]

    @contextlib.asynccontextmanager
    async def opened(config: object, **options: object) -> AsyncIterator[None]:
        yield None

    monkeypatch.setattr(
        "federation.check.checklist.checklist", lambda s: [Check("gpu", "link", slow)]
    )
    monkeypatch.setattr("federation.check.site.open_site", opened)
    monkeypatch.setattr("federation.cli.check._PATIENCE", 0.0)
    result = check(config)
    assert "still checking: link of gpu\n" in result.stderr
    assert "at last" in result.stdout


@pytest.mark.parametrize("text", ["gpu", "other=file", "gpu="])
def test_an_administrator_of_an_unknown_cluster_is_refused(config: Path, text: str) -> None:
    result = check(config, "--compute-kubeconfig", text)
    assert result.exit_code == 2
    assert "CLUSTER=FILE" in result.stderr


def test_every_cluster_whose_kubeconfig_is_missing_is_named_and_nothing_else_is_tried(
    config: Path,
) -> None:
    result = check(config, "-o", "json")
    assert result.exit_code == 2
    checks = json.loads(result.stdout)["checks"]
    wrong_ones = {each["where"] for each in checks if each["result"] == "WRONG"}
    assert wrong_ones == {"tenant", "gpu"}
    assert "not tried since kubeconfig of gpu failed" in {each["text"] for each in checks}
