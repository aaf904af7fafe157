"""Pods of others in the compute cluster: what they cost us, and what we cost them.

In: a site. Out: in turns with and without the bridge, how long a Deployment of somebody else took,
how often the virtual node was written because of it, and the bridge's processor time. Our agent
then takes its capacity from the nodes below: so it watches all pods there, which it does not with
quotas, and what others take changes what it says.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from statistics import median
from typing import TYPE_CHECKING

import yaml

from tests.bench import one, targets
from tests.bench.calls import CallMark, node_writes, of
from tests.measuring import footprint
from tests.measuring.report import Report, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.agents import Federation
    from tests.bench.site import Site


def measure(site: Site, *, pods: int, rounds: int) -> Report:
    """So many rounds, each without and with the bridge."""
    without, beside = [], []
    patches: list[int] = []
    processor: list[float] = []
    for _ in range(rounds):
        without.append(one.run(site, "deployment", one.DIRECT, pods=pods).ready)
        with ExitStack() as stack:
            if not site.other:
                stack.enter_context(_seeing_all_pods(site.joined))
            pid = stack.enter_context(site.bridged()).pid
            mark, before = CallMark(site.tenant), footprint.processor_seconds(pid)
            beside.append(one.run(site, "deployment", one.DIRECT, pods=pods).ready)
            patches.append(node_writes(of(mark.calls(), site.user_agent)))
            processor.append(footprint.processor_seconds(pid) - before)
    return report(without, beside, patches=patches, processor=processor, pods=pods)


@contextmanager
def _seeing_all_pods(joined: Federation) -> Iterator[None]:
    """Let the agent's capacity be what the nodes below have left, as long as the block lasts."""
    before = joined.config.read_text()
    config = yaml.safe_load(before)
    for cluster in config["clusters"]:
        cluster["pools"] = [
            {**pool, "capacity": {"sources": ["nodes"]}} for pool in cluster["pools"]
        ]
    joined.config.write_text(yaml.safe_dump(config, sort_keys=False))
    try:
        yield
    finally:
        joined.config.write_text(before)


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
