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
    from collections.abc import Collection, Mapping, Sequence

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
CLAIMS = "claims.yaml"
ALL_NAMESPACES = "rbac-all-namespaces.yaml"
POD_SECURITY = "pod-security.kubernetes.io/enforce"
ROOMY = {"cpu": "500", "memory": "2Ti", "nvidia.com/gpu": "64", "pods": "1000"}
"""Capacity of virtual nodes whose namespaces have no quotas, as deploy/ gives it elsewhere."""


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
    namespaces: Sequence[str] = NAMESPACES,
    on_demand: Collection[str] = (),
    privileged: bool = False,
    claims: bool = False,
) -> Federation:
    """Apply deploy/ to both sides and write kubeconfigs and configuration to `directory`.

    Args:
        harness: gives addresses and ports.
        tenant: the tenant cluster.
        computes: compute clusters by the name under which the tenant knows them.
        directory: where credentials and configuration go.
        overrides: settings of single clusters, by name.
        namespaces: tenant namespaces whose pods may be forwarded; none: all but kube-*.
        on_demand: names of compute clusters in which the agent makes its namespaces. Their capacity
            is fixed (`ROOMY`) unless overridden.
        claims: apply what `pvc: shared` needs in the tenant; `overrides` have to ask for it.
        privileged: let pods in these clusters reach for the node, as far as `policy` allows it.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare_tenant(tenant, all_namespaces=not namespaces, claims=claims)
    for name, cluster in computes.items():
        if name in on_demand:
            prepare_on_demand(cluster, privileged=privileged)
        else:
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
        capacity: object = {"sources": ["quota"]}
        settings: dict[str, object] = {"name": name, "kubeconfig": str(path)}
        if name in on_demand:
            capacity = {"sources": ["static"], "static": ROOMY}
            labels = {POD_SECURITY: "privileged" if privileged else "baseline"}
            settings["namespaces"] = {"create": "OnDemand", "labels": labels}
        settings["pools"] = [{"name": "default", "port": port, "capacity": capacity}]
        settings.update((overrides or {}).get(name, {}))
        clusters.append(settings)
    config = {
        "tenant": {
            "name": TENANT,
            "kubeconfig": str(tenant_config),
            "namespaces": list(namespaces),
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


def prepare_tenant(tenant: Cluster, *, all_namespaces: bool = False, claims: bool = False) -> None:
    """Everything of deploy/tenant but the Deployment: the agent runs as a process here."""
    optional = {ALL_NAMESPACES: all_namespaces, CLAIMS: claims}
    names = [*TENANT_FILES, *(name for name, wanted in optional.items() if wanted)]
    files = [f"--filename={DEPLOY / 'tenant' / name}" for name in names]
    tenant.kubectl("apply", "--server-side", *files)


def prepare_compute(cluster: Cluster) -> None:
    """All of deploy/compute."""
    cluster.kubectl("apply", "--server-side", "-k", str(DEPLOY / "compute"))


def prepare_on_demand(cluster: Cluster, *, privileged: bool = False) -> None:
    """All of deploy/compute/on-demand; with `privileged` without the Pod Security policy."""
    folder = DEPLOY / "compute" / "on-demand"
    cluster.kubectl("apply", "--server-side", "-k", str(folder))
    if privileged:
        cluster.kubectl("delete", "--filename", str(folder / "pod-security.yaml"))
