"""Fluid's own CRDs, from its Go module; nothing of them is copied into this repository.

In: the module proxy that the go command is set to. Out: manifests of Dataset, ThinRuntime,
ThinRuntimeProfile and DataLoad. Raises ProgramError when there is no Go or no such module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.clusters.errors import ProgramError

MODULE = "github.com/fluid-cloudnative/fluid@v1.0.8"
_SUM = "h1:sZEOFWo5N8r+RyyD9PyLB3GgjergRR4yKspn64dltS8="
_FOLDER = "charts/fluid/fluid/crds"
KINDS = ("datasets", "thinruntimes", "thinruntimeprofiles", "dataloads")
_DOWNLOAD_SECONDS = 180.0


def crds() -> list[Any]:
    """The CustomResourceDefinitions of `KINDS`."""
    folder = source() / _FOLDER
    return [yaml.safe_load((folder / f"data.fluid.io_{kind}.yaml").read_text()) for kind in KINDS]


def source() -> Path:
    """Folder of Fluid's source, in the go command's cache of modules."""
    go = shutil.which("go")
    if go is None:
        raise ProgramError("Fluid's CRDs come from its Go module: install Go")
    command = [go, "mod", "download", "-json", MODULE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_DOWNLOAD_SECONDS, cwd="/", check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ProgramError(f"{MODULE}: no end of its download") from error
    if done.returncode != 0:
        raise ProgramError(f"{MODULE}: {done.stderr.strip() or done.stdout.strip()}")
    told = json.loads(done.stdout)
    if told["Sum"] != _SUM:
        raise ProgramError(f"{MODULE}: its sum is {told['Sum']}, expected {_SUM}")
    return Path(told["Dir"])
