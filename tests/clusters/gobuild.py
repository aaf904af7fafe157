"""Builds programs from Go modules, through the module proxy that the go command is set to.

In: a folder with go.mod and go.sum, and package paths. Out: static executables in a folder.
Nothing is fetched but modules whose checksums stand in go.sum. Raises ProgramError.
"""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def build(
    module_folder: Path,
    packages: Mapping[str, str],
    *,
    version: str,
    output: Path,
    progress: Callable[[str], None],
    tests: bool = False,
) -> None:
    """Builds `packages` (program -> package path) into `output`; minutes for Kubernetes.

    With `tests` the programs are the packages' test binaries.
    """
    go = shutil.which("go")
    if go is None:
        raise ProgramError(
            "no release download and no Go: install Go or set KUBEBUILDER_ASSETS to a folder "
            f"with {', '.join(packages)}"
        )
    # Without -vet=off the go command also examines every dependency: 15 minutes more.
    verb = ("test", "-c", "-vet=off") if tests else ("build",)
    run_long(
        [
            go,
            *verb,
            "-trimpath",
            f"-ldflags={link_flags(version)}",
            f"-o={output}/",
            *packages.values(),
        ],
        what=f"building {', '.join(packages)} {version} from Go modules",
        progress=progress,
        folder=module_folder,
        environment={"CGO_ENABLED": "0", "GOWORK": "off"},
    )
    for program, package in packages.items():
        (output / f"{default_name(package)}{'.test' if tests else ''}").rename(output / program)


def default_name(package: str) -> str:
    """How the go command names the executable of a package: a major version is no name."""
    words = package.split("/")
    return words[-2] if re.fullmatch(r"v\d+", words[-1]) else words[-1]


def link_flags(version: str) -> str:
    """Linker flags: no debug information, and the version that Kubernetes programs report."""
    major, minor, _ = version.removeprefix("v").split(".", 2)
    component = "k8s.io/component-base/version"
    return " ".join(
        [
            "-s -w",
            f"-X {component}.gitVersion={version}",
            f"-X {component}.gitMajor={major}",
            f"-X {component}.gitMinor={minor}",
            f"-X k8s.io/client-go/pkg/version.gitVersion={version}",
        ]
    )
