"""Where a real node lives and what it is told: pure functions from a site to configuration.

In: a `NodeSite`, decided before anything is started. Out: the configuration of the CNI plugins and
of the kubelet. Everything that can be told to stay below the node's folder is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.clusters.errors import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters.pki import Pair

_LONGEST_SOCKET = 107  # bytes in a sockaddr_un
_MOST_PODS = 200


@dataclass(frozen=True)
class NodeSite:
    """Where a node lives: decided before anything is started."""

    name: str
    folder: Path
    namespace: Path
    address: str
    pod_cidr: str
    cgroup: str

    def __post_init__(self) -> None:
        longest = self.folder / "kubelet" / "device-plugins" / "kubelet.sock"
        if len(str(longest)) > _LONGEST_SOCKET:
            raise UnsupportedError(f"{longest} is too long a socket path; choose another state")

    @property
    def socket(self) -> Path:
        """containerd's socket."""
        return self.folder / "run" / "containerd.sock"

    def inside(self, *command: str | Path) -> list[str | Path]:
        """A command line that runs in the node's network."""
        return ["nsenter", f"--net={self.namespace}", "--", *command]

    def log(self, program: str) -> Path:
        """Where a program's output goes."""
        return self.folder / "logs" / f"{program}.log"


def cni_config(site: NodeSite) -> dict[str, Any]:
    """Pods on a bridge of the node, no address translation, host ports."""
    return {
        "cniVersion": "1.0.0",
        "name": site.namespace.name,
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": False,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(site.folder / "cni-addresses"),
                    "ranges": [[{"subnet": site.pod_cidr}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def resolv_conf(dns_address: str) -> str:
    """What pods inherit from the node."""
    return f"nameserver {dns_address}\n"


def kubelet_config(
    site: NodeSite, *, ca_file: Path, serving: Pair, dns_address: str
) -> dict[str, Any]:
    """https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/"""
    folder = site.folder
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": site.address,
        "healthzBindAddress": "127.0.0.1",
        "readOnlyPort": 0,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(ca_file)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.cert),
        "tlsPrivateKeyFile": str(serving.key),
        "clusterDomain": "cluster.local",
        "clusterDNS": [dns_address],
        "resolvConf": str(folder / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{site.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{site.cgroup}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "oomScoreAdj": 0,  # a negative one needs CAP_SYS_RESOURCE
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "plugins"),
        "maxPods": _MOST_PODS,
        "serializeImagePulls": False,
        # Nodes share one machine: what others use must not evict pods, or collect images that
        # nobody could pull again.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    }
