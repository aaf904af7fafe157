"""Node objects and the configuration of real nodes."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.api import is_usable
from tests.clusters.containerd import (
    containerd_config,
    registry_hosts,
    upstream_containerd_config,
)
from tests.clusters.errors import UnsupportedError
from tests.clusters.kwok import node_object
from tests.clusters.node import last_heartbeat, remove_cni_results, shim_socket
from tests.clusters.node_config import (
    NodeSite,
    cni_config,
    kubelet_config,
    resolv_conf,
)
from tests.clusters.pki import Pair
from tests.clusters.spec import NodePool


def make_site(folder: Path = Path("/state/nodes/n1")) -> NodeSite:
    return NodeSite(
        name="n1",
        folder=folder,
        namespace=Path("/run/netns/vnc0-0"),
        address="10.200.1.1",
        pod_cidr="10.200.64.0/24",
        cgroup="vnode-clusters-0/n1",
    )


def make_node(*, ready: str = "True", taints: tuple[str, ...] = ()) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"}
    return {
        "spec": {"taints": [{"key": key} for key in taints]},
        "status": {"conditions": [condition]},
    }


def test_a_simulated_node_has_the_resources_of_its_pool() -> None:
    node = node_object("n1", NodePool(1, cpu="8", memory="32Gi", gpus=2, pods=50))
    assert node["status"]["allocatable"] == {
        "cpu": "8",
        "memory": "32Gi",
        "pods": "50",
        "ephemeral-storage": "1Ti",
        "nvidia.com/gpu": "2",
    }
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "n1"


def test_a_simulated_node_without_gpus_does_not_name_them() -> None:
    node = node_object("n1", NodePool(1, gpus=0, labels={}))
    assert "nvidia.com/gpu" not in node["status"]["capacity"]


def test_a_node_is_usable_when_ready_and_not_tainted_by_kubernetes() -> None:
    assert is_usable(make_node(taints=("nvidia.com/gpu",)))
    assert not is_usable(make_node(taints=("node.kubernetes.io/not-ready",)))
    assert not is_usable(make_node(ready="Unknown"))
    assert not is_usable({"spec": {}, "status": {}})


def test_the_last_heartbeat_is_that_of_the_ready_condition() -> None:
    assert last_heartbeat(make_node()) == "2026-01-01T00:00:00Z"
    assert last_heartbeat({"status": {}}) == ""


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("address", "unix:///run/containerd/s/abc"),
        ("bootstrap.json", '{"version": 3, "address": "unix:///run/containerd/s/abc"}'),
    ],
)
def test_the_socket_that_a_shim_leaves_is_found(tmp_path: Path, file: str, text: str) -> None:
    assert shim_socket(tmp_path) is None
    (tmp_path / file).write_text(text)
    assert shim_socket(tmp_path) == Path("/run/containerd/s/abc")


def test_cni_results_of_other_bridges_stay(tmp_path: Path) -> None:
    ours = ("vnc1-0-abc-eth0", "cni-loopback-abc-lo")
    theirs = ("vnc10-0-def-eth0", "cni-loopback-def-lo")
    for name in (*ours, *theirs):
        (tmp_path / name).touch()
    remove_cni_results(tmp_path, "vnc1")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


def test_a_state_folder_too_deep_for_sockets_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="too long"):
        make_site(Path("/state") / ("x" * 80))


def test_a_kubelet_writes_only_below_its_folder() -> None:
    site = make_site()
    config = kubelet_config(
        site,
        ca_file=Path("/pki/ca.crt"),
        serving=Pair(Path("/pki/s.crt"), Path("/pki/s.key")),
        dns_address="10.200.0.10",
    )
    assert config["cgroupRoot"] == "/vnode-clusters-0/n1"
    for key in ("podLogsDir", "volumePluginDir", "resolvConf"):
        assert Path(config[key]).is_relative_to(site.folder)
    assert config["authentication"]["anonymous"] == {"enabled": False}


def test_pods_ask_the_dns_server_of_their_cluster() -> None:
    pair = Pair(Path("/pki/s.crt"), Path("/pki/s.key"))
    config = kubelet_config(
        make_site(), ca_file=Path("/ca"), serving=pair, dns_address="10.200.0.10"
    )
    assert config["clusterDNS"] == ["10.200.0.10"]
    assert resolv_conf("10.200.0.10") == "nameserver 10.200.0.10\n"


@pytest.mark.parametrize("write", [containerd_config, upstream_containerd_config])
def test_containerd_keeps_to_its_folder(write: Callable[[Path, Path, Path], str]) -> None:
    site = make_site()
    config = tomllib.loads(write(site.folder, site.socket, Path("/usr/lib/cni")))
    for path in (config["root"], config["state"], config["grpc"]["address"]):
        assert Path(path).is_relative_to(site.folder)
    plugins = config["plugins"]
    (registry,) = (p["registry"]["config_path"] for p in plugins.values() if "registry" in p)
    assert Path(registry) == site.folder / "registries"
    assert Path(plugins["io.containerd.internal.v1.opt"]["path"]).is_relative_to(site.folder)


def test_every_registry_is_the_local_one_but_a_test_s_own() -> None:
    files = registry_hosts("http://10.200.0.1:20000")
    hosts = {name: tomllib.loads(text) for name, text in files.items()}
    assert hosts["_default/hosts.toml"]["server"] == "http://10.200.0.1:20000"
    assert hosts["localhost:5000/hosts.toml"]["server"] == "http://localhost:5000"


def test_pods_get_addresses_of_their_node() -> None:
    bridge = cni_config(make_site())["plugins"][0]
    assert bridge["ipam"]["ranges"] == [[{"subnet": "10.200.64.0/24"}]]
    assert bridge["ipMasq"] is False
