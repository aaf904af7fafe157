"""The Containerfile is understood as a builder would, and what is not understood is refused."""

import tomllib

import pytest

from tests.clusters.agent_image import CONTAINERFILE, NAME, ROOT
from tests.clusters.containerfile import DEFAULT_PATH, Copy, Run, parse
from tests.clusters.errors import ProgramError

OURS = parse(CONTAINERFILE.read_text())
IMAGE = OURS[-1]


def test_continued_lines_are_one_instruction_and_comments_are_none() -> None:
    (stage,) = parse("# about\nFROM a AS b\nRUN one \\\n# in between\n && two\n\nUSER 1:1\n")
    assert (stage.base, stage.name, stage.user) == ("a", "b", "1:1")
    assert stage.steps == (Run("one && two", "/", {"PATH": DEFAULT_PATH}),)


def test_a_stage_goes_on_where_the_one_it_builds_on_ended() -> None:
    text = "FROM a AS b\nWORKDIR /in\nENV X=1 Y='2 3'\nFROM b\nRUN go\nFROM other\nRUN go\n"
    _, after, apart = parse(text)
    assert after.steps == (Run("go", "/in", {"PATH": DEFAULT_PATH, "X": "1", "Y": "2 3"}),)
    assert apart.steps == (Run("go", "/", {"PATH": DEFAULT_PATH}),)


def test_an_environment_is_that_of_the_commands_after_it() -> None:
    (stage,) = parse("FROM a\nRUN before\nENV X=1\nRUN after\n")
    before, after = stage.steps
    assert isinstance(before, Run)
    assert isinstance(after, Run)
    assert "X" not in before.environment
    assert after.environment["X"] == "1"


def test_copies_go_to_the_folder_that_is_worked_in_or_to_a_whole_path() -> None:
    (stage,) = parse("FROM a\nWORKDIR /in\nCOPY one two ./\nCOPY --from=b /x /y\n")
    assert stage.steps == (Copy(("one", "two"), "/in/./"), Copy(("/x",), "/y", "b"))


@pytest.mark.parametrize(
    "line",
    [
        "ADD a b",
        "RUN --mount=type=cache,target=/x go",
        'RUN ["go"]',
        "COPY --chown=1 a b",
        "WORKDIR relative",
        "ENV PATH=/x:$PATH",
        "ENTRYPOINT go",
        "HEALTHCHECK NONE",
        "RUN go \\",
    ],
)
def test_what_cannot_be_carried_out_is_an_error(line: str) -> None:
    with pytest.raises(ProgramError, match="Containerfile"):
        parse(f"FROM a\n{line}\n")


def test_nothing_comes_before_the_first_stage() -> None:
    with pytest.raises(ProgramError, match="before the first FROM"):
        parse("RUN go\n")


def test_our_image_runs_the_agent_as_a_user_that_is_a_number_and_not_root() -> None:
    assert IMAGE.user == "65532:65532"
    assert IMAGE.entrypoint == ["/opt/vnode/bin/vnode"]
    assert IMAGE.environment["PATH"].startswith("/opt/vnode/bin:")


def test_every_library_of_our_image_is_checked_against_a_lock_file() -> None:
    commands = [
        part.strip()
        for stage in OURS
        for step in stage.steps
        if isinstance(step, Run)
        for part in step.command.split("&&")
        if "pip" in part and " install" in part and "apt-get" not in part
    ]
    assert len(commands) == 3
    for command in commands:
        assert "--require-hashes" in command or "--no-index" in command, command
    assert any("--requirement requirements-runtime.lock" in command for command in commands)


def test_all_that_our_image_copies_is_there_and_is_not_ignored() -> None:
    kept = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = {
        name
        for stage in OURS
        for step in stage.steps
        if isinstance(step, Copy) and step.stage is None
        for name in step.sources
    }
    assert copied == set(kept)
    for name in copied:
        assert (ROOT / name).exists(), name


def test_our_image_has_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"docker.io/library/{project['name']}:{project['version']}" == NAME
