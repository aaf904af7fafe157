"""Container images of ordinary real nodes, made on the spot, since nothing can be pulled.

In: a static busybox, and a C compiler if there is one. Out: one archive with a busybox image (a
shell and the usual tools) under several names and a pause image.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.image_archive import Image, Layer, LayerBuilder, write_archive

if TYPE_CHECKING:
    from collections.abc import Sequence

PAUSE = "registry.k8s.io/pause:3.10.2"
NAMELESS = tuple(f"docker.io/library/{name}:latest" for name in ("foo", "bar", "baz"))
"""Pause images under the bare names that virtual-kubelet's test suite uses."""
BUSYBOX = ("docker.io/library/busybox:1.36", "docker.io/library/busybox:latest")

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


def build_archive(
    target: Path,
    busybox: Path,
    *,
    busybox_names: Sequence[str] = BUSYBOX,
    pause_names: Sequence[str] = (PAUSE, *NAMELESS),
) -> None:
    """Writes the archive with all images."""
    base = busybox_layer(busybox)
    shell = Image(busybox_names, [base], command=["sh"])
    write_archive(target, [shell, pause_image(pause_names, base)])


def applets(busybox: Path) -> list[str]:
    """Names of the commands that a busybox knows, without its own."""
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    return sorted(set(listed.stdout.split()) - {"busybox"})


def busybox_layer(busybox: Path) -> Layer:
    """A root with a shell and the usual tools."""
    builder = LayerBuilder()
    for name in ("bin", "dev", "etc", "proc", "sys", "usr", "usr/bin", "var"):
        builder.folder(name)
    builder.folder("root", 0o700)
    builder.folder("tmp", 0o1777)
    for name, data in _ETC.items():
        builder.file(name, data)
    builder.file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in applets(busybox):
        builder.hard_link(f"bin/{applet}", "bin/busybox")
    builder.hard_link("usr/bin/env", "bin/busybox")
    return builder.build()


def pause_image(names: Sequence[str], base: Layer) -> Image:
    """A compiled pause where there is a compiler, else a shell that sleeps."""
    builder = LayerBuilder()
    program = _compile(_PAUSE_SOURCE)
    builder.file("pause", program or _PAUSE_SCRIPT, 0o755)
    layers = [builder.build()] if program else [base, builder.build()]
    return Image(names, layers, entrypoint=["/pause"], user="65535:65535")


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
