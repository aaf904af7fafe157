"""Tenant pods joined with what was measured, and the counters of a pod and of the node."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from tests.builders import raw
from tests.unit.kubelet.fakes import NODE, make_pod
from vnode.kube.types import UID, Pod
from vnode.kubelet.usage.stats import NodeStats, NodeUsage, PodStats
from vnode.usage import ContainerUsage, CpuUsage, MemoryUsage, UsageReport

SECOND = 10**9
START = 1_800_000_000.0
"""2027-01-15T08:00:00Z"""


def runs(*names: str, kind: str = "containerStatuses", started: str = "08:00:00Z") -> Any:
    state = {"running": {"startedAt": f"2027-01-15T{started}"}}
    return {kind: [{"name": name, "state": state} for name in names]}


def pod_with(*statuses: dict[str, Any], name: str = "web", uid: str = "uid-1") -> Pod:
    status: dict[str, Any] = {"phase": "Running", "startTime": "2027-01-15T08:00:00Z"}
    for each in statuses:
        status |= each
    made = make_pod(name, uid=uid)
    return Pod(metadata=made.metadata, spec=made.spec, status=Raw(raw(status)))


def used(
    name: str = "main",
    *,
    cpu: float = 1.0,
    time: float = START + 10,
    memory: int = 100,
    rate: int | None = 5,
    started: float = START,
) -> ContainerUsage:
    return ContainerUsage(
        name=name,
        started_at=started,
        cpu=CpuUsage(time=time, total_nanos=round(cpu * SECOND), rate_nanos=rate),
        memory=MemoryUsage(time=time, working_set=memory, usage=2 * memory, rss=1),
    )


def report(*containers: ContainerUsage, uid: str = "uid-1", complete: bool = True) -> UsageReport:
    return UsageReport(pods={UID(uid): containers}, complete=complete)


class TestPods:
    def test_a_running_container_shows_what_was_measured(self) -> None:
        (pod,) = look(pod_with(runs("main")), report(used(cpu=2.5))).pods
        (container,) = pod.containers
        assert container.usage == used(cpu=2.5)
        assert (container.started_at, pod.started_at) == (START, START)

    def test_a_pod_that_was_not_measured_is_listed_without_figures(self) -> None:
        (pod,) = look(pod_with(runs("main", started="08:00:07Z")), UsageReport()).pods
        (container,) = pod.containers
        assert (container.name, container.started_at) == ("main", START + 7)
        assert (container.usage, pod.cpu, pod.memory) == (None, None, None)

    def test_a_sidecar_that_the_tenant_does_not_know_is_neither_listed_nor_counted(self) -> None:
        measured = report(used("main", memory=100), used("fluid-fuse-0", memory=900))
        stats = look(pod_with(runs("main")), measured)
        assert [c.name for c in stats.pods[0].containers] == ["main"]
        assert stats.pods[0].memory is not None
        assert stats.pods[0].memory.working_set == 100
        assert stats.cpu is not None
        assert stats.cpu.total_nanos == SECOND

    def test_init_and_ephemeral_containers_are_listed_while_they_run(self) -> None:
        pod = pod_with(
            runs("setup", kind="initContainerStatuses"),
            runs("debug", kind="ephemeralContainerStatuses"),
            {"containerStatuses": [{"name": "main", "state": {"waiting": {}}}]},
        )
        (shown,) = look(pod, UsageReport()).pods
        assert [c.name for c in shown.containers] == ["setup", "debug"]

    def test_a_pod_of_which_nothing_runs_is_not_listed(self) -> None:
        ended = {"name": "main", "state": {"terminated": {"exitCode": 0}}}
        assert look(pod_with({"containerStatuses": [ended]}), report(used())).pods == []

    def test_a_namesake_of_another_uid_gets_none_of_the_figures(self) -> None:
        (pod,) = look(pod_with(runs("main"), uid="uid-2"), report(used(), uid="uid-1")).pods
        assert pod.containers[0].usage is None

    def test_memory_of_a_pod_is_the_sum_and_what_one_does_not_say_is_left_out(self) -> None:
        silent = ContainerUsage(name="b", memory=MemoryUsage(time=START + 3, working_set=7))
        (pod,) = look(pod_with(runs("a", "b")), report(used("a", memory=100), silent)).pods
        assert pod.memory == MemoryUsage(time=START + 10, working_set=107)


class TestCounters:
    def test_a_pod_keeps_what_its_container_used_before_it_started_again(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used(cpu=100)))
        again = report(used(cpu=2, started=START + 50, time=START + 60))
        assert total(usage.look([pod_with(runs("main"))], again).pods[0]) == 102

    def test_a_counter_that_fell_began_anew(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used(cpu=100)))
        (pod,) = usage.look([pod_with(runs("main"))], report(used(cpu=3, time=START + 20))).pods
        assert total(pod) == 103

    def test_an_older_figure_counts_for_nothing(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used(cpu=10, time=START + 30)))
        (pod,) = usage.look([pod_with(runs("main"))], report(used(cpu=9, time=START + 20))).pods
        assert total(pod) == 10

    def test_an_old_figure_of_the_container_before_counts_for_nothing(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used(cpu=2, started=START + 50)))
        (pod,) = usage.look([pod_with(runs("main"))], report(used(cpu=100, started=START))).pods
        assert total(pod) == 2

    def test_a_round_without_figures_leaves_no_hole(self) -> None:
        usage = Node()
        pods = [pod_with(runs("main"))]
        usage.look(pods, report(used(cpu=10)))
        missed = usage.look(pods, UsageReport(complete=False))
        assert missed.pods[0].cpu is None
        found = usage.look(pods, report(used(cpu=16)))
        assert found.cpu is not None
        assert found.cpu.total_nanos == 16 * SECOND

    def test_the_node_keeps_what_pods_used_that_are_gone(self) -> None:
        usage = Node()
        both = UsageReport(pods={UID("a"): [used(cpu=10)], UID("b"): [used(cpu=5)]})
        pods = [pod_with(runs("main"), uid="a"), pod_with(runs("main"), uid="b")]
        usage.look(pods, both)
        stats = usage.look(pods[1:], report(used(cpu=6), uid="b"))
        assert stats.cpu is not None
        assert stats.memory is not None
        assert stats.cpu.total_nanos == 16 * SECOND
        assert stats.memory.working_set == 100

    def test_a_pod_that_runs_nothing_for_a_moment_is_not_counted_twice(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used(cpu=10)))
        usage.look([pod_with()], UsageReport())
        stats = usage.look([pod_with(runs("main"))], report(used(cpu=11)))
        assert stats.cpu is not None
        assert stats.cpu.total_nanos == 11 * SECOND

    def test_the_time_of_the_node_does_not_go_back_with_its_pods(self) -> None:
        usage = Node()
        pods = [pod_with(runs("main"))]
        usage.look(pods, report(used(time=START + 30)))
        stats = usage.look(pods, report(used(time=START + 20)))
        assert stats.cpu is not None
        assert stats.cpu.time == START + 30


class TestNode:
    def test_a_node_of_which_nothing_was_measured_has_no_figures(self) -> None:
        stats = look(pod_with(runs("main")), UsageReport())
        assert (stats.cpu, stats.memory) == (None, None)

    def test_a_node_whose_pods_have_ended_uses_no_memory(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used()))
        stats = usage.look([], UsageReport())
        assert stats.memory == MemoryUsage(time=START + 10, working_set=0)

    def test_a_node_whose_pods_did_not_answer_has_no_memory_figure(self) -> None:
        usage = Node()
        usage.look([pod_with(runs("main"))], report(used()))
        assert usage.look([], UsageReport(complete=False)).memory is None
        assert usage.look([pod_with(runs("main"))], UsageReport()).memory is None

    def test_rates_add_up_unless_one_is_missing(self) -> None:
        pods = pod_with(runs("a", "b"))
        known = look(pods, report(used("a", rate=2), used("b", rate=3)))
        assert known.cpu is not None
        assert known.cpu.rate_nanos == 5
        missing = look(pods, report(used("a", rate=2), used("b", rate=None)))
        assert missing.cpu is not None
        assert missing.cpu.rate_nanos is None


class Node:
    """A node that is looked at again and again."""

    def __init__(self) -> None:
        self.usage = NodeUsage(NODE, now=START)

    def look(self, pods: Sequence[Pod], measured: UsageReport) -> NodeStats:
        look = self.usage.look(measured)
        for pod in pods:
            look.add(pod)
        return look.end()


def look(pod: Pod, measured: UsageReport) -> NodeStats:
    return Node().look([pod], measured)


def total(pod: PodStats) -> float:
    assert pod.cpu is not None
    return pod.cpu.total_nanos / SECOND
