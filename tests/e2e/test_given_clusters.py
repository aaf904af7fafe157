"""Clusters that the harness did not start: given ones, and those of kind.

Another process has nothing but their kubeconfigs, or a `kind` that hands them out: the same code
tells the demo's story and runs end-to-end tests on them. With CLUSTERS=kind and a container engine
`pytest -m kind` does it with the real kind.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters import ClusterSpec, Harness, can_run_containers
from tests.clusters import kind as kind_clusters
from tests.e2e import stand_in_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.clusters import Cluster

ROOT = Path(__file__).parents[2]
COMPUTES = ("gpu-a", "gpu-b")
TESTS = (
    "carry_who_they_belong_to or put_right_after or keep_their_type or deleted_node_is_made_again"
)
"""A handful of end-to-end tests: of pods, objects and nodes."""
OURS = ("tenant", *COMPUTES)


apart = pytest.mark.apart
"""With clusters of their own, unlike the last one here."""


@pytest.fixture(scope="module")
def clusters() -> Iterator[dict[str, Cluster]]:
    """A tenant and two compute clusters with real containers."""
    possible, why = can_run_containers()
    if not possible:
        pytest.skip(f"no real containers: {why}")
    own = ClusterSpec("tenant", real_nodes=1, gpus_per_real_node=0, cluster_ips=True, agent=True)
    specs = [own, *(ClusterSpec(name, real_nodes=1) for name in COMPUTES)]
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
