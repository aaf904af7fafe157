"""A container engine of this machine, where one runs: it builds the agent's image as users do.

In: the Containerfile. Out: an archive as `docker save` writes it. Raises ProgramError when the
engine fails.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.clusters.agent_image import CONTAINERFILE, NAME, ROOT
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENGINES = ("docker", "podman")


def find() -> str | None:
    """The first engine that runs, not only its command; None where there is none."""
    return next(filter(_runs, _ENGINES), None)


def build(engine: str, archive: Path, progress: Callable[[str], None]) -> None:
    """Builds the agent's image and packs it."""
    built = (engine, "build", "--file", CONTAINERFILE, "--tag", NAME, ROOT)
    run_long(built, what=f"building {NAME} with {engine}", progress=progress)
    saved = (engine, "save", "--output", archive, NAME)
    run_long(saved, what=f"packing {NAME}", progress=progress)


def _runs(engine: str) -> bool:
    if shutil.which(engine) is None:
        return False
    done = subprocess.run(
        [engine, "info"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False
    )
    return done.returncode == 0
