"""Pods of others in the compute cluster: what they cost us, and what we cost them.

In: a site. Out: in turns with and without the bridge, how long a Deployment of somebody else took,
how often the virtual node was written because of it, and the bridge's processor time.
"""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import TYPE_CHECKING

from tests.bench import one, targets
from tests.bench.calls import CallMark, node_writes
from tests.measuring import footprint
from tests.measuring.report import Report, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.site import Site


def measure(site: Site, *, pods: int, rounds: int) -> Report:
    """So many rounds, each without and with the bridge."""
    without, beside = [], []
    patches: list[int] = []
    processor: list[float] = []
    for _ in range(rounds):
        without.append(one.run(site, "deployment", one.DIRECT, pods=pods).ready)
        with ExitStack() as stack:
            pid = stack.enter_context(site.bridged()).pid
            mark, before = CallMark(site.tenant), footprint.processor_seconds(pid)
            beside.append(one.run(site, "deployment", one.DIRECT, pods=pods).ready)
            patches.append(node_writes(mark.calls(site.user_agent)))
            processor.append(footprint.processor_seconds(pid) - before)
    return report(without, beside, patches=patches, processor=processor, pods=pods)


def report(
    without: Sequence[float],
    beside: Sequence[float],
    *,
    patches: Sequence[int],
    processor: Sequence[float],
    pods: int,
) -> Report:
    """Medians over rounds for speed; what was most for the rest."""
    rows = [
        [str(number + 1), f"{alone:.1f} s", f"{with_us:.1f} s", str(written), f"{used:.2f} s"]
        for number, (alone, with_us, written, used) in enumerate(
            zip(without, beside, patches, processor, strict=True)
        )
    ]
    head = ["round", "Ready without us", "Ready beside us", "node patches", "our processor"]
    return Report(
        f"{pods} pods of others in the compute cluster",
        [Table(head, rows)],
        targets.of_foreign(
            node_patches=patches, processor=processor, slowdown=median(beside) / median(without)
        ),
        {
            "pods": pods,
            "without": list(without),
            "beside": list(beside),
            "node_patches": list(patches),
            "processor": list(processor),
        },
    )
