"""Many compute clusters and virtual nodes in one agent.

In: how many. Out: seconds until all virtual nodes are Ready, processor and memory at rest, what one
Deployment over all of them takes, and the watches that it costs in each cluster. Starts clusters of
its own. All virtual nodes of a cluster are pools on the same simulated nodes.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tests.agents import AgentProcess, join
from tests.agents.join import ROOMY
from tests.bench import targets, workloads
from tests.bench.calls import CallMark, of
from tests.bench.observer import Observer
from tests.bench.virtual_nodes import wait_ready
from tests.bench.workloads import Place
from tests.clusters import ClusterSpec, NodePool
from tests.e2e.workloads import NAMESPACE
from tests.measuring import footprint
from tests.measuring.report import Report, Table, mebibytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.agents import Federation
    from tests.bench.calls import Call
    from tests.bench.timeline import Mark
    from tests.clusters import Cluster, Harness
    from tests.clusters.programs import Progress

_TENANT, _NAME = "tenant", "wide"
_ROOMY = {**ROOMY, "pods": "500"}
_SETTLE, _REST = 10.0, 30.0
_PATIENCE = 240.0


class _Deployed(NamedTuple):
    """As in `Outcome`."""

    ready: float
    gone: float
    processor: float
    peak: int
    used: int


@dataclass(frozen=True)
class Outcome:
    """What was measured."""

    clusters: int
    nodes: int
    pods: int
    started: float
    """Seconds from the start of the agent until all virtual nodes are Ready."""
    at_rest: float
    """Share of a core, without pods."""
    resident: int
    """Bytes, at rest."""
    ready: float
    """Seconds from the creation of a Deployment until all its pods are Ready."""
    gone: float
    processor: float
    """Seconds of the agent, over the life of the Deployment."""
    peak: int
    used: int
    """Virtual nodes that had a pod of it."""
    calls: Counter[Call]
    """Of the agent, from its start on."""


def measure(
    harness: Harness,
    directory: Path,
    *,
    clusters: int,
    nodes: int,
    pods: int,
    progress: Progress,
) -> Report:
    """So many clusters with so many virtual nodes each, and a Deployment of so many pods."""
    names = [f"gpu-{number}" for number in range(clusters)]
    pool = NodePool(max(2, -(-2 * pods // clusters // 500)))
    up = harness.up([ClusterSpec(_TENANT), *(ClusterSpec(name, kwok=pool) for name in names)])
    tenant = up.pop(_TENANT)
    joined = _join(harness, tenant, up, directory=directory, nodes=nodes)
    mark, began = CallMark(tenant, *up.values()), time.monotonic()
    with AgentProcess(joined) as agent:
        wait_ready(tenant, joined.nodes, timeout=_PATIENCE)
        started = time.monotonic() - began
        progress(f"{len(joined.nodes)} virtual nodes after {started:.1f} s")
        time.sleep(_SETTLE)
        before = footprint.processor_seconds(agent.pid)
        time.sleep(_REST)
        at_rest = (footprint.processor_seconds(agent.pid) - before) / _REST
        resident = footprint.of(agent.pid).resident
        deployed = _deploy(tenant, agent, pods)
        found = Outcome(
            clusters=clusters,
            nodes=len(joined.nodes),
            pods=pods,
            started=started,
            at_rest=at_rest,
            resident=resident,
            calls=of(mark.calls(), "vnode/"),
            **deployed._asdict(),
        )
    return report(found)


def report(found: Outcome) -> Report:
    """Watches are the mean over compute clusters."""
    watches: Counter[str] = Counter()
    for call, number in found.calls.items():
        if call.verb == "watch":
            watches["above" if call.cluster == _TENANT else "below"] += number
    rows = [
        ["all virtual nodes are Ready after", f"{found.started:.1f} s"],
        ["at rest: processor, of a core", f"{found.at_rest:.2%}"],
        ["at rest: resident", mebibytes(found.resident)],
        ["watches begun in the tenant", str(watches["above"])],
        ["watches begun in each compute cluster", f"{watches['below'] / found.clusters:.1f}"],
        [f"{found.pods} pods: all Ready after", f"{found.ready:.1f} s"],
        [f"{found.pods} pods: all gone after", f"{found.gone:.1f} s"],
        [f"{found.pods} pods: virtual nodes that had some", str(found.used)],
        ["processor per pod", f"{found.processor / found.pods * 1000:.1f} ms"],
        ["resident at most", mebibytes(found.peak)],
    ]
    return Report(
        f"{found.nodes} virtual nodes of {found.clusters} compute clusters in one agent",
        [Table(["what", ""], rows)],
        targets.of_wide(
            nodes=found.nodes,
            used=found.used,
            processor=found.processor / found.pods,
            peak=found.peak,
        ),
        {
            **{name: getattr(found, name) for name in Outcome.__dataclass_fields__},
            "calls": [[*call, number] for call, number in found.calls.items()],
        },
    )


def _join(
    harness: Harness,
    tenant: Cluster,
    computes: Mapping[str, Cluster],
    *,
    directory: Path,
    nodes: int,
) -> Federation:
    capacity = {"sources": ["static"], "static": _ROOMY}
    pools = {
        name: [
            {"name": f"p{number}", "port": harness.free_port(), "capacity": capacity}
            for number in range(nodes)
        ]
        for name in computes
    }
    overrides: dict[str, dict[str, object]] = {
        name: {"pools": each} for name, each in pools.items()
    }
    joined = join(harness, tenant, computes, directory=directory, overrides=overrides)
    virtual = tuple(f"vnode-{name}-{pool['name']}" for name in computes for pool in pools[name])
    return replace(joined, nodes=virtual)


def _deploy(tenant: Cluster, agent: AgentProcess, pods: int) -> _Deployed:
    assert tenant.control_plane is not None
    # The tenant has no nodes but virtual ones.
    place = Place([NAMESPACE], {}, [{"operator": "Exists"}])
    made = workloads.deployment(_NAME, NAMESPACE, pods=pods, place=place)
    made["spec"]["template"]["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": made["spec"]["selector"],
        }
    ]
    with Observer([tenant]) as observer, tenant.control_plane.client() as client:

        def seconds_until(mark: Mark) -> float:
            began = time.monotonic()
            observer.wait(
                lambda seen: len(seen.times(tenant.name, mark, f"{_NAME}-")) == pods,
                f"{pods} pods are {mark}",
                timeout=_PATIENCE,
            )
            return time.monotonic() - began

        footprint.forget_peak(agent.pid)
        before = footprint.processor_seconds(agent.pid)
        client.create(workloads.collection(made), made)
        ready = seconds_until("ready")
        used = _nodes_with_pods(tenant)
        client.delete(workloads.path(made))
        gone = seconds_until("gone")
    processor = footprint.processor_seconds(agent.pid) - before
    return _Deployed(ready, gone, processor, footprint.peak_resident(agent.pid), used)


def _nodes_with_pods(tenant: Cluster) -> int:
    path = "-o=jsonpath={.items[*].spec.nodeName}"
    return len(set(tenant.kubectl(f"--namespace={NAMESPACE}", "get", "pods", path).split()))
