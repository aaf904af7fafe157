"""Builds programs from Go modules, through the module proxy that the go command is set to.

In: a folder with go.mod and go.sum, and package paths. Out: static executables in a folder.
Nothing is fetched but modules whose checksums stand in go.sum. Raises ProgramError.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_REPORT_EVERY = 10.0  # seconds


def build(
    module_folder: Path,
    packages: Mapping[str, str],
    *,
    version: str,
    output: Path,
    progress: Callable[[str], None],
) -> None:
    """Builds `packages` (program -> package path) into `output`; minutes for Kubernetes."""
    go = shutil.which("go")
    if go is None:
        raise ProgramError(
            "no release download and no Go: install Go or set KUBEBUILDER_ASSETS to a folder "
            f"with {', '.join(packages)}"
        )
    command = [
        go,
        "build",
        "-trimpath",
        f"-ldflags={link_flags(version)}",
        f"-o={output}/",
        *packages.values(),
    ]
    what = f"building {module_folder.name} {version}"
    progress(f"{what} from Go modules (Kubernetes: about five minutes on two cores)")
    started = time.monotonic()
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            command,
            cwd=module_folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=subprocess.STDOUT,
        ) as process:
            try:
                while True:
                    try:
                        code = process.wait(_REPORT_EVERY)
                        break
                    except subprocess.TimeoutExpired:
                        progress(f"{what}: {time.monotonic() - started:.0f} s")
            except BaseException:
                process.terminate()
                raise
        if code != 0:
            errors.seek(0)
            text = errors.read().decode(errors="replace")[-2000:]
            raise ProgramError(f"{what} failed:\n{text}")
    for program, package in packages.items():
        (output / default_name(package)).rename(output / program)
    progress(f"{what}: done in {time.monotonic() - started:.0f} s")


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
