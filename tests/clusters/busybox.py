"""Upstream's busybox, for images in which Kubernetes' own tests run.

In: the source archive, pinned by its SHA-256. Out: a static program in the cache, built once. The
shell of Debian's busybox drops environment variables whose names are no identifiers, such as
`data-1`; the tests of ConfigMaps and Secrets as environment need them. Raises ProgramError.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import packages, programs
from tests.clusters.errors import ProgramError
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable

_VERSION = "1.37.0"
_SHA256 = "3311dff32e746499f4df0d5df04d7eb396382d7e108bb9250e7b519b837043a4"
_SOURCES = (
    f"https://busybox.net/downloads/busybox-{_VERSION}.tar.bz2",
    f"http://deb.debian.org/debian/pool/main/b/busybox/busybox_{_VERSION}.orig.tar.bz2",
)
_BUILD_TOOLS = {"make": "make", "gcc": "gcc"}
_DOWNLOAD_TIMEOUT = 60.0  # seconds without a byte


def ensure(progress: Callable[[str], None]) -> Path:
    """Path of the program; a build takes a minute or a few."""
    folder = programs.cache_folder() / f"busybox-{_VERSION}-linux-{programs.machine()}"
    program = folder / "busybox"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    with programs.file_lock(folder / "lock", progress):
        if not program.exists():
            packages.ensure_programs(_BUILD_TOOLS, progress)
            with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
                source = Path(work) / "source.tar.bz2"
                source.write_bytes(_download(progress))
                _build(source, Path(work), progress).replace(program)
    return program


def configure(text: str) -> str:
    """A `.config` that makes one static program.

    `tc` is left out: it uses structures that newer kernel headers no longer have.
    """
    changes = {
        "# CONFIG_STATIC is not set": "CONFIG_STATIC=y",
        "CONFIG_TC=y": "# CONFIG_TC is not set",
    }
    return "\n".join(changes.get(line, line) for line in text.splitlines()) + "\n"


def _download(progress: Callable[[str], None]) -> bytes:
    reasons = []
    for url in _SOURCES:
        progress(f"downloading {url}")
        try:
            with urllib.request.urlopen(url, timeout=_DOWNLOAD_TIMEOUT) as answer:
                data: bytes = answer.read()
        except (urllib.error.URLError, OSError) as error:
            reasons.append(f"{url}: {error}")
            continue
        if (found := hashlib.sha256(data).hexdigest()) != _SHA256:
            raise ProgramError(f"{url}: SHA-256 is {found}, expected {_SHA256}")
        return data
    raise ProgramError(f"the source of busybox cannot be had: {'; '.join(reasons)}")


def _build(source: Path, work: Path, progress: Callable[[str], None]) -> Path:
    with tarfile.open(source) as tar:
        tar.extractall(work, filter="data")
    folder = work / f"busybox-{_VERSION}"

    def make(*arguments: str) -> None:
        run_long(
            ["make", *arguments],
            what=f"making {arguments[-1]} of busybox {_VERSION}",
            progress=progress,
            folder=folder,
            answers="\n" * 2000,  # to every question: what is proposed
        )

    make("defconfig")
    config = folder / ".config"
    config.write_text(configure(config.read_text()))
    make("oldconfig")
    make(f"--jobs={os.cpu_count() or 1}", "busybox")
    return folder / "busybox"
