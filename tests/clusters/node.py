"""One real node: containerd and a kubelet in a network namespace of their own.

In: a namespace, a running control plane, archives of images. Out: a Ready Node that runs
containers, with made-up GPUs. Ended by `teardown`.

What a node leaves outside of its folder (files that programs put at fixed places) is listed in
`remove_strays`.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters import cgroups, containerd, pki
from tests.clusters.api import is_usable
from tests.clusters.node_config import kubelet_config, resolv_conf
from tests.clusters.processes import Record, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clusters.control_plane import ControlPlane
    from tests.clusters.node_config import NodeSite
    from tests.clusters.processes import ProcessTable

KUBELET = "kubelet"
_START_TIMEOUT = 90.0
_SHIM_SOCKETS = Path("/run/containerd/s")
_CNI_RESULTS = Path("/var/lib/cni/results")
_LOG_LINKS = Path("/var/log/containers")
_LONG_AGO = "1970-01-01T00:00:00Z"


class Node:
    """Starts containerd and the kubelet of one node."""

    def __init__(
        self,
        site: NodeSite,
        *,
        control_plane: ControlPlane,
        kubelet: Path,
        archives: Sequence[Path],
        table: ProcessTable,
        gpus: int,
        labels: Mapping[str, str],
        dns_address: str,
        registry: str | None = None,
        upstream: Path | None = None,
    ) -> None:
        self.site = site
        self.gpus = gpus
        self._control_plane = control_plane
        self._kubelet = kubelet
        self._archives = archives
        self._table = table
        self._labels = labels
        self._dns_address = dns_address
        self._registry = registry
        self._upstream = upstream

    @property
    def pod_cidr(self) -> str:
        """The block of its pods' addresses; they are reached from the whole slot and the host."""
        return self.site.pod_cidr

    def start(self) -> None:
        """Starts everything and returns when the node is Ready. Raises StartError."""
        for name in ("run", "cni", "kubelet", "opt", "pod-logs", "plugins"):
            (self.site.folder / name).mkdir(parents=True)
        cgroups.create(self.site.cgroup)
        containerd.start(
            self.site,
            archives=self._archives,
            registry=self._registry,
            upstream=self._upstream,
            table=self._table,
        )
        self.await_ready(self._start_kubelet())

    def restart_kubelet(self) -> None:
        """Starts a stopped kubelet; returns when the node is Ready and has its GPUs again."""
        with self._control_plane.client() as client:
            # The old kubelet's word must not be taken for the new one's, which may come within
            # the same second: heartbeats have no finer resolution.
            ready = {"type": "Ready", "lastHeartbeatTime": _LONG_AGO}
            client.patch(f"{self._path}/status", {"status": {"conditions": [ready]}})
        self.await_ready(self._table.restart(self.site.name, KUBELET))

    def await_ready(self, kubelet: Record) -> None:
        """Returns when the kubelet has reported Ready; then sets the node's GPUs.

        A starting kubelet takes them away, as no device plugin vouches for them.
        """
        with self._control_plane.client() as client:

            def ready() -> bool:
                if client.status(self._path) != 200:
                    return False
                node = client.get(self._path)
                return is_usable(node) and last_heartbeat(node) != _LONG_AGO

            self._table.wait_until(
                f"node {self.site.name}", ready, watch=kubelet, timeout=_START_TIMEOUT
            )
            if self.gpus:
                gpus = {"nvidia.com/gpu": str(self.gpus)}
                # Its next report would copy capacity to allocatable, but that is 10 s away.
                status = {"status": {"capacity": gpus, "allocatable": gpus}}
                client.patch(f"{self._path}/status", status)

    @property
    def _path(self) -> str:
        return f"/api/v1/nodes/{self.site.name}"

    def _start_kubelet(self) -> Record:
        site, folder = self.site, self.site.folder
        authority = self._control_plane.certificates.authority
        client = authority.issue(
            "kubelet-client", f"system:node:{site.name}", groups=["system:nodes"], folder=folder
        )
        serving = authority.issue(
            "kubelet-serving",
            f"system:node:{site.name}",
            groups=["system:nodes"],
            sans=[site.name, site.address],
            folder=folder,
        )
        kubeconfig = pki.write_kubeconfig(
            folder / "kubelet.kubeconfig",
            cluster=self._control_plane.name,
            server=self._control_plane.server,
            ca_file=authority.files.cert,
            user=pki.client_user(client),
        )
        (folder / "resolv.conf").write_text(resolv_conf(self._dns_address))
        config = kubelet_config(
            site,
            ca_file=authority.files.cert,
            serving=serving,
            dns_address=self._dns_address,
        )
        (folder / "kubelet.json").write_text(json.dumps(config, indent=1))
        labels = ",".join(f"{key}={value}" for key, value in self._labels.items())
        return self._table.spawn(
            site.name,
            KUBELET,
            site.inside(
                self._kubelet,
                f"--config={folder / 'kubelet.json'}",
                f"--kubeconfig={kubeconfig}",
                f"--root-dir={folder / 'kubelet'}",
                f"--cert-dir={folder / 'kubelet' / 'pki'}",
                f"--hostname-override={site.name}",
                f"--node-ip={site.address}",
                f"--node-labels={labels}",
            ),
            stage=Stage.KUBELET,
            log=site.log(KUBELET),
        )


def last_heartbeat(node: dict[str, Any]) -> str:
    """When the kubelet last reported its conditions; empty when it never did."""
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready":
            return str(condition.get("lastHeartbeatTime"))
    return ""


def remove_cni_results(folder: Path, bridge: str) -> None:
    """Removes the files `NETWORK-POD-INTERFACE` of pods whose networks are named after a bridge.

    Loopback's are called alike everywhere, but share the pod's name.
    """
    for result in folder.glob(f"{bridge}-*"):
        pod = result.name.rsplit("-", 2)[1]
        for file in folder.glob(f"*-{pod}-*"):
            file.unlink(missing_ok=True)


def shim_socket(task: Path) -> Path | None:
    """Where the shim of a task listens, as containerd 2.x or 1.x has noted in the task's folder."""
    with contextlib.suppress(FileNotFoundError):
        return _path(json.loads((task / "bootstrap.json").read_text())["address"])
    with contextlib.suppress(FileNotFoundError):
        return _path((task / "address").read_text())
    return None


def _path(address: str) -> Path:
    return Path(address.strip().removeprefix("unix://"))


def remove_strays(state: Path, bridge: str) -> None:
    """Removes what ended nodes left at places that their programs do not let us choose."""
    remove_cni_results(_CNI_RESULTS, bridge)
    for task in state.glob("nodes/*/run/state/io.containerd.runtime.v2.task/k8s.io/*"):
        socket = shim_socket(task)
        if socket and socket.parent == _SHIM_SOCKETS:
            socket.unlink(missing_ok=True)
    for link in _LOG_LINKS.glob("*.log"):
        with contextlib.suppress(OSError):
            if link.readlink().is_relative_to(state):
                link.unlink()
