"""What the documentation says exists: links, files, names, commands, settings; its examples run.

A page is read as blocks of code (with their language), code in running text, and links. Blocks
marked `python run` are run, all of one page in one namespace.
"""

import importlib
import inspect
import itertools
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, get_args

import pytest
import typer
import yaml

from federation.cli import app
from federation.config import config_schema, load_config
from tests.e2e.lifecycle.needs import CAPABILITIES, Need, exemptions
from tests.e2e.lifecycle.places import PLACES
from vnode.backend import ObservedPod, PodBackend, Sight
from vnode.kube.types import UID, NodeName, ObjectKey
from vnode.pods import lifecycle
from vnode.pods.partition.policy import HOLDS, Loss
from vnode.pods.view import PodView, copy_mark

ROOT = Path(__file__).resolve().parents[2]
CODE = ("vnode", "federation", "tests")
"""Packages whose modules and names pages may mention."""

_FENCE = re.compile(r"^ *```([^\n`]*)\n(.*?)^ *```$", re.M | re.S)
_INLINE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_TARGET = re.compile(r"^([a-z][a-z0-9-]*):", re.M)
_PATH = re.compile(r"[\w.~-]+(/[\w.*-]+)*/?")
_VARIABLE = re.compile(r"([A-Z][A-Z_]{3,})(?:=\S*)?")


@dataclass(frozen=True)
class Block:
    """A block of code; `info` is what stands behind the opening fence."""

    info: str
    text: str


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path

    @property
    def blocks(self) -> list[Block]:
        return [Block(info.strip(), text) for info, text in _FENCE.findall(self.path.read_text())]

    @property
    def prose(self) -> str:
        """The text without blocks of code."""
        return _FENCE.sub("", self.path.read_text())

    @property
    def inline(self) -> list[str]:
        """Code in the running text."""
        return _INLINE.findall(self.prose)

    @property
    def links(self) -> list[str]:
        return _LINK.findall(_INLINE.sub("", self.prose))

    @property
    def commands(self) -> list[str]:
        """Lines that somebody may type: of shell blocks, and code in the running text."""
        typed = [line for b in self.blocks if b.info == "sh" for line in b.text.splitlines()]
        return [line.partition(" #")[0].strip() for line in typed] + self.inline


def _pages() -> Iterator[Page]:
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        yield from (Page(Path(folder, name)) for name in files if name.endswith(".md"))


PAGES = sorted(_pages(), key=lambda page: page.path)
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.path.relative_to(ROOT)) for page in PAGES]
)


def test_the_pages_are_found() -> None:
    names = {str(page.path.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/testing.md"} <= names


# --- links, files, names --------------------------------------------------------------------------


def _anchors(page: Page) -> set[str]:
    """Anchors of headings, as GitHub forms them."""
    titles = (re.sub(r"[`*]", "", title).lower() for title in _HEADING.findall(page.prose))
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_somewhere(page: Page) -> None:
    broken = []
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        found = target.exists() and target.is_relative_to(ROOT)
        if not found or (anchor and anchor not in _anchors(Page(target))):
            broken.append(link)
    assert not broken


def _paths(page: Page) -> Iterator[str]:
    """Code that looks like a file or folder of this repository."""
    drawn = [word for b in page.blocks if b.info == "text" for word in b.text.split()]
    for text in [*page.inline, *drawn]:
        places = (ROOT, page.path.parent)
        first = text.split("/")[0]
        in_folder = "/" in text and any((place / first).is_dir() for place in places)
        if _PATH.fullmatch(text) and (in_folder or re.search(r"\.(py|md|ya?ml|toml|json)$", text)):
            yield text


@each_page
def test_every_file_that_is_named_exists(page: Page) -> None:
    places = [ROOT, page.path.parent, *(ROOT / name for name in CODE)]
    missing = [name for name in _paths(page) if not any(any(place.glob(name)) for place in places)]
    assert not missing


@each_page
def test_every_python_name_exists(page: Page) -> None:
    pattern = re.compile(rf"(?:{'|'.join(CODE)})(?:\.[A-Za-z_]\w*)+")
    for name in filter(pattern.fullmatch, page.inline):
        pkgutil.resolve_name(name)


@cache
def _sources() -> str:
    """Everything that may read an environment variable, but for this file."""
    files = [path for folder in (*CODE, "demo") for path in (ROOT / folder).rglob("*.py")]
    files.append(ROOT / "Makefile")
    return "\n".join(path.read_text() for path in files if path != Path(__file__).resolve())


@each_page
def test_every_environment_variable_is_read_somewhere(page: Page) -> None:
    set_before = [word for line in page.commands for word in line.split() if "=" in word]
    found = map(_VARIABLE.fullmatch, [*page.inline, *set_before])
    names = {match[1] for match in found if match}
    assert not {name for name in names if not re.search(rf"\b{name}\b", _sources())}


# --- commands -------------------------------------------------------------------------------------


@each_page
def test_every_make_target_exists(page: Page) -> None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    named = {
        word
        for line in page.commands
        if (found := re.match(r"(?:[A-Z_]+=\S+ )*make ((?:[a-z][a-z0-9-]*\b ?)+)", line))
        for word in found[1].split()
    }
    assert named <= targets


def _check_vnode(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    for word in words:
        if commands := getattr(command, "commands", None):
            assert word in commands, f"vnode {' '.join(words)}: no command {word}"
            command = commands[word]
        elif word.startswith("-"):
            known = {option for p in command.params for option in p.opts}
            assert word.partition("=")[0] in known, f"vnode {' '.join(words)}: no option {word}"
    assert not hasattr(command, "commands"), f"vnode {' '.join(words)} is incomplete"


@each_page
def test_every_vnode_command_exists(page: Page) -> None:
    for line in page.commands:
        program, *words = line.split() or [""]
        if program == "vnode" and words:
            _check_vnode(words)


@each_page
def test_every_module_that_is_run_exists(page: Page) -> None:
    lines = [line for b in page.blocks if b.info == "sh" for line in b.text.splitlines()]
    for line in lines:
        if found := re.search(r"python -m ([\w.]+) (\w+)", line):
            main = importlib.import_module(f"{found[1]}.__main__")
            assert re.search(rf"\b{found[2]}\b", inspect.getsource(main)), line


def test_ci_runs_the_test_command_of_the_readme() -> None:
    shown = [b.text for b in Page(ROOT / "README.md").blocks if b.info == "sh"]
    assert any(re.search(r"^make test\b", text, re.M) for text in shown)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


# --- settings -------------------------------------------------------------------------------------


def _has_key(schema: dict[str, Any], node: dict[str, Any], keys: list[str]) -> bool:
    """Whether a dotted path of keys leads through the JSON Schema; lists are passed through."""
    if ref := node.get("$ref"):
        return _has_key(schema, schema["$defs"][ref.rpartition("/")[2]], keys)
    if not keys:
        return True
    inner = [*node.get("anyOf", []), *([node["items"]] if "items" in node else [])]
    if any(_has_key(schema, option, keys) for option in inner):
        return True
    properties = node.get("properties", {})
    return keys[0] in properties and _has_key(schema, properties[keys[0]], keys[1:])


@each_page
def test_every_setting_exists(page: Page) -> None:
    schema: dict[str, Any] = config_schema()
    top = "|".join(schema["properties"])
    named = [re.fullmatch(rf"((?:{top})(?:\.\w+)*)(?:: .*)?", text) for text in page.inline]
    paths = [found[1].split(".") for found in named if found]
    assert not [".".join(keys) for keys in paths if not _has_key(schema, schema, keys)]


@each_page
def test_every_configuration_that_is_shown_is_valid(page: Page, tmp_path: Path) -> None:
    for block in page.blocks:
        if block.info == "yaml" and "clusters" in (yaml.safe_load(block.text) or ()):
            file = tmp_path / "config.yaml"
            file.write_text(block.text)
            load_config(file)


# --- examples and tables --------------------------------------------------------------------------


def _run(page: Page) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "example"}
    for block in page.blocks:
        if block.info == "python run":
            exec(compile(block.text, str(page.path), "exec"), names)
    return names


@each_page
def test_every_python_example_runs(page: Page) -> None:
    assert all(b.info != "python" for b in page.blocks), "mark it `python run`"
    _run(page)


BACKENDS = Page(ROOT / "docs" / "backends.md")


def _signature(function: object) -> list[tuple[str, object]]:
    assert isinstance(function, FunctionType)
    return [(p.name, p.kind) for p in inspect.signature(function).parameters.values()]


def test_the_backend_of_the_guide_has_all_methods_of_a_backend() -> None:
    made = _run(BACKENDS)["FolderBackend"]
    for name, member in vars(PodBackend).items():
        if name.startswith("_"):
            continue
        assert hasattr(made, name), name
        if isinstance(member, FunctionType):
            assert _signature(getattr(made, name)) == _signature(member), name


def test_the_backend_of_the_guide_needs_nothing_but_vnode() -> None:
    example = "\n".join(b.text for b in BACKENDS.blocks if b.info == "python run")
    program = f"import sys\n{example}\nassert not {{'federation', 'tests'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=ROOT, timeout=9)


def test_what_puts_pods_together_needs_nothing_but_vnode() -> None:
    source = (ROOT / "tests" / "agents" / "pods.py").read_text()
    assert not re.findall(r"^ *(?:from|import) (federation|tests)\b", source, re.M)


def test_the_backend_of_the_guide_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text("\n".join(b.text for b in BACKENDS.blocks if b.info == "python run"))
    command = [sys.executable, "-m", "mypy", "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def _table(head: str) -> list[list[str]]:
    """A table of the page about backends, by its first cell."""
    lines = BACKENDS.path.read_text().partition(f"\n| {head} |")[2].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def test_the_table_of_backends_says_what_each_place_lacks() -> None:
    rows = {_INLINE.findall(row[0])[0]: row[1:] for row in _table("what")}
    assert rows.keys() == set(Need)
    for number, place in enumerate(PLACES):
        assert {need for need in Need if rows[need][number].startswith("no: ")} == place.lacks


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_place_lacks_what_its_capabilities_say(place: Any) -> None:
    missing = {need for need in CAPABILITIES if not getattr(place.capabilities, need.value)}
    assert missing == place.lacks & CAPABILITIES


def test_the_table_of_exemptions_names_every_test_that_is_left_out() -> None:
    listed = {
        (row[0], _INLINE.findall(row[1])[0], test)
        for row in _table("exempt")
        for test in _INLINE.findall(row[2])
    }
    assert listed == {(p.name, n.value, t) for p in PLACES for n, t in exemptions(p.lacks)}


def _rows(title: str) -> list[list[str]]:
    """The table of a section of the architecture page, without its head."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition(f"## {title}")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


_FRESH = PodView(
    key=ObjectKey("team-a", "train"),
    uid=UID("1f0c"),
    generation=1,
    node=NodeName("vnode-a"),
    phase="Pending",
    deleting=False,
    grace_seconds=None,
    forwarded=False,
    ended=False,
    place="",
    restart_policy="Never",
    service_account="default",
    readiness_gates=(),
    containers=frozenset({"main"}),
    daemon=False,
    digest="now",
)
_FORWARDED = replace(_FRESH, forwarded=True, phase="Running")
_ENDED = replace(_FORWARDED, phase="Succeeded")
_DELETING = replace(_FORWARDED, deleting=True, grace_seconds=30)
_LET_START = replace(_FORWARDED, let_start=True)
_WRITTEN = replace(_ENDED, ended=True)
_PODS: dict[str, list[PodView | None]] = {
    "any": [None, _FRESH, _FORWARDED, _ENDED, _DELETING],
    "none": [None],
    "there": [_FRESH, _FORWARDED, _ENDED, _DELETING],
    "none, or forwarded": [None, _FORWARDED, _ENDED, _WRITTEN, _DELETING],
    "being deleted, ended by our own word": [replace(_WRITTEN, deleting=True)],
    "never forwarded, being deleted": [
        replace(_FRESH, deleting=True),
        replace(_FRESH, deleting=True, phase="Failed"),
    ],
    "never forwarded, ended": [replace(_FRESH, phase="Failed")],
    "never forwarded": [_FRESH],
    "being deleted": [_DELETING],
    "being deleted, ended": [replace(_DELETING, phase="Failed")],
    "ended": [_ENDED],
    "alive": [_FRESH, _FORWARDED],
    "alive, restartPolicy Always": [replace(_FRESH, restart_policy="Always")],
    "alive, forwarded": [_FORWARDED, _LET_START],
    "alive, not let start yet": [
        _FRESH,
        replace(_FRESH, forwarded=True),
        replace(_FRESH, forwarded=True, copy=copy_mark("below-1")),
    ],
    "alive, of which a copy was let start or another one was marked": [
        _LET_START,
        replace(_FRESH, forwarded=True, copy=copy_mark("another")),
    ],
    "alive, never forwarded": [_FRESH],
}

_RUNS = ObservedPod(
    key=_FRESH.key,
    uid=_FRESH.uid,
    handle="below-1",
    node=_FRESH.node,
    digest="now",
    generation=1,
    status=b'{"phase":"Running"}',
)
_DONE = replace(
    _RUNS,
    status=b'{"phase":"Succeeded","containerStatuses":[{"state":{"terminated":'
    b'{"finishedAt":"2027-01-15T08:00:05Z"}}}]}',
)
_TOLD = replace(_RUNS, deleting=True, grace_seconds=30, removal_requested="2027-01-15T08:00:00Z")
_OBEYED = replace(_TOLD, status=_DONE.status)
_OLD = replace(_RUNS, digest="before")
_GONE = replace(_TOLD, gone=True)
_GATED = replace(_RUNS, status=b'{"phase":"Pending"}', gated=True)
_OTHERS = (replace(_RUNS, uid=UID("other")), replace(_RUNS, node=NodeName("vnode-b")))
_COPIES: dict[str, list[ObservedPod | None]] = {
    "any": [None, _RUNS, _DONE, _TOLD, _GONE],
    "none": [None],
    "gone": [_GONE, replace(_OBEYED, gone=True)],
    "none or gone": [None, _GONE],
    "there": [_RUNS, _DONE],
    "runs": [_RUNS, _OLD],
    "not being deleted": [_RUNS, _DONE],
    "being deleted": [_TOLD],
    "being deleted with a longer grace": [replace(_TOLD, grace_seconds=60)],
    "being deleted, or ended": [_TOLD, _DONE, replace(_OLD, status=_DONE.status)],
    "being deleted, ended because of it": [_OBEYED],
    "none, gone, being deleted or ended": [None, _GONE, _TOLD, _DONE],
    "gone, had ended before its removal was asked for": [replace(_DONE, gone=True)],
    "gated": [_GATED, replace(_GATED, digest="before")],
    "gated, being deleted": [replace(_GATED, deleting=True)],
    "gated, gone": [replace(_GATED, gone=True)],
    "made from the pod as it is": [_RUNS],
    "made from an older version": [_OLD, replace(_RUNS, generation=0)],
    "of another UID or node": [*_OTHERS],
    "of another UID or node, being deleted": [replace(c, deleting=True) for c in _OTHERS],
    "of another UID or node, gone": [replace(c, gone=True) for c in _OTHERS],
}
_SIGHTS = {"not looked yet": Sight.UNKNOWN, "complete": Sight.COMPLETE}
_CUT = Loss(silent=True)
_LOSSES = {
    "cut off for too long": replace(_CUT, overdue=True),
    "cut off for too long, no copy was asked for": replace(_CUT, overdue=True, unsent=True),
    "fenced": replace(HOLDS, fenced=True),
    "cut off, fenced": replace(_CUT, fenced=True),
    "cut off, an older one is fenced": replace(_CUT, held=True),
}


@pytest.mark.parametrize("row", _rows("What is decided"), ids=lambda row: " - ".join(row[:3]))
def test_a_row_of_the_table_of_decisions_is_what_is_decided(row: list[str]) -> None:
    known, pods, copies, says = row
    for pod, copy in itertools.product(_PODS[pods], _COPIES[copies]):
        loss = _LOSSES.get(known, HOLDS)
        sight = Sight.UNKNOWN if known in _LOSSES else _SIGHTS.get(known, Sight.BARRED)
        step = lifecycle.decide(pod, copy, sight=sight, loss=loss)
        assert f"`{type(step).__name__}`" == says.split(",")[0].split(";")[0].split(" ")[0]


def test_the_table_of_decisions_names_every_step() -> None:
    named = {name for row in _rows("What is decided") for name in _INLINE.findall(row[3])}
    assert named == {step.__name__ for step in get_args(lifecycle.Step)}


def test_the_table_of_marks_names_every_mark() -> None:
    from federation.backends.kubernetes import objects
    from federation.backends.kubernetes.translate import names

    marks = {
        value
        for module in (names, objects)
        for name, value in vars(module).items()
        if name.startswith(("LABEL_", "ANNOTATION_")) and isinstance(value, str)
    } - {names.ANNOTATION_COMPUTE_SCHEDULING}  # asked for by users, written by nobody
    assert {mark for row in _rows("Whose is it") for mark in _INLINE.findall(row[0])} == marks


def test_adrs_are_numbered_without_gaps_and_say_what_was_decided() -> None:
    pages = [page for page in PAGES if page.path.parent.name == "adr"]
    numbers = [int(page.path.name.split("-")[0]) for page in pages]
    assert numbers == list(range(1, len(numbers) + 1))
    for page in pages:
        for part in ("Status:", "**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in page.prose, page.path.name
