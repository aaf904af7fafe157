"""Container images made on the spot, since nothing can or should be pulled.

In: a static busybox, and a C compiler if there is one. Out: one docker-archive with a busybox
image (a shell and the usual tools) under several names and a pause image. The archive's layout is
that of `docker save`: https://github.com/moby/moby/blob/master/image/spec/v1.2.md
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.programs import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAUSE = "registry.k8s.io/pause:3.10.2"
BUSYBOX = ("docker.io/library/busybox:1.36", "docker.io/library/busybox:latest")
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_EPOCH = "1970-01-01T00:00:00Z"

_PAUSE_SOURCE = r"""
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int number) { (void)number; _exit(0); }
static void reap(int number) { (void)number; while (waitpid(-1, NULL, WNOHANG) > 0) {} }

int main(void) {
    signal(SIGINT, end);
    signal(SIGTERM, end);
    signal(SIGCHLD, reap);
    for (;;) pause();
}
"""
_PAUSE_SCRIPT = b"""#!/bin/sh
trap 'exit 0' TERM INT
while :; do sleep 86400 & wait $!; done
"""
_ETC = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": b"root:x:0:\nnogroup:x:65534:\n",
}


@dataclass(frozen=True)
class Layer:
    """A tar file, and its name: the digest of its content."""

    data: bytes

    @property
    def digest(self) -> str:
        """SHA-256 in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Image:
    """Names, layers from the bottom up, and what runs when a pod does not say."""

    names: Sequence[str]
    layers: Sequence[Layer]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    user: str = ""

    def config(self) -> bytes:
        """The image's configuration, whose digest is the image ID."""
        run = {"Env": [_PATH], "Entrypoint": self.entrypoint, "Cmd": self.command}
        return json.dumps(
            {
                "architecture": machine(),
                "os": "linux",
                "created": _EPOCH,
                "config": {**run, "User": self.user},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers],
                },
                "history": [{"created": _EPOCH} for _ in self.layers],
            },
            sort_keys=True,
        ).encode()


class LayerBuilder:
    """Collects files of one layer. The same content always gives the same bytes."""

    def __init__(self) -> None:
        self._buffer = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._buffer, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115

    def folder(self, name: str, mode: int = 0o755) -> None:
        """Adds a folder."""
        self._add(name, mode, tarfile.DIRTYPE)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Adds a file."""
        info = tarfile.TarInfo(name)
        info.mode, info.size = mode, len(data)
        self._tar.addfile(info, io.BytesIO(data))

    def hard_link(self, name: str, target: str) -> None:
        """Adds another name of a file that is already in the layer."""
        self._add(name, 0o755, tarfile.LNKTYPE, target)

    def build(self) -> Layer:
        """The finished layer."""
        self._tar.close()
        return Layer(self._buffer.getvalue())

    def _add(self, name: str, mode: int, kind: bytes, target: str = "") -> None:
        info = tarfile.TarInfo(name)
        info.mode, info.type, info.linkname = mode, kind, target
        self._tar.addfile(info)


def build_archive(
    target: Path,
    busybox: Path,
    *,
    busybox_names: Sequence[str] = BUSYBOX,
    pause_name: str = PAUSE,
) -> None:
    """Writes the archive with all images."""
    base = _busybox_layer(busybox)
    shell = Image(busybox_names, [base], command=["sh"])
    write_archive(target, [shell, _pause_image(pause_name, base)])


def write_archive(target: Path, images: Iterable[Image]) -> None:
    """Writes images as one docker-archive; shared layers are stored once."""
    manifest, stored = [], set()
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:

        def store(name: str, data: bytes) -> str:
            if name not in stored:
                stored.add(name)
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            return name

        for image in images:
            config = image.config()
            manifest.append(
                {
                    "Config": store(f"{hashlib.sha256(config).hexdigest()}.json", config),
                    "RepoTags": list(image.names),
                    "Layers": [store(f"{layer.digest}.tar", layer.data) for layer in image.layers],
                }
            )
        store("manifest.json", json.dumps(manifest).encode())


def _busybox_layer(busybox: Path) -> Layer:
    applets = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    builder = LayerBuilder()
    for name in ("bin", "dev", "etc", "proc", "sys", "usr", "usr/bin", "var"):
        builder.folder(name)
    builder.folder("root", 0o700)
    builder.folder("tmp", 0o1777)
    for name, data in _ETC.items():
        builder.file(name, data)
    builder.file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in sorted(set(applets.stdout.split()) - {"busybox"}):
        builder.hard_link(f"bin/{applet}", "bin/busybox")
    builder.hard_link("usr/bin/env", "bin/busybox")
    return builder.build()


def _pause_image(name: str, base: Layer) -> Image:
    """A compiled pause where there is a compiler, else a shell that sleeps."""
    builder = LayerBuilder()
    program = _compile(_PAUSE_SOURCE)
    builder.file("pause", program or _PAUSE_SCRIPT, 0o755)
    layers = [builder.build()] if program else [base, builder.build()]
    return Image([name], layers, entrypoint=["/pause"], user="65535:65535")


def _compile(source: str) -> bytes | None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        done = subprocess.run(
            [compiler, "-Os", "-static", "-s", "-x", "c", "-o", program, "-"],
            input=source.encode(),
            capture_output=True,
        )
        return program.read_bytes() if done.returncode == 0 else None
