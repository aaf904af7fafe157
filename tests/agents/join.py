"""Gives an agent its rights on both sides and writes its configuration.

In: a running tenant and compute clusters. Out: a configuration file, and credentials of the
ServiceAccounts that deploy/ makes in the tenant and `vnode join` in compute clusters, by that
configuration. The agent never gets admin rights anywhere.
"""

from __future__ import annotations

import base64
import copy
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import yaml

from tests.agents import rights
from tests.clusters.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tests.clusters import Cluster, Harness

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SYSTEM_NAMESPACE = "vnode-system"
TENANT = "demo"
COMPUTE_ACCOUNT = f"vnode-{TENANT}"
"""The account of its agent in compute clusters."""
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
class Terms:
    """What a tenant was joined with that any other one could be joined with as well."""

    overrides: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    namespaces: Sequence[str] = NAMESPACES
    on_demand: Collection[str] = ()
    privileged: bool = False
    claims: bool = False


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
    terms: Terms = field(default_factory=Terms)


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
    uid: str | None = None,
) -> Federation:
    """Prepare both sides and write kubeconfigs and configuration to `directory`.

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
        name: of the tenant.
        settings: what differs in sections of the configuration, by section.
        uid: which tenant cluster the administrators of compute clusters are told; None: this one.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    prepare_tenant(tenant, all_namespaces=not namespaces, claims=claims)
    tenant_config = tenant.service_account_kubeconfig(
        SYSTEM_NAMESPACE, TENANT_ACCOUNT, directory / "tenant.kubeconfig"
    )
    clusters: list[dict[str, object]] = []
    for compute in computes:
        port = harness.free_port()
        capacity: object = {"sources": ["quota"]}
        each: dict[str, object] = {
            "name": compute,
            "kubeconfig": str(directory / f"{compute}.kubeconfig"),
        }
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
    uid = uid or uid_of(tenant)
    options = ["--pod-security=privileged"] if privileged else []
    for compute, cluster in computes.items():
        join_compute(cluster, compute, uid=uid, config=path, directory=directory, options=options)
    nodes = tuple(f"vnode-{compute}" for compute in computes)
    watch_rights(harness, [tenant, *computes.values()])
    terms = Terms(overrides or {}, namespaces, on_demand, privileged=privileged, claims=claims)
    return Federation(tenant, dict(computes), directory, path, nodes, terms)


def join_another(
    harness: Harness, tenant: Cluster, first: Federation, *, directory: Path, name: str
) -> Federation:
    """Join one more tenant to the same compute clusters, on the same terms, with its own ports."""
    terms = first.terms
    overrides = {}
    for compute, settings in terms.overrides.items():
        changed = overrides[compute] = copy.deepcopy(dict(settings))
        pools = cast("list[dict[str, object]]", changed.get("pools", []))
        for pool in pools:
            pool["port"] = harness.free_port()
    return join(
        harness,
        tenant,
        first.computes,
        directory=directory,
        overrides=overrides,
        namespaces=terms.namespaces,
        on_demand=terms.on_demand,
        privileged=terms.privileged,
        claims=terms.claims,
        name=name,
    )


def uid_of(tenant: Cluster) -> str:
    """By what compute clusters tell tenant clusters of one tenant name apart."""
    return tenant.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")


def join_compute(
    cluster: Cluster,
    name: str,
    *,
    uid: str,
    config: Path,
    directory: Path,
    options: Sequence[str] = (),
) -> Path:
    """Run `vnode join` for one cluster of a configuration, as its administrator would.

    Returns the kubeconfig out of the Secret that it makes, in `directory`. It is for the tenant
    cluster of that UID (`uid_of`).
    """
    manifests = directory / f"{name}.secret.yaml"
    which = [f"--config={config}", f"--cluster={name}", f"--tenant-uid={uid}"]
    vnode_join(cluster, *which, f"--secret-file={manifests}", *options)
    return write_kubeconfig(manifests, directory / f"{name}.kubeconfig")


def vnode_join(
    cluster: Cluster, *arguments: str, kubeconfig: Path | None = None, cwd: Path | None = None
) -> str:
    """Run `vnode join` as an administrator, or with another kubeconfig; returns its stdout.

    Raises CommandError with what it printed on stderr.
    """
    admin = f"--kubeconfig={kubeconfig or cluster.kubeconfig}"
    command = [str(Path(sys.executable).with_name("vnode")), "join", admin, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    if done.returncode != 0:
        raise CommandError(f"{cluster.name}: vnode join: {done.stderr.strip()}")
    return done.stdout


def write_kubeconfig(manifests: Path, path: Path) -> Path:
    """What the kubelet mounts into the agent's pod: the kubeconfig of the tenant's Secret."""
    secret = next(iter(yaml.safe_load_all(manifests.read_text())))
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(secret["data"]["kubeconfig"]))
    return path


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
