"""The agent's configuration for each judge is a valid one and says what the judge needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from federation.backends.kubernetes.translate.policy import HostAccess
from federation.config import AgentConfig, NetworkMode, load_config
from tests.conformance.site import for_kubernetes, for_virtual_kubelet

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def ordinary() -> Any:
    return {
        "tenant": {"name": "demo", "kubeconfig": "/k", "namespaces": ["default"]},
        "kubelet": {"basePort": 20200},
        "clusters": [
            {
                "name": "compute",
                "kubeconfig": "/c",
                "pools": [{"name": "default", "port": 20201, "capacity": {"sources": ["quota"]}}],
            }
        ],
    }


def _load(config: Any, folder: Path) -> AgentConfig:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return load_config(path)


def test_virtual_kubelets_suite_gets_in_without_credentials_on_its_port(
    ordinary: Any, tmp_path: Path
) -> None:
    config = _load(for_virtual_kubelet(ordinary), tmp_path)
    assert config.kubelet.insecure
    assert config.virtual_nodes[0].port == 10250


def test_kubernetes_tests_get_an_untainted_node_of_a_trusted_tenant(
    ordinary: Any, tmp_path: Path
) -> None:
    config = _load(for_kubernetes(ordinary), tmp_path)
    assert not config.kubelet.insecure
    assert config.virtual_nodes[0].taints == ()
    assert set(config.kubernetes_clusters[0].policy.allow) == set(HostAccess)
    assert config.kubernetes_clusters[0].network is NetworkMode.FLAT


def test_the_ordinary_configuration_stays_as_it_is(ordinary: Any) -> None:
    before = yaml.safe_dump(ordinary)
    for_virtual_kubelet(ordinary)
    for_kubernetes(ordinary)
    assert yaml.safe_dump(ordinary) == before
