"""Clusters, an agent with the rights of deploy/, and a user, for all end-to-end tests.

One tenant with a node of its own, two compute clusters of simulated nodes (`kwok-a`, `kwok-b`), and
one with a real node where this machine can run containers (`gpu`). Where it can, the tenant's node
is a real one too, with kube-proxy; the simulated pods then have the addresses of the pods there,
and `gpu` is one flat network with the tenant. They are started once for the whole run. With
CLUSTERS=existing the kubeconfigs that are given are used instead, with CLUSTERS=kind clusters of
kind; networks are isolated then.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.agents.join import Terms
from tests.clusters import ClusterSpec, Harness, NodePool, can_run_containers
from tests.clusters import kind as kind_clusters
from tests.clusters.existing import kubeconfigs, requested
from tests.e2e import twins
from tests.e2e.user import User, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters import Cluster
    from tests.e2e.twin import Twin

KWOK = ("kwok-a", "kwok-b")
REAL = "gpu"
STRICT = KWOK[1]
"""Its pods start only after the tenant knows of them."""
OWNERS = "deployments,daemonsets,jobs,statefulsets,services"
"""Kinds that make pods, or lead to them."""
ROOT_CA = "kube-root-ca.crt"
POD_LEVEL_RESIZE = "InPlacePodLevelResourcesVerticalScaling"
"""A feature that kubelets of 1.36 declare."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test here waits for clusters; starting them counts towards the first one's time.

    What a `run_first` test starts and a `run_last` test judges has the whole run as its time.
    """
    not_theirs = pytest.mark.skip(reason="has clusters of its own; CLUSTERS asks for others")
    for item in items:
        if item.path.is_relative_to(os.path.dirname(__file__)):
            item.add_marker(pytest.mark.timeout(240, func_only=True))
            if item.get_closest_marker("apart") and requested():
                item.add_marker(not_theirs)
    items.sort(key=_place)


def _is_apart(item: pytest.Item) -> bool:
    """Whether it needs none of the clusters below."""
    return any(item.get_closest_marker(mark) for mark in ("apart", "afterwards", "kind"))


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("run_first"):
        return -1
    return 1 if item.get_closest_marker("run_last") else 0


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Owner of all clusters of this run."""

    def progress(text: str) -> None:
        print(text, file=sys.__stderr__, flush=True)

    with Harness(state=tmp_path_factory.mktemp("clusters") / "state", progress=progress) as made:
        yield made


@pytest.fixture(scope="session")
def clusters(harness: Harness) -> dict[str, Cluster]:
    """All clusters of this run by name: tenants and compute clusters."""
    if containers := _real_containers():
        own = ClusterSpec("tenant", real_nodes=1, gpus_per_real_node=0, cluster_ips=True)
    else:
        own = ClusterSpec("tenant", kwok=NodePool(1, gpus=0, labels={}))
    simulated = NodePool(4, cidr=own.name if containers else None)
    specs = [own, *(ClusterSpec(name, kwok=simulated) for name in KWOK)]
    if containers:
        specs.append(ClusterSpec(REAL, real_nodes=1))
    return twins.up(harness, specs)


@pytest.fixture(scope="session")
def federation(
    harness: Harness, clusters: dict[str, Cluster], tmp_path_factory: pytest.TempPathFactory
) -> Federation:
    """A tenant joined to its compute clusters."""
    tenant = clusters["tenant"]
    computes = {name: clusters[name] for name in (*KWOK, REAL) if name in clusters}
    pool = {"port": harness.free_port(), "declaredFeatures": [POD_LEVEL_RESIZE]}
    made = join(
        harness,
        tenant,
        computes,
        directory=tmp_path_factory.mktemp("agent"),
        overrides={
            REAL: {"pools": [pool], **({"network": "flat"} if tenant.nodes else {})},
            STRICT: {"startOnce": "strict"},
        },
    )
    _wait_for_policy(User(tenant))
    return made


@pytest.fixture(scope="session", autouse=True)
def other_tenant(request: pytest.FixtureRequest) -> Iterator[Twin | None]:
    """Beside all tests that share clusters, a second tenant with the names of the first.

    None if none is wanted. It takes the clusters as they are, without the settings of some.
    """
    shared = any(not _is_apart(item) for item in request.session.items)
    if not (shared and twins.wanted()):
        yield None
        return
    first: Federation = request.getfixturevalue("federation")
    harness: Harness = request.getfixturevalue("harness")
    folders: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    plain = dataclasses.replace(first, terms=Terms())
    with twins.opened(harness, plain, folders.mktemp("shared")) as other:
        yield other


def _real_containers() -> bool:
    """Of given clusters the one named `gpu` has them; all of kind have."""
    if kind_clusters.requested():
        return True
    return REAL in kubeconfigs() if requested() else can_run_containers()[0]


def _wait_for_policy(user: User) -> None:
    """A new admission policy takes a few seconds to act."""
    probe = ("run", "probe", "--image=none", "--dry-run=server", "-o", "jsonpath={.spec}")
    until(
        lambda: "vnode.dev/provider" in user.kubectl(*probe, check=False),
        "the tolerations policy acts",
    )


@pytest.fixture(scope="session")
def session_agent(federation: Federation) -> Iterator[AgentProcess]:
    """The one agent; tests take `agent`, which sees that it runs."""
    with AgentProcess(federation) as process:
        yield process


@pytest.fixture
def agent(session_agent: AgentProcess) -> AgentProcess:
    """The agent, running and with its virtual nodes Ready."""
    session_agent.ensure_running()
    session_agent.wait_ready()
    return session_agent


@pytest.fixture
def user(federation: Federation, agent: AgentProcess) -> Iterator[User]:
    """A user of the tenant; what the test leaves in the namespace is removed."""
    user = User(federation.tenant)
    yield user
    agent.ensure_running()
    user.kubectl("delete", OWNERS, "--all", "--wait=false")
    user.kubectl("delete", "pods", "--all", "--wait=false", "--grace-period=1")
    if user.items("secrets"):
        user.kubectl("delete", "secrets", "--all", "--wait=false")
    if any(c["metadata"]["name"] != ROOT_CA for c in user.items("configmaps")):
        but = f"--field-selector=metadata.name!={ROOT_CA}"
        user.kubectl("delete", "configmaps", but, "--wait=false")
    until(lambda: not user.items("pods"), "the namespace is empty again", timeout=90)


@pytest.fixture
def gpu(federation: Federation) -> str:
    """Name of the compute cluster with real containers."""
    if REAL not in federation.computes:
        pytest.skip(f"no cluster with real containers: {can_run_containers()[1] or 'none given'}")
    return REAL


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for files of one test."""
    return tmp_path
