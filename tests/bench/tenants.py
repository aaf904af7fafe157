"""Many tenants on one compute cluster: what each costs there.

In: how many. Out, after the first, half and all of them: watches and memory of the compute
cluster's API server, its processor and the agents' requests at rest. Starts clusters of its own.
Each tenant is an agent with a name, a credential and a compute namespace of its own; they share one
tenant API server, which the compute cluster knows nothing of.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.agents import AgentProcess, join
from tests.agents.join import join_compute, uid_of
from tests.bench import targets, workloads
from tests.bench.calls import CallMark, of
from tests.bench.observer import Observer
from tests.bench.virtual_nodes import wait_ready
from tests.bench.workloads import Place
from tests.clusters import ClusterSpec, NodePool
from tests.e2e.workloads import CLUSTER_LABEL, NAMESPACE
from tests.measuring import footprint
from tests.measuring.report import Report, Table, kibibytes, mebibytes
from tests.measuring.waiting import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.agents import Federation
    from tests.clusters import Cluster, Harness
    from tests.clusters.programs import Progress

_COMPUTE = "gpu-a"
_FIRST_ADDRESS = ip_address("127.7.0.1")
_AT_A_TIME = 5
_PER_AGENT = 140 << 20
"""Bytes of memory that an agent needs, with some to spare."""
_SETTLE, _REST = 15.0, 30.0
_PATIENCE = 240.0
_WATCHES = re.compile(r'^apiserver_longrunning_requests\{.*verb="WATCH".*\} (\d+)$', re.MULTILINE)


@dataclass(frozen=True)
class Moment:
    """The compute cluster at rest."""

    tenants: int
    watches: int
    """Open at its API server, those of its own components included."""
    api: int
    """Bytes that its API server has resident."""
    etcd: int
    processor: float
    """Share of a core that its API server takes."""
    requests: float
    """Of all agents, a second, but watches."""
    agents: int
    """Bytes that all agents have resident."""


def measure(
    harness: Harness, directory: Path, *, tenants: int, pods: int, progress: Progress
) -> Report:
    """So many tenants, with so many running pods each."""
    _check_memory(tenants)
    pool = NodePool(max(2, -(-2 * tenants * pods // 500)))
    up = harness.up([ClusterSpec("tenant"), ClusterSpec(_COMPUTE, kwok=pool)])
    tenant, compute = up["tenant"], up[_COMPUTE]
    first = join(harness, tenant, {_cluster(0): compute}, directory=directory / "0", name=_name(0))
    moments: list[Moment] = []
    with ExitStack() as stack:
        observer = stack.enter_context(Observer([tenant]))
        agents: list[AgentProcess] = []
        for count in sorted({1, max(1, tenants // 2), tenants}):
            while len(agents) < count:
                new = range(len(agents), min(count, len(agents) + _AT_A_TIME))
                joined = [first if n == 0 else _like(first, n, directory / str(n)) for n in new]
                agents += [stack.enter_context(AgentProcess(each)) for each in joined]
                nodes = [node for each in joined for node in each.nodes]
                wait_ready(tenant, nodes, timeout=_PATIENCE)
                for number in new:
                    _deploy(tenant, number, pods)
            observer.wait(
                lambda seen, all_pods=count * pods: (  # type: ignore[misc]
                    len(seen.times(tenant.name, "ready", "of-")) == all_pods
                ),
                f"{pods} pods of each of {count} tenants are Ready",
                timeout=_PATIENCE,
            )
            time.sleep(_SETTLE)
            moments.append(_moment(compute, agents))
            progress(f"{count} tenants")
        own = _pods_by_namespace(compute)
    return report(moments, pods=pods, own=own)


def report(moments: Sequence[Moment], *, pods: int, own: Mapping[str, int]) -> Report:
    """`own`: pods in each compute namespace. What one tenant more costs is a mean."""
    first, last = moments[0], moments[-1]
    more = last.tenants - first.tenants
    rows = [
        [
            str(each.tenants),
            str(each.watches),
            mebibytes(each.api),
            mebibytes(each.etcd),
            f"{each.processor:.1%}",
            f"{each.requests:.1f}",
            mebibytes(each.agents / each.tenants),
        ]
        for each in moments
    ]
    if more:
        rows.append(
            [
                "each more",
                f"{(last.watches - first.watches) / more:.1f}",
                kibibytes((last.api - first.api) / more),
                kibibytes((last.etcd - first.etcd) / more),
                f"{(last.processor - first.processor) / more:.2%}",
                f"{(last.requests - first.requests) / more:.2f}",
                mebibytes((last.agents - first.agents) / more),
            ]
        )
    head = ["tenants", "watches", "API server", "etcd", "its processor", "requests/s", "an agent"]
    right = sum(own.get(f"{_name(n)}--{NAMESPACE}", 0) == pods for n in range(last.tenants))
    return Report(
        f"{last.tenants} tenants with {pods} pods each on one compute cluster, at rest",
        [Table(head, rows)],
        [targets.of_tenants(right=right, tenants=last.tenants)],
        {"moments": [asdict(each) for each in moments], "pods": pods},
    )


def _name(number: int) -> str:
    return f"t{number}"


def _cluster(number: int) -> str:
    """Virtual nodes and Leases in the tenant are named after it, and it is shared here."""
    return f"gpu-{number}"


def _check_memory(tenants: int) -> None:
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.M)
    available, needed = int(found[1]) * 1024 if found else 0, tenants * _PER_AGENT
    if available < needed:
        raise MeasurementError(
            f"{tenants} agents need {mebibytes(needed)} of memory and {mebibytes(available)} are"
            " there; give fewer --tenants"
        )


def _like(first: Federation, number: int, directory: Path) -> Federation:
    """Another tenant that uses the same API server."""
    directory.mkdir(mode=0o700)
    config = yaml.safe_load(first.config.read_text())
    address = str(_FIRST_ADDRESS + number)
    config["tenant"]["name"] = _name(number)
    config["kubelet"].update(listen=address, advertise=address)
    name = _cluster(number)
    config["clusters"][0].update(name=name, kubeconfig=str(directory / f"{name}.kubeconfig"))
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    compute = first.computes[_cluster(0)]
    join_compute(compute, name, uid=uid_of(first.tenant), config=path, directory=directory)
    return replace(
        first,
        computes={name: compute},
        directory=directory,
        config=path,
        nodes=(f"vnode-{name}",),
    )


def _deploy(tenant: Cluster, number: int, pods: int) -> None:
    selector = {CLUSTER_LABEL: _cluster(number)}
    place = Place([NAMESPACE], selector, [{"operator": "Exists"}])
    made = workloads.deployment(f"of-{_name(number)}", NAMESPACE, pods=pods, place=place)
    assert tenant.control_plane is not None
    with tenant.control_plane.client() as client:
        client.create(workloads.collection(made), made)


def _moment(compute: Cluster, agents: Sequence[AgentProcess]) -> Moment:
    assert compute.table is not None
    api, etcd = (
        compute.table.get(compute.name, program).identity.pid
        for program in ("kube-apiserver", "etcd")
    )
    mark, before = CallMark(compute), footprint.processor_seconds(api)
    time.sleep(_REST)
    processor = footprint.processor_seconds(api) - before
    calls = of(mark.calls(), "vnode/")
    return Moment(
        tenants=len(agents),
        watches=watches(compute.kubectl("get", "--raw", "/metrics")),
        api=footprint.of(api).resident,
        etcd=footprint.of(etcd).resident,
        processor=processor / _REST,
        requests=sum(number for call, number in calls.items() if call.verb != "watch") / _REST,
        agents=sum(footprint.of(agent.pid).resident for agent in agents),
    )


def watches(metrics: str) -> int:
    """Open ones, out of an API server's metrics."""
    return sum(int(number) for number in _WATCHES.findall(metrics))


def _pods_by_namespace(compute: Cluster) -> Counter[str]:
    items = json.loads(compute.kubectl("get", "pods", "--all-namespaces", "-o", "json"))["items"]
    return Counter(item["metadata"]["namespace"] for item in items)
