"""`/stats/summary` as stats.k8s.io/v1alpha1 words it."""

import json
from typing import Any

from tests.unit.kubelet.fakes import NODE
from vnode.kube.types import UID, ObjectKey
from vnode.kubelet.usage.stats import ContainerStats, NodeStats, PodStats
from vnode.kubelet.usage.summary import summary
from vnode.usage import AcceleratorUsage, ContainerUsage, CpuUsage, MemoryUsage

START = 1_800_000_000.0
CPU = CpuUsage(time=START + 5.9, total_nanos=1_500_000_000, rate_nanos=0)
MEMORY = MemoryUsage(time=START + 5, working_set=10, usage=20, rss=5, available=90)
GPU = AcceleratorUsage(
    make="nvidia", model="a100", id="GPU-1", memory_total=80, memory_used=40, duty_cycle=99
)


def make_stats(
    *containers: ContainerStats,
    name: str = "web",
    cpu: CpuUsage | None = None,
    memory: MemoryUsage | None = None,
    pods: int = 1,
    complete: bool = True,
) -> NodeStats:
    return NodeStats(
        name=NODE,
        started_at=START,
        cpu=cpu,
        memory=memory,
        pods=[
            PodStats(
                key=ObjectKey("team", name),
                uid=UID("uid-1"),
                started_at=START,
                containers=containers,
                cpu=cpu,
                memory=memory,
            )
        ]
        * pods,
        complete=complete,
    )


def shown(stats: NodeStats) -> Any:
    return json.loads(b"".join(summary(stats)))


def test_everything_that_is_known_is_shown() -> None:
    usage = ContainerUsage(name="main", cpu=CPU, memory=MEMORY, accelerators=[GPU])
    found = shown(make_stats(ContainerStats("main", START, usage), cpu=CPU, memory=MEMORY))
    cpu = {"time": "2027-01-15T08:00:05Z", "usageNanoCores": 0, "usageCoreNanoSeconds": 1500000000}
    memory = {
        "time": "2027-01-15T08:00:05Z",
        "availableBytes": 90,
        "usageBytes": 20,
        "workingSetBytes": 10,
        "rssBytes": 5,
    }
    assert found["node"] == {
        "nodeName": "virtual-1",
        "startTime": "2027-01-15T08:00:00Z",
        "cpu": cpu,
        "memory": memory,
    }
    assert found["pods"] == [
        {
            "podRef": {"name": "web", "namespace": "team", "uid": "uid-1"},
            "startTime": "2027-01-15T08:00:00Z",
            "containers": [
                {
                    "name": "main",
                    "startTime": "2027-01-15T08:00:00Z",
                    "cpu": cpu,
                    "memory": memory,
                    "accelerators": [
                        {
                            "make": "nvidia",
                            "model": "a100",
                            "id": "GPU-1",
                            "memoryTotal": 80,
                            "memoryUsed": 40,
                            "dutyCycle": 99,
                        }
                    ],
                }
            ],
            "cpu": cpu,
            "memory": memory,
        }
    ]


def test_what_is_not_known_is_left_out() -> None:
    found = shown(make_stats(ContainerStats("main", 0.0, None)))
    assert found["node"].keys() == {"nodeName", "startTime"}
    assert found["pods"][0].keys() == {"podRef", "startTime", "containers"}
    assert found["pods"][0]["containers"] == [{"name": "main", "startTime": None}]


def test_many_pods_come_in_bounded_pieces() -> None:
    pieces = list(summary(make_stats(ContainerStats("main", START, None), pods=2000)))
    assert len(json.loads(b"".join(pieces))["pods"]) == 2000
    assert max(map(len, pieces)) < 70_000
    assert len(pieces) > 1
