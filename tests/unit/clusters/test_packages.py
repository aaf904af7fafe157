"""Packages are installed by one process at a time: of two apt-get at once, one fails."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.clusters import packages
from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

_APT_GET = """#!/bin/sh
mkdir {folder}/busy || {{ echo "E: Could not get lock"; exit 100; }}
sleep 0.2
echo "$@" >> {folder}/calls
case "$*" in
*install*) for name in "$@"; do last=$name; done
    printf '#!/bin/sh\\n' > {folder}/$last && chmod 755 {folder}/$last;;
esac
rmdir {folder}/busy
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only programs beside those of the system: an apt-get that makes what it is asked for."""
    (tmp_path / "apt-get").write_text(_APT_GET.format(folder=tmp_path))
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("VNODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "getuid", lambda: 0)
    return tmp_path


def _ensure(name: str) -> None:
    packages.ensure_programs({name: name}, lambda _: None)


def _installs(folder: Path) -> list[str]:
    return [call for call in (folder / "calls").read_text().splitlines() if " install " in call]


def test_two_that_want_different_packages_wait_for_each_other(folder: Path) -> None:
    with ThreadPoolExecutor() as both:
        assert list(both.map(_ensure, ["vnode-first", "vnode-second"])) == [None, None]
    assert len(_installs(folder)) == 2


def test_what_another_has_installed_meanwhile_is_not_installed_again(folder: Path) -> None:
    with ThreadPoolExecutor() as both:
        list(both.map(_ensure, ["vnode-same", "vnode-same"]))
    assert len(_installs(folder)) == 1


def test_what_is_here_needs_no_apt_get(folder: Path) -> None:
    _ensure("sh")
    assert not (folder / "calls").exists()


def test_users_without_rights_are_told_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(ProgramError, match="vnode-missing: install them as root"):
        _ensure("vnode-missing")
    assert not (folder / "calls").exists()
