"""The end of a harness: everything that it made goes, in an order that leaves nothing hanging.

In: a claim, of a living harness or of one that was killed. Out: no process, mount, namespace,
link, route, cgroup or file of it. Works from the slot's number and the state folder alone, and
can be run again when it was interrupted.
"""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import cgroups, network, node
from tests.clusters.errors import CommandError, HarnessError
from tests.clusters.host import run
from tests.clusters.processes import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters.processes import ProcessTable
    from tests.clusters.slots import Claim

_UNMOUNT_SECONDS = 10.0
_ESCAPE = re.compile(r"\\([0-7]{3})")
MARK_FILE = "vnode-clusters"
"""A state folder carries this file; only such a folder is ever removed."""


def tear_down(claim: Claim, table: ProcessTable, progress: Callable[[str], None]) -> None:
    """Removes whatever the claim's harness made. Raises HarnessError when something stays."""
    progress(f"ending {sum(r.identity.alive() for r in table.records())} processes")
    table.end(Stage.KUBELET)  # it would start containers again
    if claim.containers:
        cgroups.remove(claim.slot.cgroup, kill=table.kill)
    for stage in Stage:
        table.end(stage)
    table.end_marked()
    if claim.containers:
        unmount_below(claim.state)
        network.remove(claim.slot)
        node.remove_strays(claim.state, claim.slot.bridge)
    if (claim.state / MARK_FILE).exists():
        shutil.rmtree(claim.state)


def unmount_below(folder: Path) -> None:
    """Unmounts everything under a folder, the latest mount first. Raises HarnessError.

    A mount that others share goes with the first of them, and one of a program that ends just now
    by itself: what was there when the table was read is not there for certain.
    """
    deadline = time.monotonic() + _UNMOUNT_SECONDS
    why = "others mount there"
    while mounts := mounts_below(folder, Path("/proc/self/mounts").read_text()):
        if time.monotonic() > deadline:
            raise HarnessError(f"mounts below {folder} stay: {why}")
        try:
            run("umount", "--lazy", *reversed(mounts))
        except CommandError as error:
            why = str(error)


def mounts_below(folder: Path, table: str) -> list[str]:
    """Mount points under a folder, in the order of the kernel's table of mounts."""
    points = [_ESCAPE.sub(_character, line.split()[1]) for line in table.splitlines()]
    return [point for point in points if Path(point).is_relative_to(folder)]


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 8))
