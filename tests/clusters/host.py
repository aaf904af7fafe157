"""What real nodes need of the machine, and what they change on it.

In: questions and commands. Out: whether containers can run here and why not; kernel settings
saved before the first kubelet starts (it sets some for the whole machine, and needs others higher)
and put back after the last one. Needs root, except for asking.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from tests.clusters import cgroups, packages
from tests.clusters.errors import CommandError

_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Kubelets and control planes watch files: five to ten instances a process, of 128 as a rule.
_AT_LEAST = {"fs/inotify/max_user_instances": 4096}
_SYSCTL = Path("/proc/sys")


def run(*command: str | Path, timeout: float = 60) -> str:
    """Runs a host command and returns its stdout; raises CommandError with its stderr."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandError(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise CommandError(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def answers(url: str) -> bool:
    """Whether a server of this machine answers a GET with success."""
    try:
        urllib.request.urlopen(url, timeout=1).close()
    except (urllib.error.URLError, OSError):
        return False
    return True


def can_run_containers() -> tuple[bool, str]:
    """Whether real nodes can run on this machine; if not, the reason. Leaves nothing behind."""
    if sys.platform != "linux":
        return False, "not Linux"
    if os.getuid() != 0:
        return False, "not root"
    if missing := packages.unobtainable():
        return False, f"missing {', '.join(missing)} and no apt-get to install it"
    try:
        cgroups.probe()
    except OSError as error:
        return False, f"cgroups cannot be made: {error}"
    for what, command in (
        ("network namespaces", ["unshare", "--net", "true"]),
        ("mounts", ["unshare", "--mount", "true"]),
    ):
        try:
            run(*command)
        except CommandError as error:
            return False, f"{what} cannot be made: {error}"
    return _can_mount_overlay()


def _can_mount_overlay() -> tuple[bool, str]:
    with tempfile.TemporaryDirectory(prefix="vnode-overlay-") as folder:
        base = Path(folder)
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work"
        try:
            # in a mount namespace of its own, so that it is gone with the command
            run(
                "unshare",
                "--mount",
                "mount",
                "-t",
                "overlay",
                "none",
                "-o",
                options,
                base / "merged",
            )
        except CommandError as error:
            return False, f"overlay file systems cannot be mounted: {error}"
    return True, ""


class KernelSettings:
    """Saves and restores what kubelets set; `file` is shared by all harnesses, under their lock."""

    def __init__(self, file: Path, *, root: Path = _SYSCTL) -> None:
        self._file = file
        self._root = root

    def prepare(self) -> None:
        """Remembers the settings, unless another harness has done so; raises what is too low."""
        if not self._file.exists():
            values = {
                name: (self._root / name).read_text().strip()
                for name in (*_SETTINGS, *_AT_LEAST)
                if (self._root / name).exists()
            }
            temporary = self._file.with_suffix(".new")
            temporary.write_text(json.dumps(values))
            temporary.replace(self._file)
        for name, least in _AT_LEAST.items():
            setting = self._root / name
            if setting.exists() and int(setting.read_text()) < least:
                setting.write_text(str(least))

    def restore(self) -> None:
        """Puts the remembered settings back; does nothing when there are none."""
        if self._file.exists():
            for name, value in json.loads(self._file.read_text()).items():
                (self._root / name).write_text(value)
            self._file.unlink()


def static_busybox() -> Path:
    """The statically linked busybox that images are made of."""
    found = shutil.which("busybox")
    if found is None:
        raise CommandError("busybox-static is not installed")
    return Path(found)
