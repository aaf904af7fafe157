"""Bytes through kubectl exec, out of a pod and into it, directly and through a virtual node.

In: pods and two ways to them. Out: seconds per transfer, in turns: so both ways meet the same noise
of the machine. The client is kubectl, as users have it; every byte is counted at the other end.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.measuring import footprint
from tests.measuring.report import Report, Table, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.clusters import Cluster
    from tests.load.site import Site

    Progress = Callable[[str], None]

LEAST_RATIO = 0.7
_WAYS = ("direct", "through")
_DIRECTIONS = _OUT, _IN = "out of the pod", "into the pod"
_SLOWEST = 2 << 20
"""Bytes a second below which a transfer is given up."""


@dataclass(frozen=True)
class Transfer:
    """One transfer."""

    way: str
    direction: str
    size: int
    """Bytes that were sent."""
    arrived: str
    """What was counted at the other end."""
    seconds: float
    """From the start of kubectl to its end."""
    agent_seconds: float
    """Processor time of the agent."""

    @property
    def speed(self) -> float:
        """MiB a second."""
        return self.size / self.seconds / (1 << 20)


async def measure(site: Site, *, size: int, rounds: int, progress: Progress) -> Report:
    """`rounds` transfers of `size` bytes in each direction and each way."""
    clusters = {
        "direct": (site.compute, site.direct.namespace),
        "through": (site.tenant, site.through.namespace),
    }
    done: list[Transfer] = []
    for number in range(rounds):
        for direction in _DIRECTIONS:
            for way in _WAYS if number % 2 == 0 else reversed(_WAYS):
                kubectl = _kubectl(*clusters[way], pod=site.pods[0])
                before = footprint.processor_seconds(site.agent.pid)
                began = time.monotonic()
                arrived = await _transfer(_line(direction, kubectl, size=size), size)
                transfer = Transfer(
                    way=way,
                    direction=direction,
                    size=size,
                    arrived=arrived,
                    seconds=time.monotonic() - began,
                    agent_seconds=footprint.processor_seconds(site.agent.pid) - before,
                )
                done.append(transfer)
                progress(f"{way}, {direction}: {size >> 20} MiB, {transfer.speed:.0f} MiB/s")
    return report(done)


def _kubectl(cluster: Cluster, namespace: str, *, pod: str) -> str:
    program, config = cluster.kubectl_program, cluster.kubeconfig
    words = [program, f"--kubeconfig={config}", f"--namespace={namespace}", "exec", "-i", pod, "--"]
    return shlex.join(map(str, words))


def _line(direction: str, kubectl: str, *, size: int) -> str:
    if direction == _OUT:
        return f"{kubectl} head -c {size} /dev/zero </dev/null | wc -c"
    return f"head -c {size} /dev/zero | {kubectl} wc -c"


async def _transfer(line: str, size: int) -> str:
    process = await asyncio.create_subprocess_shell(
        line, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        async with asyncio.timeout(60 + size / _SLOWEST):
            output, _ = await process.communicate()
    except TimeoutError:
        return "too late"
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return output.decode().strip()


def report(done: Sequence[Transfer]) -> Report:
    """The best of each way, since noise only ever makes them slower."""
    size = done[0].size
    rows, targets, numbers = [], [], {}
    for direction in _DIRECTIONS:
        of_direction = [each for each in done if each.direction == direction]
        best = {
            way: max((each for each in of_direction if each.way == way), key=lambda t: t.speed)
            for way in _WAYS
        }
        ratio = best["through"].speed / best["direct"].speed
        per_gibibyte = best["through"].agent_seconds * (1 << 30) / size
        rows.append(
            [
                direction,
                *(f"{best[way].speed:.0f} MiB/s" for way in _WAYS),
                f"{ratio:.2f}",
                f"{per_gibibyte:.1f} s",
            ]
        )
        wrong = [f"{each.way}: {each.arrived}" for each in of_direction if not _is_whole(each)]
        targets += [
            Target(
                f"{direction}: every byte arrives",
                "; ".join(wrong) or f"{len(of_direction)} times",
                met=not wrong,
            ),
            Target(
                f"{direction}: at least {LEAST_RATIO:.0%} of the direct speed",
                f"{ratio:.0%}",
                met=ratio >= LEAST_RATIO,
            ),
        ]
        numbers[direction] = {
            way: [
                {"seconds": each.seconds, "agent_seconds": each.agent_seconds}
                for each in of_direction
                if each.way == way
            ]
            for way in _WAYS
        }
    return Report(
        title=f"{size >> 20} MiB through kubectl exec, the best of each way",
        tables=[Table(["transfer", *_WAYS, "ratio", "agent's processor per GiB"], rows)],
        targets=targets,
        numbers=numbers,
    )


def _is_whole(transfer: Transfer) -> bool:
    return transfer.arrived == str(transfer.size)
