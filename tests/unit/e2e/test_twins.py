"""Who has clusters of his own has a second tenant with the same names there, or says why not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.clusters import ClusterSpec
from tests.e2e import twins
from tests.e2e.twin import NAME

E2E = Path(twins.__file__).parent
SITES = {"test_kubectl.py": E2E / "kubectl" / "site.py"}
"""What starts the clusters of a module that does not do it itself."""


def _attributes(file: Path) -> set[str]:
    """Everything that is asked of a module with a dot."""
    nodes = ast.walk(ast.parse(file.read_text()))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


def _apart() -> list[str]:
    """Modules of tests with clusters of their own; a folder whose conftest marks them is one."""
    found = {file for file in E2E.rglob("*.py") if "pytest.mark.apart" in _attributes(file)}
    names = {str(file.relative_to(E2E)) for file in found}
    return sorted(name.removesuffix("/conftest.py") for name in names)


def _has_twin(name: str) -> bool:
    return "twins.beside" in _attributes(SITES.get(name, E2E / name))


@pytest.mark.parametrize("name", _apart())
def test_a_module_apart_has_a_twin_or_a_reason(name: str) -> None:
    if name in twins.WITHOUT:
        assert twins.WITHOUT[name]
        assert not (E2E / name).is_file() or not _has_twin(name), "it has one"
    else:
        assert _has_twin(name), "give it a twin (twins.beside), or a reason in twins.WITHOUT"


def test_every_reason_is_of_something_that_is_there() -> None:
    assert set(twins.WITHOUT) <= set(_apart())


def test_who_starts_clusters_of_his_own_is_marked_so() -> None:
    starters = {
        str(file.relative_to(E2E))
        for file in E2E.rglob("test_*.py")
        if any(each.endswith(".up") for each in _attributes(file))
    }
    assert starters <= set(_apart())


def test_a_harness_starts_a_twin_only_if_one_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLUSTERS", raising=False)
    monkeypatch.delenv(twins.WANTED, raising=False)
    assert twins.specs() == []
    monkeypatch.setenv(twins.WANTED, "1")
    assert twins.specs() == [ClusterSpec(NAME)]


def test_there_is_no_twin_on_given_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(twins.WANTED, "1")
    monkeypatch.setenv("CLUSTERS", "existing")
    assert twins.specs() == []
