"""Many running pods: what they cost at rest, and how long a restart takes.

In: a site. Out: processor and memory at rest, seconds from the start of the bridge until a change
that was made while it was away is shown, and what it wrote of pods meanwhile beside that change.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.bench import targets, workloads
from tests.bench.calls import READS, CallMark
from tests.bench.observer import Observer
from tests.bench.watching import connected
from tests.measuring import footprint
from tests.measuring.report import Report, Table, mebibytes
from tests.measuring.waiting import MeasurementError, wait

if TYPE_CHECKING:
    from collections import Counter

    from tests.bench.calls import Call
    from tests.bench.site import Site

_NAME = "held"
_SETTLE, _REST = 10.0, 30.0
_LONGEST = 120.0
_SECONDS_PER_POD = 0.3
_CHANGES = 7
"""Restarts that the changed pod is said to have had."""


def measure(site: Site, *, pods: int) -> Report:
    """A Deployment of so many pods, a rest, a restart."""
    place = site.through()
    made = workloads.deployment(_NAME, place.namespaces[0], pods=pods, place=place)
    assert site.tenant.control_plane is not None
    with site.tenant.control_plane.client() as client:
        with site.bridged(leave_node=True) as bridge, Observer([site.tenant]) as observer:
            client.create(workloads.collection(made), made)
            observer.wait(
                lambda seen: len(seen.times(site.tenant.name, "ready", f"{_NAME}-")) == pods,
                f"{pods} pods are Ready",
                timeout=max(_LONGEST, pods * _SECONDS_PER_POD),
            )
            names = observer.read(lambda seen: seen.times(site.tenant.name, "ready", f"{_NAME}-"))
            time.sleep(_SETTLE)
            before = footprint.processor_seconds(bridge.pid)
            time.sleep(_REST)
            at_rest = (footprint.processor_seconds(bridge.pid) - before) / _REST
            resident = footprint.of(bridge.pid).resident
        site.progress("restart")
        mark, pod = CallMark(site.tenant, site.compute), min(names)
        seconds, processor = asyncio.run(_restart(site, pod))
        calls = mark.calls(site.user_agent)
        client.delete(workloads.path(made))
        with site.bridged():
            limit = max(_LONGEST, pods * _SECONDS_PER_POD)
            wait(lambda: _nothing_left(site), "all pods are gone", timeout=limit, every=1.0)
    return report(
        pods=pods,
        at_rest=at_rest,
        resident=resident,
        seconds=seconds,
        processor=processor,
        calls=calls,
    )


def report(
    *,
    pods: int,
    at_rest: float,
    resident: float,
    seconds: float,
    processor: float,
    calls: Counter[Call],
) -> Report:
    """`at_rest` is a share of a core, `processor` what the restart took; of the writes of pods one
    is due to the change."""
    written = of_pods(calls) - 1
    rows = [
        ["at rest: processor, of a core", f"{at_rest:.2%}"],
        ["at rest: resident", mebibytes(resident)],
        ["restart: a change is shown after", f"{seconds:.1f} s"],
        ["restart: processor until then and 5 s more", f"{processor:.1f} s"],
        ["restart: writes of pods beside the change", str(written)],
    ]
    return Report(
        f"{pods} running pods: rest and restart",
        [Table(["what", ""], rows)],
        targets.of_restart(seconds=seconds, writes=written, at_rest=at_rest, resident=resident),
        {
            "pods": pods,
            "at_rest": at_rest,
            "resident": resident,
            "seconds": seconds,
            "processor": processor,
            "calls": [[*call, number] for call, number in calls.items()],
        },
    )


def of_pods(calls: Counter[Call]) -> int:
    """Writes of pods, their status, and what pods refer to; not of Leases, Nodes and Events."""
    kinds = ("pods", "secrets", "configmaps")
    return sum(
        number
        for call, number in calls.items()
        if call.verb not in READS and call.resource.partition("/")[0] in kinds
    )


async def _restart(site: Site, pod: str) -> tuple[float, float]:
    """Change a copy while nobody looks, start the bridge; seconds until the tenant shows it."""
    async with (
        connected(site.compute.kubeconfig) as below,
        connected(site.tenant.kubeconfig) as api,
    ):
        version = await api.version()
        await below.set_restarts(site.below, pod, _CHANGES)
        began = time.monotonic()
        site.bridge.start()
        try:
            async with asyncio.timeout(_LONGEST):
                async for sight in api.sights(version):
                    if sight.name == pod and sight.restarts == _CHANGES:
                        seconds = sight.at - began
                        break
            await asyncio.sleep(5.0)  # whatever it would still write
            return seconds, footprint.processor_seconds(site.bridge.pid)
        except TimeoutError:
            raise MeasurementError(f"not steady {_LONGEST:g} s after a restart") from None
        finally:
            await asyncio.to_thread(site.bridge.stop)


def _nothing_left(site: Site) -> bool:
    where = (f"--namespace={site.namespaces[0]}", "get", "pods", "-o", "name")
    return not site.tenant.kubectl(*where).strip()
