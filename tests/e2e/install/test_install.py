"""What people do who have clusters: install the agent, tell the demo's story, run tests.

docs/install.md is followed command by command, from two clusters to the first pod and back. Then
another process has nothing but the kubeconfigs of clusters that the harness did not start for it,
or a `kind` that hands them out: the same code tells the demo's story and runs end-to-end tests on
them. With CLUSTERS=kind and a container engine `pytest -m kind` does it with the real kind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clusters import ClusterSpec, Harness, can_run_containers
from tests.clusters import kind as kind_clusters
from tests.e2e.install import page, stand_in_kind
from tests.e2e.install.page import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.clusters import Cluster

COMPUTES = ("gpu-a", "gpu-b")
TESTS = (
    "carry_who_they_belong_to",
    "keep_their_type_unless",
    "deleted_node_is_made_again",
)
"""Words of a handful of end-to-end tests: of pods, objects and nodes."""
OURS = ("tenant", *COMPUTES)

apart = pytest.mark.apart
"""With clusters of their own, unlike the last one here."""


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    """A tenant with the agent's image on its node, and two compute clusters, with containers."""
    possible, why = can_run_containers()
    if not possible:
        pytest.skip(f"no real containers: {why}")
    own = ClusterSpec("tenant", real_nodes=1, gpus_per_real_node=0, cluster_ips=True, agent=True)
    specs = [own, *(ClusterSpec(name, real_nodes=1) for name in ("gpu-a", "gpu-b"))]
    with Harness(progress=lambda _: None) as mine:
        yield mine.up(specs)


@dataclass(frozen=True)
class Another:
    """Another process, which has the environment of somebody who has clusters."""

    environment: Mapping[str, str]
    demo: Path
    """Folder of its demo."""

    def python(self, *arguments: str) -> str:
        """Run a module; returns what it said, and fails with that."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env={**os.environ, **self.environment, "DEMO_STATE": str(self.demo)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=230,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def _given(clusters: Mapping[str, Cluster], **names: str) -> dict[str, str]:
    computes = ",".join(f"{name}={clusters[at].kubeconfig}" for name, at in names.items())
    return {
        "CLUSTERS": "existing",
        "TENANT_KUBECONFIG": str(clusters["tenant"].kubeconfig),
        "COMPUTE_KUBECONFIGS": computes,
    }


def _forget(tenant: Cluster) -> None:
    """As docs/testing.md says of clusters that one keeps."""
    tenant.kubectl("delete", "nodes", "--selector=type=virtual-kubelet")


def _left(cluster: Cluster) -> list[str]:
    """Names of all that is ours in a cluster, but for the namespace that tenants share."""
    kinds = "namespaces,nodes,csr,clusterroles,clusterrolebindings,mutatingadmissionpolicies"
    bound = "leases,roles,rolebindings,serviceaccounts,secrets,configmaps,resourcequotas"
    found = cluster.kubectl("get", kinds, "-o", "name") + cluster.kubectl(
        "get", bound, "--all-namespaces", "-o", "name"
    )
    words = ("vnode", "demo--")
    return [name for name in found.split() if any(word in name for word in words)]


@apart
@pytest.mark.timeout(420, func_only=True)
def test_the_commands_of_the_page_lead_to_a_pod_and_back(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    environment = page.environment(clusters)
    said = {
        block.text: page.run(block.text, environment, tmp_path)
        for block in page.blocks()
        if not block.why_not
    }
    (shown,) = (answer for text, answer in said.items() if "logs first" in text)
    assert "hello\n" in shown
    assert _left(clusters["tenant"]) == []
    assert _left(clusters["gpu-a"]) == ["namespace/vnode-system"]


@apart
def test_the_demos_story_is_told_on_given_clusters(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    given = _given(clusters, **{name: name for name in COMPUTES})
    another = Another(given, tmp_path / "demo")
    said = another.python("demo", "up")
    assert "The demo works" in said
    assert "epoch 5/5" in said, "logs of a container"
    another.python("demo", "down")
    _forget(clusters["tenant"])
    assert clusters["tenant"].kubectl("get", "--raw=/readyz") == "ok"


@apart
def test_end_to_end_tests_pass_on_given_clusters(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    names = {"kwok-a": "gpu-a", "kwok-b": "gpu-b"}
    another = Another(_given(clusters, **names), tmp_path / "demo")
    chosen = " or ".join(TESTS)
    said = another.python("pytest", "tests/e2e", "-p", "no:cacheprovider", "-k", chosen)
    assert f"{len(TESTS)} passed" in said
    _forget(clusters["tenant"])


@apart
def test_the_demos_story_is_told_on_clusters_that_kind_makes(
    clusters: dict[str, Cluster], tmp_path: Path
) -> None:
    pool = {f"vnode-{name}": clusters[name].kubeconfig for name in OURS}
    pool["mine"] = clusters["tenant"].kubeconfig
    programs = stand_in_kind.install(tmp_path / "kind", pool)
    (tmp_path / "kind" / "clusters.json").write_text('["mine"]')
    path = f"{programs}:{os.environ['PATH']}"
    another = Another({"CLUSTERS": "kind", "PATH": path}, tmp_path / "demo")
    assert "The demo works" in another.python("demo", "up", "--agent", "deployment")
    assert set(stand_in_kind.existing(tmp_path / "kind")) == pool.keys()
    another.python("demo", "down")
    assert stand_in_kind.existing(tmp_path / "kind") == ["mine"]
    calls = stand_in_kind.calls(tmp_path / "kind")
    assert [call[-1] for call in calls if call[0] == "load"] == ["vnode-tenant"], "agent's image"
    assert len([call for call in calls if call[0] == "create"]) == len(OURS)


@pytest.mark.kind
@pytest.mark.timeout(1800, func_only=True)
def test_the_demos_story_is_told_on_clusters_of_the_real_kind(tmp_path: Path) -> None:
    if not kind_clusters.requested():
        pytest.skip("makes clusters of kind: CLUSTERS=kind pytest -m kind")
    another = Another({}, tmp_path / "demo")
    try:
        assert "The demo works" in another.python("demo", "up")
    finally:
        another.python("demo", "down")
