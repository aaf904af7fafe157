"""Cgroups of real nodes: a group per slot, below it one per node, below that what kubelet makes.

In: a path such as `vnode-clusters-0/gpu-a-node-0`. Out: the groups exist in every hierarchy
(version 1) or in the one (version 2) and pass on processors and memory; on removal, every process
in them is killed first. Whatever is in such a group is ours.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.errors import HarnessError
from tests.clusters.processes import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("cpuset", "cpu", "memory", "pids", "io")
_REMOVE_TIMEOUT = 60.0
"""Seconds; what runs in it has to be gone first (see `processes`)."""


def is_unified() -> bool:
    """Whether this machine uses cgroup version 2 alone."""
    return (_ROOT / "cgroup.controllers").exists()


def create(path: str) -> None:
    """Makes a group with all its parents. Raises OSError."""
    for hierarchy in _hierarchies():
        group = hierarchy
        for part in Path(path).parts:
            parent, group = group, group / part
            if is_unified():
                _pass_on_controllers(parent)
            group.mkdir(exist_ok=True)
            for setting in ("cpuset.cpus", "cpuset.mems"):  # empty in a new group of version 1
                file = group / setting
                if file.exists() and not is_unified() and not file.read_text().strip():
                    file.write_text((parent / setting).read_text())


def probe() -> None:
    """Raises OSError when groups cannot be made here."""
    path = f"vnode-clusters-probe-{os.getpid()}"
    try:
        create(path)
    finally:
        remove(path, kill=lambda _: None)


def processes(path: str) -> list[Identity]:
    """Everything that runs in a group or below it."""
    pids = set()
    for group in _groups(path):
        with contextlib.suppress(OSError):
            pids |= set((group / "cgroup.procs").read_text().split())
    return [identity for pid in pids if (identity := Identity.of(int(pid)))]


def remove(path: str, *, kill: Callable[[Iterable[Identity]], None]) -> None:
    """Kills what runs in a group and removes it; does nothing when there is none."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT
    while groups := list(_groups(path)):
        kill(processes(path))
        for group in groups:
            with contextlib.suppress(OSError):  # busy until the kernel has let go of its last task
                group.rmdir()
        if time.monotonic() > deadline:
            raise HarnessError(f"cgroup {groups[0]} cannot be removed")
        time.sleep(0.01)


def _hierarchies() -> list[Path]:
    if is_unified():
        return [_ROOT]
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    return [Path(fields[1]) for fields in lines if fields[2] == "cgroup"]


def _groups(path: str) -> Iterator[Path]:
    """A group and all below it, children first, in every hierarchy."""
    for hierarchy in {*_hierarchies(), _ROOT / "unified"}:
        top = hierarchy / path
        for folder, _, _ in os.walk(top, topdown=False):
            yield Path(folder)


def _pass_on_controllers(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    for controller in _CONTROLLERS:
        if controller in available:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")
