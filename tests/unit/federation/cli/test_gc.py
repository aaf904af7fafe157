"""`vnode gc`: what it prints, and what it asks before it deletes."""

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from federation.cli import app
from federation.config import AgentConfig
from federation.held import POD_EXISTS, HeldCopy
from federation.held_places import PlacedCopy
from tests.builders import make_error
from vnode.backend import Waiting
from vnode.kube.errors import Unreachable
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.pods.orphans import HeldReason

UNTIL = 1_800_000_000.0


def held(name: str, *, until: float | None = UNTIL) -> HeldCopy:
    copy = PlacedCopy(
        ObjectKey("team-a", name),
        UID(f"uid-of-{name}"),
        NodeName("vnode-gpu"),
        "2020-01-15T07:00:00Z",
        deleting=False,
        handle="below",
        below=ObjectKey("red--team-a", name),
    )
    return HeldCopy("gpu", copy, HeldReason.NODE_RECREATED, until)


class Copies:
    """What is held, and what was released."""

    def __init__(self, *found: HeldCopy) -> None:
        self.found = list(found)
        self.released: list[str] = []
        self.error: Exception | None = None
        self.refusal: Exception | None = None
        """What the release of the first one says."""

    async def find(self) -> list[HeldCopy]:
        if self.error is not None:
            raise self.error
        return self.found

    async def release(self, copy: HeldCopy) -> None:
        if self.refusal is not None and copy.key.name == "job-0":
            raise self.refusal
        self.released.append(copy.key.name)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Copies:
    made = Copies(held("job-0"), held("job-1", until=None))

    @contextlib.asynccontextmanager
    async def connected(config: AgentConfig) -> AsyncIterator[Copies]:
        yield made

    monkeypatch.setattr("federation.cli.gc.held_copies", connected)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("tenant: {name: red}\nclusters:\n- {name: gpu, kubeconfig: k}\n")
    return path


def gc(config: Path, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["gc", "--config", str(config), *arguments], input=answer)


def test_the_list_says_what_is_held_and_until_when(copies: Copies, config: Path) -> None:
    result = gc(config)
    assert result.exit_code == 0
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["CLUSTER", "POD", "NODE", "AGE", "REASON", "UNTIL"]
    assert first.split()[:3] == ["gpu", "team-a/job-0", "vnode-gpu"]
    assert first.split()[4:] == ["NodeRecreated", "2027-01-15T08:00:00Z"]
    assert second.split()[-1] == "-"
    assert not copies.released


def test_nothing_held_is_said_so(copies: Copies, config: Path) -> None:
    copies.found.clear()
    assert gc(config).stdout == "no copy is held\n"


def test_json_names_nothing_of_the_compute_cluster(copies: Copies, config: Path) -> None:
    result = gc(config, "-o", "json")
    first, second = json.loads(result.stdout)
    assert (first["namespace"], first["name"]) == ("team-a", "job-0")
    assert (first["reason"], first["until"]) == ("NodeRecreated", "2027-01-15T08:00:00Z")
    assert second["until"] is None


def test_release_deletes_what_is_named_after_a_yes(copies: Copies, config: Path) -> None:
    result = gc(config, "--release", "team-a/job-1", answer="y\n")
    assert result.exit_code == 0
    assert copies.released == ["job-1"]
    assert "released team-a/job-1 in gpu" in result.stderr


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_without_a_yes_nothing_is_deleted(copies: Copies, config: Path, answer: str) -> None:
    assert gc(config, "--all", answer=answer).exit_code == 0
    assert not copies.released


def test_yes_is_not_asked_for_where_it_was_given(copies: Copies, config: Path) -> None:
    gc(config, "--all", "--yes")
    assert copies.released == ["job-0", "job-1"]


@pytest.mark.parametrize(
    "refusal",
    [Waiting("it has its tenant pod", reason=POD_EXISTS), make_error(403, "forbidden")],
)
def test_one_that_is_refused_holds_no_other_up(
    copies: Copies, config: Path, refusal: Exception
) -> None:
    copies.refusal = refusal
    result = gc(config, "--all", "--yes")
    assert result.exit_code == 1
    assert copies.released == ["job-1"]
    assert f"not released team-a/job-0 in gpu: {refusal}" in result.stderr
    assert result.stderr.endswith("error: 1 of 2 were not released\n")


@pytest.mark.parametrize(
    "error",
    [Unreachable("timed out"), Waiting("the tenant is another cluster now", reason="OtherTenant")],
)
def test_what_is_the_same_for_all_ends_it(copies: Copies, config: Path, error: Exception) -> None:
    copies.refusal = error
    assert gc(config, "--all", "--yes").exit_code == 1
    assert not copies.released


def test_a_name_that_is_not_held_releases_nothing(copies: Copies, config: Path) -> None:
    result = gc(config, "--release", "team-a/job-0", "--release", "team-a/other", "--yes")
    assert result.exit_code == 1
    assert result.stderr == 'error: "team-a/other" is not held; see what is with: vnode gc\n'
    assert not copies.released


def test_errors_are_one_line(copies: Copies, config: Path) -> None:
    copies.error = Unreachable("tenant: GET /api/v1/pods: timed out")
    result = gc(config)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: tenant: GET /api/v1/pods: timed out; check")
