"""Reports of what is measured with many clusters or many tenants."""

import dataclasses
from collections import Counter

import pytest

from tests.bench import tenants, wide
from tests.bench.calls import Call
from tests.bench.tenants import Moment
from tests.bench.virtual_nodes import is_ready

WIDE = wide.Outcome(
    clusters=2,
    nodes=6,
    pods=100,
    started=3.0,
    at_rest=0.01,
    resident=1 << 27,
    ready=5.0,
    gone=4.0,
    processor=1.0,
    peak=1 << 28,
    used=6,
    calls=Counter(
        {
            Call("vnode/0.1.0", "tenant", "watch", "pods", False): 12,
            Call("vnode/0.1.0", "gpu-0", "watch", "pods", False): 3,
            Call("vnode/0.1.0", "gpu-1", "watch", "pods", False): 2,
            Call("vnode/0.1.0", "gpu-1", "list", "pods", False): 9,
        }
    ),
)
FIRST = Moment(
    tenants=1,
    watches=100,
    api=300 << 20,
    etcd=50 << 20,
    processor=0.02,
    requests=0.5,
    agents=120 << 20,
)
LAST = Moment(
    tenants=11,
    watches=150,
    api=310 << 20,
    etcd=51 << 20,
    processor=0.03,
    requests=5.5,
    agents=1320 << 20,
)


def test_watches_are_told_apart_by_side() -> None:
    rows = {row[0]: row[1] for row in wide.report(WIDE).tables[0].rows}
    assert rows["watches begun in the tenant"] == "12"
    assert rows["watches begun in each compute cluster"] == "2.5"
    assert rows["processor per pod"] == "10.0 ms"


@pytest.mark.parametrize(
    "worse",
    [
        dataclasses.replace(WIDE, used=5),
        dataclasses.replace(WIDE, processor=1.5),
        dataclasses.replace(WIDE, peak=400_000_000),
    ],
)
def test_many_nodes_are_judged(worse: wide.Outcome) -> None:
    assert wide.report(WIDE).passed
    assert len(wide.report(worse).missed) == 1


def test_a_tenant_more_costs_the_mean_between_first_and_last() -> None:
    report = tenants.report([FIRST, LAST], pods=0, own={})
    assert list(report.tables[0].rows[-1]) == [
        "each more",
        "5.0",
        "1024 KiB",
        "102 KiB",
        "0.10%",
        "0.50",
        "120.0 MiB",
    ]


def test_a_single_tenant_tells_nothing_of_one_more() -> None:
    assert len(tenants.report([FIRST], pods=0, own={}).tables[0].rows) == 1


def test_each_tenant_has_its_pods_in_its_own_namespace() -> None:
    own = {f"t{n}--team-a": 7 for n in range(11)}
    assert tenants.report([FIRST, LAST], pods=7, own=own).passed
    assert not tenants.report([FIRST, LAST], pods=7, own={**own, "t3--team-a": 8}).passed


def test_open_watches_are_read_from_the_metrics_of_an_api_server() -> None:
    text = """# TYPE apiserver_longrunning_requests gauge
apiserver_longrunning_requests{component="apiserver",resource="pods",verb="WATCH"} 3
apiserver_longrunning_requests{component="apiserver",resource="secrets",verb="WATCH"} 4
apiserver_longrunning_requests{component="apiserver",resource="pods",verb="CONNECT"} 9
"""
    assert tenants.watches(text) == 7


def test_a_node_without_room_is_not_ready() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": "5"}}
    assert is_ready(ready)
    assert not is_ready({**ready, "allocatable": {"pods": "0"}})
    assert not is_ready({**ready, "conditions": []})
