"""Gives an agent its rights on both sides and writes its configuration.

In: a running tenant and compute clusters. Out: credentials of the ServiceAccounts that deploy/
makes, and a configuration file. The agent never gets admin rights anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.clusters import Cluster, Harness

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SYSTEM_NAMESPACE = "vnode-system"
TENANT = "demo"
TENANT_ACCOUNT = "vnode"
COMPUTE_ACCOUNT = "vnode-demo"
NAMESPACES = ("default", "team-a")
TENANT_FILES = (
    "namespace.yaml",
    "tenant-namespaces.yaml",
    "serviceaccount.yaml",
    "rbac.yaml",
    "tolerations-policy.yaml",
)


@dataclass(frozen=True)
class Federation:
    """One tenant and its compute clusters, joined."""

    tenant: Cluster
    computes: Mapping[str, Cluster]
    directory: Path
    config: Path
    """Configuration file for `vnode run`."""
    nodes: Sequence[str] = field(default=())
    """Names of the virtual nodes."""


def join(
    harness: Harness,
    tenant: Cluster,
    computes: Mapping[str, Cluster],
    *,
    directory: Path,
    overrides: Mapping[str, Mapping[str, object]] | None = None,
) -> Federation:
    """Apply deploy/ to both sides and write kubeconfigs and configuration to `directory`.

    Args:
        harness: gives addresses and ports.
        tenant: the tenant cluster.
        computes: compute clusters by the name under which the tenant knows them.
        directory: where credentials and configuration go.
        overrides: settings of single clusters, by name.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare_tenant(tenant)
    for cluster in computes.values():
        prepare_compute(cluster)
    tenant_config = tenant.service_account_kubeconfig(
        SYSTEM_NAMESPACE, TENANT_ACCOUNT, directory / "tenant.kubeconfig"
    )
    clusters: list[dict[str, object]] = []
    for name, cluster in computes.items():
        path = cluster.service_account_kubeconfig(
            SYSTEM_NAMESPACE, COMPUTE_ACCOUNT, directory / f"{name}.kubeconfig"
        )
        port = harness.free_port()
        settings: dict[str, object] = {
            "name": name,
            "kubeconfig": str(path),
            "pools": [{"name": "default", "port": port, "capacity": {"sources": ["quota"]}}],
        }
        settings.update((overrides or {}).get(name, {}))
        clusters.append(settings)
    config = {
        "tenant": {
            "name": TENANT,
            "kubeconfig": str(tenant_config),
            "namespaces": list(NAMESPACES),
        },
        "kubelet": {
            "listen": harness.listen_address,
            "advertise": harness.listen_address,
            "basePort": harness.free_port(),
        },
        "logging": {"level": "info", "format": "text"},
        "clusters": clusters,
    }
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    nodes = tuple(f"vnode-{name}" for name in computes)
    return Federation(tenant, dict(computes), directory, path, nodes)


def prepare_tenant(tenant: Cluster) -> None:
    """Everything of deploy/tenant but the Deployment: the agent runs as a process here."""
    files = [f"--filename={DEPLOY / 'tenant' / name}" for name in TENANT_FILES]
    tenant.kubectl("apply", "--server-side", *files)


def prepare_compute(cluster: Cluster) -> None:
    """All of deploy/compute."""
    cluster.kubectl("apply", "--server-side", "-k", str(DEPLOY / "compute"))
