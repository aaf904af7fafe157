"""The routes that say what pods use."""

import json

import pytest

from tests.unit.kubelet.conftest import Kubelet
from tests.unit.kubelet.fakes import make_pod
from tests.unit.kubelet.usage.test_stats import pod_with, report, runs, used
from vnode.kube.types import ObjectKey
from vnode.usage import UsageReport

RUNNING = pod_with(runs("main"))


async def test_the_summary_shows_the_pods_of_the_node_with_tenant_uids(kubelet: Kubelet) -> None:
    kubelet.pods.pods[ObjectKey("team", "web")] = RUNNING
    kubelet.backend.report = lambda: report(used(cpu=2))
    async with kubelet.request("/stats/summary") as response:
        assert response.content_type == "application/json"
        found = await response.json()
    assert found["node"]["nodeName"] == "virtual-1"
    assert found["pods"][0]["podRef"]["uid"] == "uid-1"
    assert found["pods"][0]["cpu"]["usageCoreNanoSeconds"] == 2 * 10**9


async def test_resource_metrics_are_text_of_version_0_0_4(kubelet: Kubelet) -> None:
    kubelet.pods.pods[ObjectKey("team", "web")] = RUNNING
    kubelet.backend.report = lambda: report(used(cpu=2))
    async with kubelet.request("/metrics/resource") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "node_cpu_usage_seconds_total 2.0 " in await response.text()


@pytest.mark.parametrize("error", [TimeoutError(), RuntimeError("a name below")])
async def test_a_backend_that_fails_costs_the_figures_only(
    kubelet: Kubelet, error: Exception
) -> None:
    def fail() -> UsageReport:
        raise error

    kubelet.pods.pods[ObjectKey("team", "web")] = RUNNING
    kubelet.backend.report = fail
    code, text = await kubelet.ask("/stats/summary")
    assert code == 200
    assert "cpu" not in json.loads(text)["pods"][0]
    code, text = await kubelet.ask("/metrics/resource")
    assert code == 200
    assert "\nresource_scrape_error 1\n" in text
    assert "a name below" not in text


async def test_counters_go_on_from_scrape_to_scrape(kubelet: Kubelet) -> None:
    kubelet.pods.pods = {ObjectKey("team", "web"): RUNNING}
    kubelet.backend.report = lambda: report(used(cpu=5))
    await kubelet.ask("/metrics/resource")
    kubelet.pods.pods = {ObjectKey("team", "new"): make_pod("new", uid="uid-2")}
    kubelet.backend.report = UsageReport
    _, text = await kubelet.ask("/metrics/resource")
    assert "node_cpu_usage_seconds_total 5.0 " in text


async def test_each_route_has_its_own_right(kubelet: Kubelet) -> None:
    kubelet.reviews.rights = {("reader", "get", "stats")}
    assert (await kubelet.ask("/stats/summary"))[0] == 200
    assert (await kubelet.ask("/metrics/resource"))[0] == 403
