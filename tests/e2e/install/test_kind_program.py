"""The real kind takes our configuration, up to where it needs a container engine.

kind is built from its Go module; its engine is a `docker` that can do nothing. kind parses the
configuration strictly and validates it before it asks for the first container.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.clusters import CommandError, UnsupportedError, kind, programs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.apart

_DOCKER = """#!/bin/sh
case "$1" in
-v) echo "Docker version 28.0.0, build 0" ;;
info) echo '{"CgroupVersion": "2", "MemoryLimit": true, "PidsLimit": true, "CPUShares": true}' ;;
ps|inspect) ;;
*) echo "no containers here" >&2; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def program() -> Path:
    if shutil.which("go") is None:
        pytest.skip("kind is built with Go, which is not here")
    return programs.ensure([programs.KIND], print)[programs.KIND]


@pytest.fixture
def make(program: Path, tmp_path: Path) -> Callable[[bool], kind.Kind]:
    """kind with an engine that can do nothing, or without one."""

    def made(engine: bool) -> kind.Kind:
        tools = tmp_path / "bin"
        tools.mkdir()
        (tools / "kind").symlink_to(program)
        if engine:
            (tools / "docker").write_text(_DOCKER)
            (tools / "docker").chmod(0o755)
        environment = {"PATH": str(tools)}
        folder = tmp_path / "state"
        return kind.Kind(folder, uid=lambda _: "", progress=print, environment=environment)

    return made


@pytest.mark.parametrize("name", ["tenant", "gpu-a"])
def test_kind_accepts_the_configuration(make: Callable[[bool], kind.Kind], name: str) -> None:
    with pytest.raises(CommandError, match=f'(?s)Creating cluster "vnode-{name}".*no containers'):
        make(True).create(name)


def test_kind_would_refuse_a_wrong_one(
    make: Callable[[bool], kind.Kind], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (kind.CONFIGS / "compute.yaml").read_text()
    (tmp_path / "compute.yaml").write_text(text.replace("labels:", "lables:"))
    monkeypatch.setattr(kind, "CONFIGS", tmp_path)
    with pytest.raises(CommandError, match=r"field lables not found in type v1alpha4.Node"):
        make(True).create("gpu-a")


def test_without_a_container_engine_there_is_one_clear_error(
    make: Callable[[bool], kind.Kind],
) -> None:
    with pytest.raises(UnsupportedError, match=r"(?s)docker.*start Docker.*CLUSTERS=existing"):
        make(False).create("tenant")
