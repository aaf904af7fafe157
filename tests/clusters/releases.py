"""Downloads official release binaries and compares them with their published checksums.

In: a family of programs, a version. Out: executables in a folder. Raises `Unavailable` when there
is no internet or no such file, so that the caller can do without; a wrong checksum is a
ProgramError, since then something is really amiss.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from pathlib import Path

Progress = Callable[[str], None]

_KUBERNETES = "https://dl.k8s.io/release"
_GITHUB = "https://github.com"
_GITHUB_API = "https://api.github.com/repos"
_PROBE_TIMEOUT = 3.0  # seconds
_READ_TIMEOUT = 30.0
_REPORT_EVERY = 10.0


class Unavailable(Exception):
    """The release cannot be had from here; the text says why."""


def download(
    family: str, version: str, names: list[str], folder: Path, arch: str, progress: Progress
) -> None:
    """Puts the named programs of one release into `folder`."""
    if family == "kubernetes":
        base = f"{_KUBERNETES}/{version}/bin/linux/{arch}"
        _probe(f"{base}/{names[0]}.sha256")
        for name in names:
            expected = _read(f"{base}/{name}.sha256").decode().split()[0]
            _fetch(f"{base}/{name}", folder / name, expected, progress)
    elif family == "etcd":
        archive = f"etcd-{version}-linux-{arch}.tar.gz"
        base = f"{_GITHUB}/etcd-io/etcd/releases/download/{version}"
        _probe(f"{base}/SHA256SUMS")
        expected = checksum_of(archive, _read(f"{base}/SHA256SUMS").decode())
        _fetch(f"{base}/{archive}", folder / archive, expected, progress)
        _extract(folder / archive, "etcd", folder / "etcd")
    elif family == "kwok":
        release = f"{_GITHUB_API}/kubernetes-sigs/kwok/releases/tags/{version}"
        _probe(release)
        file = f"kwok-linux-{arch}"
        url, expected = asset_of(file, _read(release))
        _fetch(url, folder / "kwok", expected, progress)
    else:
        raise Unavailable(f"{family} has no known release page")


def checksum_of(file: str, sums: str) -> str:
    """The line of `file` in the output of sha256sum."""
    for line in sums.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].lstrip("*") == file:
            return words[0]
    raise Unavailable(f"no checksum of {file} was published")


def asset_of(file: str, release: bytes) -> tuple[str, str]:
    """URL and SHA-256 of a file of a GitHub release, from the API's description of it."""
    for asset in json.loads(release).get("assets", []):
        kind, _, digest = (asset.get("digest") or "").partition(":")
        if asset.get("name") == file and kind == "sha256":
            return asset["browser_download_url"], digest
    raise Unavailable(f"no checksum of {file} was published")


def _probe(url: str) -> None:
    """Finds out fast that there is no internet."""
    try:
        urllib.request.urlopen(
            urllib.request.Request(url, method="HEAD"), timeout=_PROBE_TIMEOUT
        ).close()
    except (urllib.error.URLError, OSError) as error:
        raise Unavailable(f"{url.split('/')[2]}: {error}") from error


def _read(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=_READ_TIMEOUT) as answer:
            data: bytes = answer.read()
            return data
    except (urllib.error.URLError, OSError) as error:
        raise Unavailable(f"{url}: {error}") from error


def _fetch(url: str, target: Path, expected: str, progress: Progress) -> None:
    progress(f"downloading {url}")
    digest, size, reported = hashlib.sha256(), 0, time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=_READ_TIMEOUT) as answer, target.open("wb") as out:
            while chunk := answer.read(1 << 20):
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
                if time.monotonic() - reported > _REPORT_EVERY:
                    reported = time.monotonic()
                    progress(f"downloading {target.name}: {size >> 20} MiB")
    except (urllib.error.URLError, OSError) as error:
        raise Unavailable(f"{url}: {error}") from error
    if digest.hexdigest() != expected:
        raise ProgramError(f"{url}: SHA-256 is {digest.hexdigest()}, published was {expected}")


def _extract(archive: Path, name: str, target: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.rpartition("/")[2] == name:
                source = tar.extractfile(member)
                assert source is not None
                target.write_bytes(source.read())
                return
    raise ProgramError(f"{archive.name} does not contain {name}")
