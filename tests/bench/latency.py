"""How long a status takes when nothing else happens.

In: a site whose bridge runs. Out: for each sample the seconds from the compute cluster's own watch
until the tenant's watch, and, at the same time, from a PATCH in the tenant until its watch. One
process sees all of them, so what it takes itself is in each. Where it gets its turn late, as on a
busy machine, both watches seem to come at once: the whole way from the PATCH below is shown too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from tests.bench import targets, workloads
from tests.bench.observer import Observer
from tests.bench.watching import Pods, connected
from tests.measuring.report import Report, Table, percentile
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.site import Site

_FORWARDED, _OWN = "latency-forwarded", "latency-own"
_PAUSE = 0.05
_PATIENCE = 30.0


class Sample(NamedTuple):
    """Seconds."""

    compute: float
    """From a PATCH in the compute cluster until its own watch."""
    tenant: float
    """From that PATCH until the tenant's watch."""
    own: float
    """From a PATCH in the tenant until its watch, of another pod."""


class _Waiting:
    """Who waits for which number of which pod in which cluster."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str, int], asyncio.Future[float]] = {}

    def expect(self, cluster: str, name: str, number: int) -> asyncio.Future[float]:
        future = asyncio.get_running_loop().create_future()
        self._waiting[cluster, name, number] = future
        return future

    async def follow(self, cluster: str, api: Pods, version: str) -> None:
        async for sight in api.sights(version):
            future = self._waiting.pop((cluster, sight.name, sight.restarts), None)
            if future is not None:
                future.set_result(sight.at)


def measure(site: Site, *, rounds: int, samples: int) -> Report:
    """So many rounds of so many samples."""
    namespace = site.namespaces[0]
    made = [
        workloads.pod(_FORWARDED, namespace, place=site.through()),
        workloads.pod(_OWN, namespace, place=site.own()),
    ]
    assert site.tenant.control_plane is not None
    with site.bridged(), site.tenant.control_plane.client() as client:
        with Observer([site.tenant]) as observer:
            for each in made:
                client.create(workloads.collection(each), each)
            observer.wait(
                lambda seen: len(seen.times(site.tenant.name, "ready", "latency-")) == len(made),
                "two pods are Ready",
                timeout=_PATIENCE,
            )
        try:
            found = [
                asyncio.run(_round(site, samples, first=1 + number * samples))
                for number in range(rounds)
            ]
        finally:
            for each in made:
                client.delete(workloads.path(each))
    return report([sample for each in found for sample in each], rounds=rounds)


def report(found: Sequence[Sample], *, rounds: int) -> Report:
    """Percentiles over all rounds."""
    added = [sample.tenant - sample.compute for sample in found]
    own = [sample.own for sample in found]
    rows = [
        [name, *(f"{percentile(values, p) * 1000:.1f} ms" for p in (0.5, 0.9, 0.99))]
        for name, values in (
            ("compute's watch -> tenant's watch", added),
            ("tenant: PATCH -> watch", own),
            ("compute: PATCH -> watch", [sample.compute for sample in found]),
            ("compute: PATCH -> tenant's watch", [sample.tenant for sample in found]),
        )
    ]
    return Report(
        f"status latency at idle, {len(added)} samples in {rounds} rounds",
        [Table(["what", "p50", "p90", "p99"], rows)],
        targets.of_latency(added, own),
        {"added": added, "own": own, "samples": [list(sample) for sample in found]},
    )


async def _round(site: Site, samples: int, *, first: int) -> list[Sample]:
    tenant, compute = site.tenant.name, site.compute.name
    waiting = _Waiting()
    found = []
    async with (
        connected(site.tenant.kubeconfig) as above,
        connected(site.compute.kubeconfig) as low,
    ):
        follows = [
            asyncio.ensure_future(waiting.follow(name, api, await api.version()))
            for name, api in ((tenant, above), (compute, low))
        ]
        try:
            for number in range(first, first + samples):
                here = waiting.expect(compute, _FORWARDED, number)
                there = waiting.expect(tenant, _FORWARDED, number)
                sent = await low.set_restarts(site.below, _FORWARDED, number)
                compute_saw, tenant_saw = await _soon(here) - sent, await _soon(there) - sent
                await asyncio.sleep(_PAUSE)
                seen = waiting.expect(tenant, _OWN, number)
                sent = await above.set_restarts(site.namespaces[0], _OWN, number)
                found.append(Sample(compute_saw, tenant_saw, await _soon(seen) - sent))
                await asyncio.sleep(_PAUSE)
        finally:
            for follow in follows:
                follow.cancel()
            await asyncio.gather(*follows, return_exceptions=True)
    return found


async def _soon(future: asyncio.Future[float]) -> float:
    try:
        return await asyncio.wait_for(future, _PATIENCE)
    except TimeoutError:
        raise MeasurementError(f"a status did not come in {_PATIENCE:g} s") from None
