"""Programs of the Linux distribution that real nodes need: containerd, runc, CNI plugins, tools.

In: nothing. Out: everything is installed, by apt-get where something is missing and we are root.
Programs that are there already, of whatever origin, are used as they are.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable

_CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
_CNI_PLUGINS = ("bridge", "host-local", "loopback", "portmap")
_PROGRAMS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "nsenter": "util-linux",
}
_REPORT_EVERY = 10.0  # seconds
_INSTALL_TIMEOUT = 900.0
_PT_INTERP = 3


def cni_folder() -> Path:
    """Where the CNI plugins are."""
    for folder in _CNI_FOLDERS:
        if all((folder / plugin).exists() for plugin in _CNI_PLUGINS):
            return folder
    raise ProgramError(f"CNI plugins {', '.join(_CNI_PLUGINS)} are in none of {_CNI_FOLDERS}")


def missing() -> list[str]:
    """Debian packages of which something is not here."""
    names = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    try:
        cni_folder()
    except ProgramError:
        names.add("containernetworking-plugins")
    busybox = shutil.which("busybox")
    if busybox is None or not is_static(Path(busybox)):
        names.add("busybox-static")
    return sorted(names)


def unobtainable() -> list[str]:
    """Missing packages when there is no way to install them."""
    return [] if shutil.which("apt-get") and os.getuid() == 0 else missing()


def ensure(progress: Callable[[str], None]) -> None:
    """Installs what is missing. Raises ProgramError with the end of apt-get's output."""
    wanted = missing()
    if not wanted:
        return
    if unobtainable():
        raise ProgramError(f"real nodes need {', '.join(wanted)}: install them as root")
    _apt_get(["update"], "reading package lists", progress)
    install = ["install", "--yes", "--no-install-recommends", *wanted]
    _apt_get(install, f"installing {' '.join(wanted)}", progress)
    if left := missing():
        raise ProgramError(f"installed, but still missing: {', '.join(left)}")


def is_static(program: Path) -> bool:
    """Whether a 64-bit little-endian ELF program needs no interpreter, so runs in any root."""
    data = program.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return False
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)]
    return _PT_INTERP not in kinds


def _apt_get(arguments: list[str], what: str, progress: Callable[[str], None]) -> None:
    progress(what)
    started = time.monotonic()
    with subprocess.Popen(
        ["apt-get", "--quiet", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        while True:
            try:
                output, _ = process.communicate(timeout=_REPORT_EVERY)
                break
            except subprocess.TimeoutExpired:
                elapsed = time.monotonic() - started
                progress(f"{what}: {elapsed:.0f} s")
                if elapsed > _INSTALL_TIMEOUT:
                    process.terminate()
    if process.returncode != 0:
        raise ProgramError(f"{what} failed:\n{output[-1500:]}")
