"""The end of a harness: everything that it made goes, in an order that leaves nothing hanging.

In: a claim, of a living harness or of one that was killed. Out: no process, mount, namespace,
link, route, cgroup or file of it. Works from the slot's number and the state folder alone, and
can be run again when it was interrupted.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.clusters.processes import Stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.clusters.processes import ProcessTable
    from tests.clusters.slots import Claim

MARK_FILE = "vnode-clusters"
"""A state folder carries this file; only such a folder is ever removed."""


def tear_down(claim: Claim, table: ProcessTable, progress: Callable[[str], None]) -> None:
    """Removes whatever the claim's harness made. Raises HarnessError when something stays."""
    progress(f"ending {sum(r.identity.alive() for r in table.records())} processes")
    for stage in Stage:
        table.end(stage)
    table.end_marked()
    if (claim.state / MARK_FILE).exists():
        shutil.rmtree(claim.state)
