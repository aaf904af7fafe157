"""DaemonSets of the tenant: they serve its own nodes and stay off virtual ones."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.agents import Federation
from tests.agents.join import DEPLOY
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import daemon_set

KWOK = "kwok-a"
FORWARD = "vnode.dev/forward-daemonset"
POLICY = f"--filename={DEPLOY / 'tenant' / 'daemonsets-policy.yaml'}"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ON_OWN_NODES = {"key": "vnode.dev/cluster", "operator": "DoesNotExist"}


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


def _admitted(user: User, manifest: Any) -> list[dict[str, Any]]:
    """The terms for nodes that the API server would store."""
    text = user.kubectl(
        "create", "--dry-run=server", "--output=json", "-f", "-", input=json.dumps(manifest)
    )
    affinity = json.loads(text)["spec"]["template"]["spec"].get("affinity", {})
    required = affinity.get("nodeAffinity", {}).get(REQUIRED, {})
    terms: list[dict[str, Any]] = required.get("nodeSelectorTerms", [])
    return terms


@contextmanager
def _policy(user: User) -> Iterator[None]:
    """The optional policy, in force."""
    user.kubectl("apply", "--server-side", POLICY)
    try:
        until(
            lambda: _admitted(user, daemon_set("probe")) == [{"matchExpressions": [ON_OWN_NODES]}],
            "the policy acts",
        )
        yield
    finally:
        user.kubectl("delete", POLICY)


def test_with_the_optional_policy_updates_of_daemonsets_reach_the_tenants_own_nodes(
    user: User, federation: Federation, own_nodes: set[str]
) -> None:
    user.apply(daemon_set("collector"))
    nodes = own_nodes | set(federation.nodes)
    until(lambda: _pods(user, "collector").keys() == nodes, "it has a pod on virtual nodes too")
    with _policy(user):
        user.kubectl("set", "env", "daemonset/collector", "VERSION=2")
        user.kubectl("rollout", "status", "daemonset/collector", "--timeout=50s")
        assert _pods(user, "collector").keys() == own_nodes

        assert _admitted(user, daemon_set("cache", annotations={FORWARD: "true"})) == []
        chosen = daemon_set("chosen")
        linux = {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}
        by_name = [{"key": "metadata.name", "operator": "In", "values": ["x"]}]
        terms = [{"matchExpressions": [linux]}, {"matchFields": by_name}, {}]
        chosen["spec"]["template"]["spec"]["affinity"] = {
            "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}
        }
        assert _admitted(user, chosen) == [
            {"matchExpressions": [linux, ON_OWN_NODES]},
            {"matchFields": by_name, "matchExpressions": [ON_OWN_NODES]},
            {},
        ]
