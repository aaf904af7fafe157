"""Clusters that somebody else runs: `CLUSTERS=existing`.

In: TENANT_KUBECONFIG=path and COMPUTE_KUBECONFIGS=name=path,name=path, optionally LISTEN_ADDRESS.
Out: `Cluster` values named `tenant` and by the given names, for `given`. Nothing is started,
changed or ended here.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tests.clusters.cluster import Cluster
from tests.clusters.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

TENANT = "tenant"


_SOURCES = ("existing", "kind")


def requested(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for clusters other than the harness's own; kind's, too.

    Raises UnsupportedError for a source that does not exist.
    """
    wanted = environment.get("CLUSTERS", "")
    if wanted and wanted not in _SOURCES:
        raise UnsupportedError(f"CLUSTERS={wanted}: {' or '.join(_SOURCES)}, or leave it out")
    return bool(wanted)


def kubeconfigs(environment: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Cluster name -> kubeconfig. Raises UnsupportedError when something is missing."""
    found: dict[str, Path] = {}
    if tenant := environment.get("TENANT_KUBECONFIG"):
        found[TENANT] = Path(tenant)
    for part in filter(None, environment.get("COMPUTE_KUBECONFIGS", "").split(",")):
        name, equals, path = part.partition("=")
        if not equals:
            raise UnsupportedError(f"COMPUTE_KUBECONFIGS: {part!r} is not NAME=PATH")
        found[name.strip()] = Path(path)
    if not found:
        raise UnsupportedError(
            "CLUSTERS=existing needs TENANT_KUBECONFIG and COMPUTE_KUBECONFIGS=name=path,..."
        )
    return found


def open_cluster(name: str, kubeconfig: Path, *, folder: Path, kubectl: Path) -> Cluster:
    """Reads a kubeconfig's current context; `folder` takes an inline CA and kubectl's cache."""
    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    contexts = {entry["name"]: entry["context"] for entry in config["contexts"]}
    clusters = {entry["name"]: entry["cluster"] for entry in config["clusters"]}
    target = clusters[contexts[config["current-context"]]["cluster"]]
    folder.mkdir(parents=True, exist_ok=True)
    if "certificate-authority-data" in target:
        ca_file = folder / "ca.crt"
        ca_file.write_bytes(base64.b64decode(target["certificate-authority-data"]))
    elif "certificate-authority" in target:
        ca_file = (kubeconfig.parent / target["certificate-authority"]).resolve()
    else:
        raise UnsupportedError(f"{kubeconfig} names no certificate authority")
    return Cluster(
        name=name,
        kubeconfig=kubeconfig.resolve(),
        server=target["server"],
        ca_file=ca_file,
        kubectl_program=kubectl,
        kubectl_cache=folder / "kubectl-cache",
    )


def listen_address(cluster: Cluster, environment: Mapping[str, str] = os.environ) -> str:
    """The address at which a cluster reaches this host, unless LISTEN_ADDRESS says it.

    That is the one on the way to its API server. A port of this host (kind, k3d, minikube) leads
    into a container that cannot use such an address: there it is the way to the first node.
    """
    if given := environment.get("LISTEN_ADDRESS"):
        return given
    url = urlsplit(cluster.server)
    address = _own_address(url.hostname or "127.0.0.1", url.port or 443)
    if not ipaddress.ip_address(address).is_loopback:
        return address
    node = cluster.kubectl("get", "nodes", f"-o=jsonpath={_INTERNAL_ADDRESSES}").split()
    return _own_address(node[0], 443) if node else address


_INTERNAL_ADDRESSES = '{.items[*].status.addresses[?(@.type=="InternalIP")].address}'


def _own_address(host: str, port: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, port))  # sends nothing
        address: str = probe.getsockname()[0]
        return address
