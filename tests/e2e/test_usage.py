"""What pods use, as users see it: kubectl top and autoscaling with an unchanged metrics-server.

Both sources below are real: the kubelet of the compute cluster's node, then a metrics-server of
that cluster. The pods run through all tests here, since figures need time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import MetricsServer
from tests.agents.join import NAMESPACES, join_compute, uid_of
from tests.clusters import ProgramError, programs
from tests.clusters.existing import requested
from tests.e2e.conftest import REAL
from tests.e2e.user import User, until
from tests.e2e.workloads import deployment, pod, pod_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.agents import AgentProcess, Federation
    from tests.clusters import Harness

pytestmark = pytest.mark.containers

NAMESPACE = NAMESPACES[1]
"""Not the one whose pods live through a whole run."""
BUSY = {
    "command": ["sh", "-c", "while :; do :; done"],
    "resources": {
        "requests": {"cpu": "10m", "memory": "16Mi"},
        "limits": {"cpu": "100m", "memory": "32Mi"},
    },
}
"""A container that uses the whole tenth of a CPU that it may."""
LEAST, MOST = 20, 130
"""Milli-CPU that it then uses; the machine may be too busy to give it all."""
AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "busy", "namespace": NAMESPACE},
    "spec": {
        "minReplicas": 1,
        "maxReplicas": 2,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "averageUtilization": 50},
                },
            }
        ],
    },
}


@pytest.fixture(scope="module")
def servers(
    federation: Federation, harness: Harness, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, MetricsServer]]:
    """A metrics-server for the tenant, which serves, and one for the compute cluster, not yet."""
    if requested() or REAL not in federation.computes:
        pytest.skip("needs a compute cluster with real containers that this run has started")
    try:
        program = programs.ensure([programs.METRICS_SERVER], print)[programs.METRICS_SERVER]
    except ProgramError as error:
        pytest.skip(f"no metrics-server: {error}")
    directory: Path = tmp_path_factory.mktemp("metrics")

    def make(name: str) -> MetricsServer:
        cluster = federation.tenant if name == "tenant" else federation.computes[name]
        return MetricsServer(
            cluster,
            program,
            address=harness.listen_address,
            port=harness.free_port(),
            directory=directory / name,
        )

    with make("tenant") as above, make(REAL) as below:
        above.serve()
        yield {"tenant": above, REAL: below}


@pytest.fixture(scope="module")
def workload(
    federation: Federation, session_agent: AgentProcess, servers: dict[str, MetricsServer]
) -> Iterator[User]:
    """A busy Deployment under an autoscaler, an idle pod, and a pod on a simulated node."""
    join_compute(
        federation.computes[REAL],
        REAL,
        uid=uid_of(federation.tenant),
        config=federation.config,
        directory=federation.directory,
        options=["--usage-kubelet"],
    )
    session_agent.ensure_running()
    session_agent.wait_ready()
    user = User(federation.tenant, NAMESPACE)
    objects = [
        deployment("busy", replicas=1, spec=pod_spec(cluster=REAL, container=BUSY)),
        pod("idle", cluster=REAL),
        pod("simulated", cluster="kwok-a"),
    ]
    for each in objects:
        each["metadata"]["namespace"] = NAMESPACE
    user.apply(*objects, AUTOSCALER)
    yield user
    session_agent.ensure_running()
    for kind in ("hpa", "deployments", "pods"):
        user.kubectl("delete", kind, "--all", "--wait=false")
    until(lambda: not user.items("pods"), "the namespace is empty again", timeout=60)


def _summary(user: User, cluster: str) -> dict[str, Any]:
    """Pods of `/stats/summary` by name; none while the agent starts."""
    text = user.cluster.kubectl("get", "--raw", _proxied(cluster, "stats/summary"), check=False)
    if not text.startswith("{"):
        return {}
    found: dict[str, Any] = json.loads(text)
    assert found["node"]["nodeName"] == f"vnode-{cluster}"
    return {pod["podRef"]["name"]: pod for pod in found["pods"]}


def _proxied(cluster: str, path: str) -> str:
    return f"/api/v1/nodes/vnode-{cluster}/proxy/{path}"


def _busy(pods: dict[str, Any]) -> Any:
    """Figures of the busy pod's container, as soon as there are any."""
    for name, found in pods.items():
        if name.startswith("busy-") and "cpu" in found["containers"][0]:
            return found
    return None


def _busy_nanos(user: User) -> int:
    found = _busy(_summary(user, REAL))
    return found["containers"][0]["cpu"]["usageCoreNanoSeconds"] if found else 0


def _top(user: User, what: str) -> dict[str, int]:
    """`kubectl top`: milli-CPU by name; nothing while there are no figures."""
    lines = user.kubectl("top", what, "--no-headers", check=False).splitlines()
    shown = [words for line in lines if len(words := line.split()) > 2]
    return {words[0]: int(words[1][:-1]) for words in shown if words[1][:-1].isdigit()}


def test_the_summary_has_the_figures_of_the_kubelet_below_under_tenant_names(
    workload: User, federation: Federation
) -> None:
    found = until(lambda: _busy(_summary(workload, REAL)), "the kubelet below has figures")
    (container,) = found["containers"]
    (wanted,) = workload.items("pods", "app=busy")
    assert found["podRef"] == {k: wanted["metadata"][k] for k in ("name", "namespace", "uid")}
    assert container["name"] == "main"
    assert container["memory"]["rssBytes"] > 0
    first = container["cpu"]["usageCoreNanoSeconds"]
    assert first > 0

    until(lambda: _busy_nanos(workload) > first, "the counter has risen", timeout=30, every=2)
    for path in ("stats/summary", "metrics/resource"):
        text = workload.cluster.kubectl("get", "--raw", _proxied(REAL, path))
        assert "demo--" not in text
        assert not any(node in text for node in federation.computes[REAL].nodes)


def test_a_pod_that_nobody_measures_is_listed_without_figures(workload: User) -> None:
    workload.wait_phase("simulated", "Running")
    found = _summary(workload, "kwok-a")["simulated"]
    (container,) = found["containers"]
    assert container.keys() == {"name", "startTime"}
    assert found.keys() == {"podRef", "startTime", "containers"}


def test_kubectl_top_shows_pods_and_virtual_nodes(workload: User) -> None:
    def shown() -> Any:
        pods, nodes = _top(workload, "pods"), _top(workload, "nodes")
        known = {name.split("-")[0] for name in pods} >= {"busy", "idle"}
        return (pods, nodes) if known and f"vnode-{REAL}" in nodes else None

    pods, nodes = until(shown, "metrics-server knows pods and node", timeout=60, every=1)
    for name, cpu in pods.items():
        if name.startswith("busy-"):
            assert LEAST <= cpu <= MOST, pods
    assert pods["idle"] < LEAST
    assert nodes[f"vnode-{REAL}"] >= LEAST
    assert "simulated" not in pods


def test_an_autoscaler_acts_on_usage(workload: User) -> None:
    def scaled() -> bool:
        return bool(workload.get("deployment", "busy")["spec"]["replicas"] == 2)

    until(scaled, "the autoscaler has added a replica", timeout=60, every=1)


def test_a_metrics_server_below_is_enough(
    workload: User,
    agent: AgentProcess,
    federation: Federation,
    servers: dict[str, MetricsServer],
) -> None:
    servers[REAL].serve()
    roles = ("clusterroles,clusterrolebindings", "--selector=vnode.dev/tenant=demo")
    federation.computes[REAL].kubectl("delete", *roles)
    agent.stop()  # It has seen no such API for minutes, and looks for it ever less often.
    agent.ensure_running()
    agent.wait_ready()
    found = until(lambda: _busy(_summary(workload, REAL)), "the API below has figures", every=1)
    (container,) = found["containers"]
    assert LEAST <= container["cpu"]["usageNanoCores"] / 1e6 <= MOST
    assert "rssBytes" not in container["memory"], "that is more than the API tells"
    first = container["cpu"]["usageCoreNanoSeconds"]
    until(lambda: _busy_nanos(workload) > first, "the counter has risen", timeout=30, every=2)
