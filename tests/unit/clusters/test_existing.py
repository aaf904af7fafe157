"""Clusters that somebody else runs are taken as they are."""

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.clusters import existing
from tests.clusters.errors import UnsupportedError

if TYPE_CHECKING:
    from tests.clusters import Cluster


def make_kubeconfig(path: Path, **cluster: str) -> Path:
    config: dict[str, Any] = {
        "current-context": "b",
        "contexts": [
            {"name": "a", "context": {"cluster": "other", "user": "u"}},
            {"name": "b", "context": {"cluster": "mine", "user": "u"}},
        ],
        "clusters": [
            {"name": "other", "cluster": {"server": "https://other"}},
            {"name": "mine", "cluster": {"server": "https://mine:6443", **cluster}},
        ],
    }
    path.write_text(json.dumps(config))
    return path


def test_nothing_is_requested_by_default() -> None:
    assert not existing.requested({})
    assert existing.requested({"CLUSTERS": "existing"})
    assert existing.requested({"CLUSTERS": "kind"})


def test_a_source_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="existing or kind"):
        existing.requested({"CLUSTERS": "exsiting"})


def test_kubeconfigs_are_named_by_the_environment() -> None:
    environment = {"TENANT_KUBECONFIG": "/t", "COMPUTE_KUBECONFIGS": "gpu-a=/a,gpu-b=/b"}
    assert existing.kubeconfigs(environment) == {
        "tenant": Path("/t"),
        "gpu-a": Path("/a"),
        "gpu-b": Path("/b"),
    }


@pytest.mark.parametrize("environment", [{}, {"COMPUTE_KUBECONFIGS": "/a"}])
def test_incomplete_environments_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UnsupportedError, match="COMPUTE_KUBECONFIGS"):
        existing.kubeconfigs(environment)


def test_the_current_context_counts_and_an_inline_ca_becomes_a_file(tmp_path: Path) -> None:
    data = base64.b64encode(b"PEM").decode()
    config = make_kubeconfig(tmp_path / "config", **{"certificate-authority-data": data})
    cluster = existing.open_cluster(
        "gpu-a", config, folder=tmp_path / "scratch", kubectl=Path("kubectl")
    )
    assert cluster.server == "https://mine:6443"
    assert cluster.ca_file.read_bytes() == b"PEM"
    assert cluster.audit_log is None
    with pytest.raises(UnsupportedError, match="not started here"):
        cluster.stop("etcd")


def test_a_ca_file_is_relative_to_the_kubeconfig(tmp_path: Path) -> None:
    config = make_kubeconfig(tmp_path / "config", **{"certificate-authority": "ca.pem"})
    cluster = existing.open_cluster(
        "gpu-a", config, folder=tmp_path / "scratch", kubectl=Path("kubectl")
    )
    assert cluster.ca_file == (tmp_path / "ca.pem").resolve()


def test_a_kubeconfig_without_a_ca_is_refused(tmp_path: Path) -> None:
    config = make_kubeconfig(tmp_path / "config")
    with pytest.raises(UnsupportedError, match="certificate authority"):
        existing.open_cluster("x", config, folder=tmp_path, kubectl=Path("kubectl"))


class _Reached:
    """A cluster as far as its address goes."""

    def __init__(self, server: str, *nodes: str) -> None:
        self.server = server
        self._nodes = nodes

    def kubectl(self, *_: str) -> str:
        return " ".join(self._nodes)


def _listen(server: str, *nodes: str, **environment: str) -> str:
    return existing.listen_address(cast("Cluster", _Reached(server, *nodes)), environment)


def test_the_listen_address_is_the_one_on_the_way_to_the_cluster() -> None:
    assert _listen("https://127.0.0.1:6443") == "127.0.0.1"
    assert _listen("https://mine", LISTEN_ADDRESS="10.0.0.7") == "10.0.0.7"


def test_behind_a_port_of_this_host_it_is_the_one_on_the_way_to_a_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = {"127.0.0.1": "127.0.0.1", "172.18.0.2": "172.18.0.1"}
    monkeypatch.setattr(existing, "_own_address", lambda host, _: ways[host])
    assert _listen("https://127.0.0.1:6443", "172.18.0.2", "172.18.0.3") == "172.18.0.1"
    assert _listen("https://127.0.0.1:6443") == "127.0.0.1"
