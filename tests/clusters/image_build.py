"""Carries a Containerfile out where there is no builder and no registry.

In: a Containerfile, its context, and Debian's archive in place of `debian:SUITE-slim`. Out: an
image as layers, each a tar file. Every instruction makes one folder of changes in the cache, on top
of those before it (overlay file systems, chroot), and is made again only if itself, one before it,
or the files that it copies have changed. Needs root. Raises ProgramError.

Commands see this machine's network, proxies and trusted CAs, as a builder passes them on; none of
that stays in the image.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import packages
from tests.clusters.containerfile import Copy, Run, Stage, parse
from tests.clusters.errors import ProgramError
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_BASE = re.compile(r"docker\.io/library/debian:([a-z]+)-slim")
_MIRROR = "http://deb.debian.org"
_TOOLS = {"debootstrap": "debootstrap", "chroot": "coreutils", "unshare": "util-linux"}
_KEPT_SECONDS = 7 * 86400.0
"""Layers that nobody has used for so long are removed."""
_PASSED_ON = (
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "PIP_DEFAULT_TIMEOUT",
)
_CA_FILES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_RUN = """\
set -eu
options="redirect_dir=off,metacopy=off"  # changes are to be whole files
mount -t overlay overlay -o "$options,lowerdir=$LOWER,upperdir=$UPPER,workdir=$WORK" "$ROOT"
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs tmpfs "$ROOT/run"
if [ -n "$CA" ]; then cp -L "$CA" "$ROOT/run/ca.pem"; fi
mount --bind "$(readlink -f /etc/resolv.conf)" "$ROOT/etc/resolv.conf"
mkdir -p "$ROOT$FOLDER"
exec chroot "$ROOT" /usr/bin/env -i "$@" /bin/sh -c "cd $FOLDER && $COMMAND"
"""
_TAKE = """\
set -eu
mount -t overlay overlay -o "lowerdir=$LOWER" "$ROOT"
cp -a "$ROOT$SOURCE" "$TARGET"
"""
# What makes debian:SUITE-slim of a bootstrapped root, as far as it is seen in an image:
# https://github.com/debuerreotype/debuerreotype/blob/master/scripts/debuerreotype-slimify
# https://github.com/debuerreotype/debuerreotype/blob/master/scripts/debuerreotype-minimizing-config
_SLIM = tuple(
    f"usr/share/{name}" for name in ("doc", "groff", "info", "linda", "lintian", "locale", "man")
)
_FILES = {
    "etc/apt/apt.conf.d/docker-clean": (
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb || true"; };\n'
        'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n'
    ),
    "etc/apt/apt.conf.d/docker-no-languages": 'Acquire::Languages "none";\n',
    "etc/dpkg/dpkg.cfg.d/docker": "force-unsafe-io\n"
    + "".join(f"path-exclude /{folder}/*\n" for folder in _SLIM),
    "etc/resolv.conf": "",
    "etc/hostname": "localhost\n",
}
_EMPTIED = (*_SLIM, "var/cache/apt", "var/lib/apt/lists", "var/log")


@dataclass(frozen=True)
class Built:
    """An image: layers from the bottom up, by a name that changes with their content."""

    stage: Stage
    layers: Sequence[Path]
    """Folders of changes, as overlay file systems keep them."""

    @property
    def key(self) -> str:
        """Changes whenever the image does."""
        text = f"{self.stage} {[layer.parent.name for layer in self.layers]}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def build(
    containerfile: Path, *, context: Path, cache: Path, progress: Callable[[str], None]
) -> Built:
    """The last stage. Seconds when the cache has all of it; minutes otherwise."""
    packages.ensure_programs(_TOOLS, progress)
    builder = _Builder(context, cache, progress)
    stages = parse(containerfile.read_text())
    for stage in stages:
        builder.make(stage)
    builder.remove_old()
    return Built(stages[-1], builder.layers_of(stages[-1]))


def tar_layer(layer: Path, target: Path) -> None:
    """A layer as an image has it; what it deletes is marked as in
    https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts.
    """
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(layer.rglob("*")):
            name = str(path.relative_to(layer))
            found = path.lstat()
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
                gone = tarfile.TarInfo(str(Path(name).with_name(f".wh.{path.name}")))
                tar.addfile(gone)
            elif not (stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)):
                tar.add(path, arcname=name, recursive=False)
            if stat.S_ISDIR(found.st_mode) and _hides_what_was_there(path):
                tar.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))


def _hides_what_was_there(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:  # there is none
        return False


def content_digest(files: Iterable[Path], *, root: Path) -> str:
    """Of files and folders: names, whether they can be executed, and what is in them."""
    digest = hashlib.sha256()
    for top in files:
        for path in [top, *sorted(top.rglob("*"))]:
            if path.is_file() and "__pycache__" not in path.parts:
                mode = path.stat().st_mode & 0o111
                digest.update(f"{path.relative_to(root)} {mode} {path.stat().st_size}\n".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


class _Builder:
    """Makes stages in order. Layers are folders `KEY/changes` in the cache."""

    def __init__(self, context: Path, cache: Path, progress: Callable[[str], None]) -> None:
        self._context = context
        self._cache = cache
        self._progress = progress
        self._stages: dict[str, list[Path]] = {}

    def layers_of(self, stage: Stage) -> list[Path]:
        """From the bottom up."""
        return self._stages[stage.name]

    def make(self, stage: Stage) -> None:
        """All its layers."""
        layers = list(self._stages.get(stage.base, ())) or [self._debian(stage.base)]
        for step in stage.steps:
            layers.append(self._layer(layers, step))
        self._stages[stage.name] = layers

    def remove_old(self) -> None:
        """Forget layers that were not used for a week."""
        for folder in self._cache.iterdir():
            if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(folder)

    def _debian(self, base: str) -> Path:
        found = _BASE.fullmatch(base)
        if found is None:
            raise ProgramError(f"Containerfile: FROM {base}: the tests cannot make this image")
        suite = found[1]

        def bootstrap(work: Path) -> Path:
            root = work / "changes"
            command = ["debootstrap", "--variant=minbase", suite, root, f"{_MIRROR}/debian"]
            run_long(command, what=f"installing {base}", progress=self._progress)
            _slim(root, suite)
            return root

        return self._cached(f"{base} {_FILES} {_EMPTIED} {_sources(suite)}", bootstrap)

    def _layer(self, below: Sequence[Path], step: Run | Copy) -> Path:
        key = f"{below[-1].parent.name} {step}"
        match step:
            case Run():
                return self._cached(key, lambda work: self._run(below, step, work))
            case Copy(stage=None):
                files = [self._context / name for name in step.sources]
                digest = content_digest(files, root=self._context)
                return self._cached(f"{key} {digest}", lambda work: _copied(step, files, work))
            case Copy(stage=str() as name):
                source = self._stages[name]
                key = f"{key} {source[-1].parent.name}"
                return self._cached(key, lambda work: self._taken(step, source, work))
        raise AssertionError(step)

    def _cached(self, key: str, make: Callable[[Path], Path]) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()[:24]
        folder = self._cache / name
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=self._cache, prefix="new-") as scratch:
                work = Path(scratch) / name
                work.mkdir()
                changes = make(work)
                if changes != work / "changes":
                    raise AssertionError(changes)
                for left in set(work.iterdir()) - {changes}:
                    shutil.rmtree(left)
                work.replace(folder)
        os.utime(folder)
        return folder / "changes"

    def _run(self, below: Sequence[Path], step: Run, work: Path) -> Path:
        ca = next((os.environ[name] for name in _CA_FILES if os.environ.get(name)), "")
        inside = {**_passed_on(ca), **step.environment}
        variables = {"CA": ca, "FOLDER": step.folder, "COMMAND": step.command}
        arguments = [f"{key}={value}" for key, value in inside.items()]
        self._with_root(below, _RUN, work, arguments, variables, what=_shown(step.command))
        return work / "changes"

    def _taken(self, step: Copy, source: Sequence[Path], work: Path) -> Path:
        (taken,) = step.sources
        target = work / "changes" / step.target.lstrip("/")
        target.parent.mkdir(parents=True)
        variables = {"SOURCE": taken, "TARGET": str(target)}
        self._with_root(source, _TAKE, work, (), variables, what=f"copying {taken}")
        return work / "changes"

    def _with_root(
        self,
        layers: Sequence[Path],
        script: str,
        work: Path,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        *,
        what: str,
    ) -> None:
        """Runs a script of the host that can mount these layers as $ROOT; the mounts go with it."""
        for name in ("changes", "work", "root"):
            (work / name).mkdir(exist_ok=True)
        places = {
            "LOWER": ":".join(str(layer) for layer in reversed(layers)),
            "UPPER": str(work / "changes"),
            "WORK": str(work / "work"),
            "ROOT": str(work / "root"),
        }
        run_long(
            ["unshare", "--mount", "/bin/sh", "-c", script, "sh", *arguments],
            what=what,
            progress=self._progress,
            environment={**places, **variables},
        )


def _passed_on(ca: str) -> dict[str, str]:
    """Variables of this process that commands see too."""
    found = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return found | (dict.fromkeys(_CA_FILES, "/run/ca.pem") if ca else {})


def _shown(command: str) -> str:
    return f"RUN {command.split(' && ')[0]}"


def _copied(step: Copy, files: Sequence[Path], work: Path) -> Path:
    """Files and folders of the context."""
    target = work / "changes" / step.target.strip("/")
    into = step.target.endswith("/")
    for file in files:
        place = target / file.name if into and file.is_file() else target
        if file.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(file, place, ignore=ignored, dirs_exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, place)
    return work / "changes"


def _slim(root: Path, suite: str) -> None:
    """Takes out what a slim image does not have, and what debootstrap copied of this machine."""
    for name in _EMPTIED:
        for path in (root / name).glob("*"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for name, text in {**_FILES, "etc/apt/sources.list": _sources(suite)}.items():
        (root / name).write_text(text)


def _sources(suite: str) -> str:
    return (
        f"deb {_MIRROR}/debian {suite} main\n"
        f"deb {_MIRROR}/debian {suite}-updates main\n"
        f"deb {_MIRROR}/debian-security {suite}-security main\n"
    )
