"""One workload on one variant, from its creation until nothing of it is left.

In: a site, what to submit and where. Out: an `Outcome`: times from the reference watcher, calls
from audit logs, the bridge's processor time and memory from /proc. Fails with `MeasurementError`
when pods do not get where they should.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.bench import workloads
from tests.bench.calls import Call, CallMark, of, writes
from tests.bench.lag import LagMark
from tests.bench.observer import Observer
from tests.bench.timeline import between, curve
from tests.measuring import footprint
from tests.measuring.report import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.bench.site import Site
    from tests.bench.timeline import Mark, Timeline
    from tests.bench.workloads import Kind, Place
    from tests.clusters import Cluster

DIRECT, FLOOR, THROUGH = "direct", "floor", "through"
VARIANTS = (DIRECT, FLOOR, THROUGH)
_NUMBERS = itertools.count(1)
_SECONDS_PER_POD = 0.3
_LEAST_SECONDS = 120.0
_SETTLE = 3.0
_CHURN_RATE, _CHURN_SECONDS, _CHURN_LIFE = 50, 20, 5.0


@dataclass(frozen=True)
class Outcome:
    """What was measured of one run."""

    kind: Kind
    variant: str
    pods: int
    ready: float
    """Seconds from the creation until all pods are Ready, or have ended (Jobs)."""
    gone: float
    """Seconds from the deletion until nothing is left."""
    create: Sequence[float] = ()
    """Seconds from bound in the tenant until there in the compute cluster, each pod."""
    status: Sequence[float] = ()
    """Seconds from Ready in the compute cluster until Ready in the tenant, each pod."""
    curve: Sequence[tuple[float, int]] = ()
    calls: Counter[Call] = field(default_factory=Counter)
    """Of the bridge, over the whole life."""
    others: Counter[Call] = field(default_factory=Counter)
    """What other programs wrote meanwhile."""
    processor: float = 0.0
    """Processor seconds of the bridge, over the whole life."""
    late: Counter[float] = field(default_factory=Counter)
    """Wake-ups of the bridge's event loop by how late they were at most, in seconds."""
    peak: int = 0
    """Bytes that the bridge had resident at most."""

    @property
    def rate(self) -> float:
        """Pods a second until all were there."""
        return self.pods / self.ready

    @property
    def writes_per_pod(self) -> float:
        """Of the bridge; with those for what pods share, where they share something."""
        return writes(self.calls, shared=self.kind == "shared") / self.pods

    def json(self) -> dict[str, Any]:
        """For machines: percentiles of what there is one of for each pod."""
        shown = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("create", "status"):
            values = shown[name]
            shown[name] = {f"p{p}": percentile(values, p / 100) for p in (50, 90, 99)}
            shown[name] = shown[name] if values else None
        for name in ("calls", "others"):
            most_first = sorted(shown[name].items(), key=lambda each: -each[1])
            shown[name] = [[*call, number] for call, number in most_first]
        shown["writes_per_pod"] = self.writes_per_pod
        return shown


def run(site: Site, kind: Kind, variant: str, *, pods: int, automount: bool = True) -> Outcome:
    """Submit, wait, delete, wait. The bridge runs for `through` alone."""
    with ExitStack() as stack:
        pid = stack.enter_context(site.bridged()).pid if variant == THROUGH else 0
        lag = LagMark(site) if variant == THROUGH else None
        observer = stack.enter_context(Observer([site.tenant, site.compute]))
        mark, before = CallMark(site.tenant, site.compute), footprint.processor_seconds(pid)
        footprint.forget_peak(pid)
        name = f"b{next(_NUMBERS)}"
        places = _places(site, variant, automount=automount)
        judges = [cluster.name for cluster, _ in places]
        work = _churn if kind == "churn" else _at_once
        ready, gone = work(observer, places, kind, name, pods=pods)
        timeline = observer.read(copy.deepcopy)
        outcome = Outcome(
            kind=kind,
            variant=variant,
            pods=pods,
            ready=ready[1] - ready[0],
            gone=gone[1] - gone[0],
            curve=curve(timeline.times(judges[0], _end(kind), f"{name}-"), ready[0]),
        )
        if variant == THROUGH:
            above, below = (
                partial(timeline.times, cluster.name, prefix=f"{name}-")
                for cluster in (site.tenant, site.compute)
            )
            time.sleep(_SETTLE)  # what is done when the last pod has gone
            calls = mark.calls()
            ours = of(calls, site.user_agent)
            outcome = dataclasses.replace(
                outcome,
                create=between(above("bound"), below("seen")),
                status=between(below("ready"), above("ready")),
                calls=ours,
                others=calls - ours,
                late=lag.late() if lag else Counter(),
                processor=footprint.processor_seconds(pid) - before,
                peak=footprint.peak_resident(pid),
            )
    site.progress(f"{kind}, {variant}: {pods} pods after {outcome.ready:.1f} s")
    return outcome


def _places(site: Site, variant: str, *, automount: bool) -> list[tuple[Cluster, Place]]:
    """Where the workload is created, and seen to be ready."""
    direct = (site.compute, site.direct(automount=automount))
    if variant == DIRECT:
        return [direct]
    if variant == FLOOR:
        return [(site.tenant, site.own(automount=automount)), direct]
    return [(site.tenant, site.through(automount=automount))]


def _end(kind: Kind) -> Mark:
    return "ended" if kind == "job" else "ready"


def _at_once(
    observer: Observer,
    places: Sequence[tuple[Cluster, Place]],
    kind: Kind,
    name: str,
    *,
    pods: int,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """When all was asked for and there, and when its end was."""
    made = [
        (cluster, workloads.objects(kind, name, pods=pods, place=place))
        for cluster, place in places
    ]
    limit = max(_LEAST_SECONDS, _SECONDS_PER_POD * pods)
    began = time.monotonic()
    with ThreadPoolExecutor(len(made)) as threads:
        list(threads.map(lambda each: _create(*each), made))
    names = [cluster.name for cluster, _ in places]
    end = _wait(observer, names, _end(kind), f"{name}-", pods, limit)
    deleted = time.monotonic()
    with ThreadPoolExecutor(len(made)) as threads:
        list(threads.map(lambda each: _delete(each[0], workloads.of_pods(each[1])), made))
    gone = _wait(observer, names, "gone", f"{name}-", pods, limit)
    for cluster, objects in made:
        _delete(cluster, workloads.of_data(objects))
    return (began, end), (deleted, gone)


def _churn(
    observer: Observer,
    places: Sequence[tuple[Cluster, Place]],
    kind: Kind,
    name: str,
    *,
    pods: int,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Bare pods at a steady rate, each deleted when it is Ready and has lived for some seconds."""
    names = [cluster.name for cluster, _ in places]
    number = min(pods, _CHURN_RATE * _CHURN_SECONDS)
    began = time.monotonic()
    with ThreadPoolExecutor(2 * len(places)) as threads:
        tasks = []
        for cluster, place in places:
            made = [
                workloads.pod(f"{name}-{each}", place.namespaces[0], place=place)
                for each in range(number)
            ]
            lived = _ready(observer, cluster.name, _paced(made, began + _CHURN_LIFE))
            tasks.append(threads.submit(_create, cluster, _paced(made, began)))
            tasks.append(threads.submit(_delete, cluster, lived))
        for task in tasks:
            task.result()
    asked = time.monotonic()
    _wait(observer, names, "ready", f"{name}-", number, _LEAST_SECONDS)
    gone = _wait(observer, names, "gone", f"{name}-", number, _LEAST_SECONDS)
    return (began, asked), (asked, gone)


def _wait(
    observer: Observer, clusters: Sequence[str], mark: Mark, prefix: str, pods: int, limit: float
) -> float:
    """When the last of all pods had come so far, in the last of the clusters."""

    def done(timeline: Timeline) -> bool:
        return all(len(timeline.times(name, mark, prefix)) >= pods for name in clusters)

    observer.wait(done, f"{pods} pods {prefix}* are {mark}", timeout=limit)
    return observer.read(
        lambda found: max(max(found.times(n, mark, prefix).values()) for n in clusters)
    )


def _create(cluster: Cluster, made: Iterable[Mapping[str, Any]]) -> None:
    assert cluster.control_plane is not None
    with cluster.control_plane.client() as client:
        for each in made:
            client.create(workloads.collection(each), each)


def _delete(cluster: Cluster, made: Iterable[Mapping[str, Any]]) -> None:
    assert cluster.control_plane is not None
    with cluster.control_plane.client() as client:
        for each in made:
            client.delete(workloads.deletion(each))


def _paced(made: Sequence[dict[str, Any]], began: float) -> Iterator[dict[str, Any]]:
    """One after the other, at the rate of churn."""
    for number, each in enumerate(made):
        time.sleep(max(0.0, began + number / _CHURN_RATE - time.monotonic()))
        yield each


def _ready(
    observer: Observer, cluster: str, made: Iterable[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One after the other, when it is Ready."""
    for each in made:
        name = each["metadata"]["name"]
        there = partial(_is_ready, cluster=cluster, name=name)
        observer.wait(there, f"{name} is ready", timeout=_LEAST_SECONDS)
        yield each


def _is_ready(timeline: Timeline, *, cluster: str, name: str) -> bool:
    return name in timeline.times(cluster, "ready", name)
