"""Programs of the Linux distribution: containerd, runc, CNI plugins, tools; compilers for images.

In: nothing. Out: everything is installed, by apt-get where something is missing and we are root,
one process at a time: of two at once, one fails. Programs that are there already, of whatever
origin, are used as they are.
"""

from __future__ import annotations

import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import programs
from tests.clusters.errors import ProgramError
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
OF_TESTS = {"bindfs": "bindfs", "debootstrap": "debootstrap"}
"""What tests use besides, program -> package: no test has the time to install something."""
_INSTALL_TIMEOUT = 900.0  # seconds
_LOCKED_SECONDS = 300
"""That apt-get waits for others who install something."""
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
    """Installs what real nodes miss. Raises ProgramError with the end of apt-get's output."""
    _install(missing, progress)


def ensure_programs(packages: Mapping[str, str], progress: Callable[[str], None]) -> None:
    """Installs what is missing of these programs (program -> Debian package)."""

    def wanted() -> list[str]:
        return sorted({packages[name] for name in packages if shutil.which(name) is None})

    _install(wanted, progress)


def is_static(program: Path) -> bool:
    """Whether a 64-bit little-endian ELF program needs no interpreter, so runs in any root."""
    data = program.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return False
    (offset,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, offset + index * size)[0] for index in range(count)]
    return _PT_INTERP not in kinds


def _install(missing: Callable[[], list[str]], progress: Callable[[str], None]) -> None:
    if not missing():
        return
    folder = programs.cache_folder() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    with programs.file_lock(folder / "lock", progress):
        wanted = missing()  # Somebody else may have installed them meanwhile.
        if not wanted:
            return
        if shutil.which("apt-get") is None or os.getuid() != 0:
            raise ProgramError(f"real nodes need {', '.join(wanted)}: install them as root")
        _apt_get(["update"], "reading package lists", progress)
        install = ["install", "--yes", "--no-install-recommends", *wanted]
        _apt_get(install, f"installing {' '.join(wanted)}", progress)
        if left := missing():
            raise ProgramError(f"installed, but still missing: {', '.join(left)}")


def _apt_get(arguments: list[str], what: str, progress: Callable[[str], None]) -> None:
    run_long(
        ["apt-get", "--quiet", f"--option=DPkg::Lock::Timeout={_LOCKED_SECONDS}", *arguments],
        what=what,
        progress=progress,
        environment={"DEBIAN_FRONTEND": "noninteractive"},
        timeout=_INSTALL_TIMEOUT,
    )
