"""Gives an agent its rights on both sides and writes its configuration.

In: a running tenant and compute clusters. Out: credentials of the ServiceAccounts that deploy/
makes, and a configuration file. The agent never gets admin rights anywhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tests.agents import rights

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.clusters import Cluster, Harness

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SYSTEM_NAMESPACE = "vnode-system"
TENANT = "demo"
COMPUTE_ACCOUNT = f"vnode-{TENANT}"
"""The account of its agent in compute clusters."""
_OF_TENANT = re.compile(rf"\b{TENANT}\b")
TENANT_ACCOUNT = "vnode"
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
    name: str = TENANT,
    settings: Mapping[str, Mapping[str, object]] | None = None,
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
        name: of the tenant; deploy/compute is copied for another one than `demo`.
        settings: what differs in sections of the configuration, by section.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare_tenant(tenant, all_namespaces=not namespaces, claims=claims)
    for compute, cluster in computes.items():
        if compute in on_demand:
            prepare_on_demand(cluster, privileged=privileged)
        else:
            prepare_compute(cluster, name=name, directory=directory)
    tenant_config = tenant.service_account_kubeconfig(
        SYSTEM_NAMESPACE, TENANT_ACCOUNT, directory / "tenant.kubeconfig"
    )
    clusters: list[dict[str, object]] = []
    for compute, cluster in computes.items():
        path = cluster.service_account_kubeconfig(
            SYSTEM_NAMESPACE, f"vnode-{name}", directory / f"{compute}.kubeconfig"
        )
        port = harness.free_port()
        capacity: object = {"sources": ["quota"]}
        each: dict[str, object] = {"name": compute, "kubeconfig": str(path)}
        if compute in on_demand:
            capacity = {"sources": ["static"], "static": ROOMY}
            labels = {POD_SECURITY: "privileged" if privileged else "baseline"}
            each["namespaces"] = {"create": "OnDemand", "labels": labels}
        each["pools"] = [{"name": "default", "port": port, "capacity": capacity}]
        each.update((overrides or {}).get(compute, {}))
        clusters.append(each)
    config: dict[str, Any] = {
        "tenant": {
            "name": name,
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
    if tenant.internal_server:
        inside = urlsplit(tenant.server_for_pods)
        config["tenant"]["apiServer"] = {"host": inside.hostname, "port": inside.port}
    for section, changes in (settings or {}).items():
        config[section] = {**config.get(section, {}), **changes}
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    nodes = tuple(f"vnode-{compute}" for compute in computes)
    watch_rights(harness, [tenant, *computes.values()])
    return Federation(tenant, dict(computes), directory, path, nodes)


def watch_rights(harness: Harness, clusters: Sequence[Cluster]) -> None:
    """See that it is left to a judge what the agents in these clusters did, if there is one."""
    folder = os.environ.get(rights.FOLDER)
    logs = {cluster.name: cluster.audit_log for cluster in clusters}
    if not folder:
        return

    def leave() -> None:
        for name, log in logs.items():
            if log is not None:
                with log.open() as lines:
                    seen = rights.seen_in(lines, rights.granted())
                rights.leave(seen, Path(folder) / f"{os.getpid()}-{id(harness)}-{name}.json")

    harness.before_down(leave)


def prepare_tenant(tenant: Cluster, *, all_namespaces: bool = False, claims: bool = False) -> None:
    """Everything of deploy/tenant but the Deployment: the agent runs as a process here."""
    optional = {ALL_NAMESPACES: all_namespaces, CLAIMS: claims}
    names = [*TENANT_FILES, *(name for name, wanted in optional.items() if wanted)]
    files = [f"--filename={DEPLOY / 'tenant' / name}" for name in names]
    tenant.kubectl("apply", "--server-side", *files)


def prepare_compute(cluster: Cluster, *, name: str, directory: Path) -> None:
    """All of deploy/compute; for another tenant a copy with its name, made in `directory`."""
    folder = DEPLOY / "compute"
    if name != TENANT:
        folder = _copied(folder, directory / "compute", name=name)
    cluster.kubectl("apply", "--server-side", "-k", str(folder))


def _copied(source: Path, target: Path, *, name: str) -> Path:
    """Manifests for another tenant, made as deploy/README.md says: by changing the name."""
    for file in source.rglob("*.yaml"):
        place = target / _OF_TENANT.sub(name, str(file.relative_to(source)))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_OF_TENANT.sub(name, file.read_text()))
    return target


def prepare_on_demand(cluster: Cluster, *, privileged: bool = False) -> None:
    """All of deploy/compute/on-demand; with `privileged` without the Pod Security policy."""
    folder = DEPLOY / "compute" / "on-demand"
    cluster.kubectl("apply", "--server-side", "-k", str(folder))
    if privileged:
        cluster.kubectl("delete", "--filename", str(folder / "pod-security.yaml"))
