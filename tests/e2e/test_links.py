"""The compute link or the tenant link breaks: nothing is lost and nothing is made twice."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.clusters import CommandError
from tests.e2e.conftest import REAL
from tests.e2e.user import BELOW, User, pods_created, until
from tests.e2e.workloads import pod

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.agents import AgentProcess, Federation
    from tests.clusters import Cluster

KWOK = "kwok-b"
NODE = f"vnode-{KWOK}"
UNREACHABLE = "vnode.dev/ComputeReachable"
RECOVERY = 120.0
"""Seconds; a cluster's own scheduler and controllers come back with waiting times of their own."""


def _condition(user: User, kind: str) -> str:
    node = user.get("node", NODE)
    found = [c["status"] for c in node["status"]["conditions"] if c["type"] == kind]
    return found[0] if found else ""


def _taints(user: User) -> set[str]:
    spec: dict[str, Any] = user.get("node", NODE)["spec"]
    return {t["key"] for t in spec.get("taints", [])}


@pytest.fixture
def cut(request: pytest.FixtureRequest, federation: Federation) -> Iterator[Cluster]:
    """A cluster whose API server the test stops; it runs again afterwards."""
    tenant = request.param == "tenant"
    cluster = federation.tenant if tenant else federation.computes.get(request.param)
    if cluster is None:
        pytest.skip("there is no cluster with real containers")
    if cluster.control_plane is None:
        pytest.skip("given clusters are not stopped")
    yield cluster
    try:
        cluster.kubectl("version", timeout=10)
    except CommandError:
        cluster.start("kube-apiserver")


@pytest.mark.parametrize("cut", [KWOK], indirect=True)
def test_a_compute_cluster_that_does_not_answer_is_told_and_its_pods_stay(
    user: User, federation: Federation, cut: Cluster
) -> None:
    user.apply(pod("steady", cluster=KWOK))
    before = user.wait_phase("steady", "Running", timeout=RECOVERY)
    cut.stop("kube-apiserver", hard=True)
    until(lambda: _condition(user, UNREACHABLE) == "False", "the node says so", timeout=70)
    assert _condition(user, "Ready") == "True"
    until(lambda: "vnode.dev/compute-unreachable" in _taints(user), "it takes no new pods")
    user.apply(pod("late", cluster=KWOK))
    assert user.get("pod", "steady")["status"]["phase"] == "Running"

    cut.start("kube-apiserver")
    until(
        lambda: _condition(user, UNREACHABLE) == "True", "the node says that it is back", timeout=60
    )
    assert "vnode.dev/compute-unreachable" not in _taints(user)
    user.wait_phase("late", "Running", timeout=RECOVERY)
    after = user.get("pod", "steady")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["phase"] == "Running"
    created = pods_created(federation.computes[KWOK])
    assert (created["steady"], created["late"]) == (1, 1)


@pytest.mark.parametrize("cut", ["tenant"], indirect=True)
def test_pods_go_on_while_the_tenants_api_server_is_away(
    user: User, federation: Federation, cut: Cluster
) -> None:
    below = User(federation.computes[KWOK], BELOW)
    user.apply(pod("calm", cluster=KWOK), pod("ending", cluster=KWOK, restartPolicy="Never"))
    user.wait_phase("calm", "Running", timeout=RECOVERY)
    user.wait_phase("ending", "Running", timeout=RECOVERY)
    cut.stop("kube-apiserver", hard=True)
    below.kubectl("delete", "pod", "ending", "--grace-period=1")
    cut.start("kube-apiserver")
    ended = user.wait_phase("ending", "Failed", timeout=RECOVERY)
    assert ended["status"]["reason"] == "Evicted"
    assert user.get("pod", "calm")["status"]["phase"] == "Running"
    assert below.get("pod", "calm") is not None
    until(lambda: _condition(user, "Ready") == "True", "the node is Ready", timeout=60)
    created = pods_created(federation.computes[KWOK])
    assert (created["calm"], created["ending"]) == (1, 1)


@pytest.mark.parametrize("cut", [REAL], indirect=True)
def test_a_log_that_is_followed_when_the_compute_link_breaks_says_so(
    user: User, cut: Cluster
) -> None:
    user.apply(pod("endless", cluster=REAL, command="while :; do echo tick; sleep 0.1; done"))
    user.wait_phase("endless", "Running", timeout=RECOVERY)
    with subprocess.Popen(user.command("logs", "-f", "endless"), stdout=subprocess.PIPE) as logs:
        assert logs.stdout is not None
        assert logs.stdout.readline() == b"tick\n"
        cut.stop("kube-apiserver", hard=True)
        # API servers end what they relay orderly, so kubectl returns 0 whatever happened.
        *ticks, last = logs.stdout.read().splitlines()
    assert set(ticks) <= {b"tick"}
    assert last.startswith(b"vnode: the log ends here because it could not be read on")


@pytest.mark.parametrize("cut", [KWOK], indirect=True)
def test_an_agent_that_starts_while_a_compute_cluster_is_away_keeps_its_node(
    user: User, agent: AgentProcess, cut: Cluster
) -> None:
    born = user.get("node", NODE)["metadata"]["uid"]
    cut.stop("kube-apiserver", hard=True)
    agent.stop()
    agent.start()
    user.apply(pod("elsewhere", cluster="kwok-a"))
    user.wait_phase("elsewhere", "Running", timeout=RECOVERY)
    until(lambda: _condition(user, UNREACHABLE) == "False", "the node says so", timeout=70)
    assert _condition(user, "Ready") == "True"
    cut.start("kube-apiserver")
    until(
        lambda: _condition(user, UNREACHABLE) == "True", "the node says that it is back", timeout=60
    )
    assert user.get("node", NODE)["metadata"]["uid"] == born
