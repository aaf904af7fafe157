"""`/metrics/resource` as metrics-server and virtual-kubelet's test suite read it."""

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.kubelet.usage.test_summary import CPU, MEMORY, START, make_stats
from vnode.kubelet.usage.resource_metrics import resource_metrics
from vnode.kubelet.usage.stats import ContainerStats, NodeStats
from vnode.usage import ContainerUsage

MEASURED = ContainerStats("main", START + 0.5, ContainerUsage(name="main", cpu=CPU, memory=MEMORY))
UNMEASURED = ContainerStats("side", 0.0, None)


def text(stats: NodeStats) -> str:
    return b"".join(resource_metrics(stats)).decode()


def lines(stats: NodeStats) -> list[str]:
    return [line for line in text(stats).splitlines() if not line.startswith("#")]


def test_every_measurement_has_its_name_labels_value_and_time() -> None:
    of_container = '{namespace="team",pod="web",container="main"}'
    of_pod = '{namespace="team",pod="web"}'
    assert lines(make_stats(MEASURED, cpu=CPU, memory=MEMORY)) == [
        f"container_cpu_usage_seconds_total{of_container} 1.5 1800000005900",
        f"container_memory_working_set_bytes{of_container} 10 1800000005000",
        f"container_start_time_seconds{of_container} 1800000000.5",
        "node_cpu_usage_seconds_total 1.5 1800000005900",
        "node_memory_working_set_bytes 10 1800000005000",
        f"pod_cpu_usage_seconds_total{of_pod} 1.5 1800000005900",
        f"pod_memory_working_set_bytes{of_pod} 10 1800000005000",
        "resource_scrape_error 0",
        "scrape_error 0",
    ]


def test_the_name_of_the_pod_is_the_second_label() -> None:
    for line in lines(make_stats(MEASURED, cpu=CPU, memory=MEMORY)):
        if "{" in line:
            assert line.partition("{")[2].split(",")[1].startswith('pod="web"')


def test_what_was_not_measured_has_no_line() -> None:
    assert lines(make_stats(UNMEASURED)) == ["resource_scrape_error 0", "scrape_error 0"]


def test_an_incomplete_measurement_is_a_scrape_error() -> None:
    found = lines(make_stats(MEASURED, complete=False))
    assert found[-2:] == ["resource_scrape_error 1", "scrape_error 1"]


def test_a_prometheus_reads_it() -> None:
    families = text_string_to_metric_families(text(make_stats(MEASURED, cpu=CPU, memory=MEMORY)))
    kinds = {family.name: family.type for family in families}
    assert kinds["container_cpu_usage_seconds"] == "counter"
    assert kinds["container_memory_working_set_bytes"] == "gauge"
    assert len(kinds) == 9


def test_many_pods_come_in_pieces_and_each_family_has_one_head() -> None:
    stats = make_stats(MEASURED, pods=2000)
    assert len(list(resource_metrics(stats))) > 1
    assert text(stats).count("# TYPE container_cpu_usage_seconds_total counter\n") == 1
    assert len(lines(stats)) == 3 * 2000 + 2
