"""DaemonSets of the tenant: they serve its own nodes and stay off virtual ones."""

from typing import Any

import pytest

from tests.agents import Federation
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import daemon_set

KWOK = "kwok-a"
FORWARD = "vnode.dev/forward-daemonset"


def _pods(user: User, name: str) -> dict[str, Any]:
    """Its pods by node."""
    return {p["spec"].get("nodeName"): p for p in user.items("pods", f"app={name}")}


def _wait_told_once(user: User, name: str) -> None:
    until(lambda: user.event_reasons(name)["DaemonSetNotForwarded"] == 1, "there is one event")


@pytest.fixture
def own_nodes(user: User, federation: Federation) -> set[str]:
    """Nodes of the tenant that are not virtual."""
    names = {n["metadata"]["name"] for n in user.items("nodes")} - set(federation.nodes)
    if not names:
        pytest.skip("the given tenant has no nodes of its own")
    return names


def test_a_daemonset_that_tolerates_everything_runs_on_the_tenants_own_nodes_only(
    user: User, federation: Federation, own_nodes: set[str]
) -> None:
    user.apply(daemon_set("exporter"))

    def placed() -> dict[str, Any] | None:
        pods = _pods(user, "exporter")
        running = {n for n, p in pods.items() if p["status"]["phase"] == "Running"}
        held = {n for n, p in pods.items() if p["status"].get("reason") == "DaemonSetNotForwarded"}
        return pods if running == own_nodes and held == set(federation.nodes) else None

    pods = until(placed, "it runs on its own nodes and says why not on virtual ones")
    ready = user.get("daemonset", "exporter")["status"]["numberReady"]
    assert ready == len(own_nodes)
    for node in federation.nodes:
        assert pods[node]["status"]["phase"] == "Pending"
        _wait_told_once(user, pods[node]["metadata"]["name"])
    on_virtual = [pods[node]["metadata"]["name"] for node in federation.nodes]
    user.kubectl("delete", "pods", *on_virtual, "--timeout=10s")
    user.kubectl("delete", "daemonset", "exporter")
    until(lambda: not _pods(user, "exporter"), "all pods are gone at once", timeout=10)
    for cluster in federation.computes.values():
        made = [name for name in pods_created(cluster) if name.startswith("exporter-")]
        assert made == []


def test_an_annotated_daemonset_is_forwarded(
    user: User, federation: Federation, own_nodes: set[str]
) -> None:
    user.apply(daemon_set("cache", annotations={FORWARD: "true"}))
    nodes = own_nodes | set(federation.nodes)

    def all_run() -> bool:
        pods = _pods(user, "cache")
        return {n for n, p in pods.items() if p["status"]["phase"] == "Running"} == nodes

    until(all_run, "it runs everywhere")
    user.kubectl("rollout", "status", "daemonset/cache", "--timeout=20s")
    below = User(federation.computes[KWOK], BELOW)
    assert len(below.items("pods", "app=cache")) == 1
