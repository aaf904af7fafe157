"""A Debian file system as one image layer, for images that need more than busybox.

In: Debian's archive, through debootstrap. Out: a tar file in the cache, made once per list of
packages. It has what Kubernetes' test images have (dig, curl, nc, ip, iperf, ipcs, bash, nginx,
perl), and every busybox applet that Debian has no program for. Raises ProgramError.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import images, packages, programs
from tests.clusters.long_command import run_long

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_SUITE = "bookworm"
_MIRROR = "http://deb.debian.org/debian"
_PACKAGES = (
    "bash",
    "bind9-dnsutils",
    "ca-certificates",
    "curl",
    "iperf",
    "iproute2",
    "netcat-openbsd",
    "nginx-light",
    "perl",
    "procps",
    "util-linux",
)
_TOOLS = {"debootstrap": "debootstrap", "chroot": "coreutils"}
_PROGRAM_FOLDERS = ("usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
_UNUSED = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
)
# Kubernetes' tests of supplemental groups look for this user of the agnhost image:
# https://github.com/kubernetes/kubernetes/blob/v1.36.3/test/images/agnhost/Dockerfile
_ACCOUNTS = {
    "etc/passwd": "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n",
    "etc/group": (
        "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
    ),
}


def ensure(busybox: Path, progress: Callable[[str], None]) -> Path:
    """Path of the layer; two minutes when it has to be made."""
    key = hashlib.sha256(" ".join((_SUITE, *_PACKAGES)).encode() + busybox.read_bytes())
    folder = programs.cache_folder() / f"debian-{_SUITE}-linux-{programs.machine()}"
    layer = folder / f"{key.hexdigest()[:16]}.tar"
    if layer.exists():
        return layer
    folder.mkdir(parents=True, exist_ok=True)
    with programs.file_lock(folder / "lock", progress):
        if not layer.exists():
            packages.ensure_programs(_TOOLS, progress)
            with tempfile.TemporaryDirectory(dir=folder, prefix="new-") as work:
                root = Path(work) / "root"
                _debootstrap(root, progress)
                finish(root, busybox, images.applets(busybox))
                new = Path(work) / "layer.tar"
                _pack(root, new)
                new.replace(layer)
    return layer


def finish(root: Path, busybox: Path, names: Iterable[str]) -> None:
    """Adds accounts, folders, and busybox for the commands that are not there."""
    for file, lines in _ACCOUNTS.items():
        with (root / file).open("a") as out:
            out.write(lines)
    own = root / "usr/local/bin"
    own.mkdir(parents=True, exist_ok=True)
    (own / "busybox").write_bytes(busybox.read_bytes())
    (own / "busybox").chmod(0o755)
    for name in names:
        # Debian's alternatives are absolute links, so only their own existence counts.
        if not any(os.path.lexists(root / folder / name) for folder in _PROGRAM_FOLDERS):
            (own / name).symlink_to("busybox")
    (root / "uploads").mkdir(exist_ok=True)  # of agnhost netexec
    logs = root / "var/log/nginx"
    logs.mkdir(parents=True, exist_ok=True)
    for name, target in (("access.log", "/dev/stdout"), ("error.log", "/dev/stderr")):
        (logs / name).unlink(missing_ok=True)
        (logs / name).symlink_to(target)


def _debootstrap(root: Path, progress: Callable[[str], None]) -> None:
    run_long(
        [
            "debootstrap",
            "--variant=minbase",
            f"--include={','.join(_PACKAGES)}",
            _SUITE,
            root,
            _MIRROR,
        ],
        what=f"installing a Debian root with {', '.join(_PACKAGES)}",
        progress=progress,
    )


def _pack(root: Path, target: Path) -> None:
    def cleaned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        unused = any(member.name.startswith(f"{folder}/") for folder in _UNUSED)
        if unused or member.isdev():
            return None
        member.mtime = 0
        return member

    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in sorted(root.iterdir()):
            tar.add(entry, arcname=entry.name, filter=cleaned)
