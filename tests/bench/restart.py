"""Many running pods: what they cost at rest, and how long a restart takes.

In: a site. Out: processor and memory at rest, seconds from the start of the bridge until it is
steady, and what it wrote meanwhile. Steady: changes that were made to some pods while it was away,
first to last in order of names, are all shown. Each is one write; there should be no other.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.bench import targets, workloads
from tests.bench.calls import CallMark, of, writes
from tests.bench.observer import Observer
from tests.bench.watching import connected
from tests.clusters.errors import CommandError
from tests.measuring import footprint
from tests.measuring.report import Report, Table, mebibytes
from tests.measuring.waiting import MeasurementError, wait

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence, Set

    from tests.bench.calls import Call
    from tests.bench.site import Site
    from tests.clusters.api import AdminClient

_NAME = "held"
_SETTLE, _REST = 10.0, 30.0
_LONGEST = 120.0
_SECONDS_PER_POD = 0.3
_LISTED_A_SECOND = 2000
_CHANGED = 20
_RESTARTS = 7
"""That the changed pods are said to have had."""


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
            peak = footprint.peak_resident(bridge.pid)
        site.progress("restart")
        changed = spread(sorted(names), _CHANGED)
        mark = CallMark(site.tenant, site.compute)
        seconds, processor = asyncio.run(_restart(site, changed))
        calls = of(mark.calls(), site.user_agent)
        client.delete(workloads.path(made))
        with site.bridged():
            limit = max(_LONGEST, pods * _SECONDS_PER_POD)
            pause = max(1.0, pods / _LISTED_A_SECOND)
            where = f"/api/v1/namespaces/{place.namespaces[0]}/pods?limit=1"
            wait(
                lambda: _nothing_at(client, where), "all pods are gone", timeout=limit, every=pause
            )
    return report(
        pods=pods,
        at_rest=at_rest,
        resident=resident,
        peak=peak,
        seconds=seconds,
        processor=processor,
        calls=calls,
        changed=len(changed),
    )


def report(
    *,
    pods: int,
    at_rest: float,
    resident: float,
    peak: float,
    seconds: float,
    processor: float,
    calls: Counter[Call],
    changed: int,
) -> Report:
    """`at_rest` is a share of a core, `processor` what the restart took; `changed` writes are due
    to changes."""
    written = writes(calls, shared=True) - changed
    rows = [
        ["at rest: processor, of a core", f"{at_rest:.2%}"],
        ["at rest: resident", mebibytes(resident)],
        ["resident at most, before", mebibytes(peak)],
        [f"restart: {changed} changes are shown after", f"{seconds:.1f} s"],
        ["restart: processor until then and 5 s more", f"{processor:.1f} s"],
        ["restart: creates, deletes, statuses and other writes beside them", str(written)],
    ]
    return Report(
        f"{pods} running pods: rest and restart",
        [Table(["what", ""], rows)],
        targets.of_restart(seconds=seconds, writes=written, at_rest=at_rest, resident=resident),
        {
            "pods": pods,
            "at_rest": at_rest,
            "resident": resident,
            "peak": peak,
            "changed": changed,
            "seconds": seconds,
            "processor": processor,
            "calls": [[*call, number] for call, number in calls.items()],
        },
    )


def spread(names: Sequence[str], number: int) -> set[str]:
    """So many of the names at most, first and last among them."""
    last = len(names) - 1
    return {names[round(n * last / max(1, number - 1))] for n in range(number)}


async def _restart(site: Site, changed: Set[str]) -> tuple[float, float]:
    """Change copies while nobody looks, start the bridge; seconds until the tenant shows all."""
    async with (
        connected(site.compute.kubeconfig) as below,
        connected(site.tenant.kubeconfig) as api,
    ):
        version = await api.version()
        for pod in changed:
            await below.set_restarts(site.below, pod, _RESTARTS)
        left = set(changed)
        began = time.monotonic()
        site.bridge.start()
        try:
            async with asyncio.timeout(_LONGEST):
                async for sight in api.sights(version):
                    if sight.restarts == _RESTARTS:
                        left.discard(sight.name)
                    if not left:
                        seconds = sight.at - began
                        break
            await asyncio.sleep(5.0)  # whatever it would still write
            return seconds, footprint.processor_seconds(site.bridge.pid)
        except TimeoutError:
            raise MeasurementError(f"not steady {_LONGEST:g} s after a restart") from None
        finally:
            await asyncio.to_thread(site.bridge.stop)


def _nothing_at(client: AdminClient, path: str) -> bool:
    """Whether a list is empty; an API server with ten thousand deletions to do may be slow."""
    try:
        return not client.get(path)["items"]
    except CommandError:
        return False
