"""The agent as its users run it: the Deployment of deploy/tenant, on a node of the tenant.

In: a tenant whose real nodes have the agent's image (`ClusterSpec.agent`), and compute clusters.
Out: `Deployed`, through which replicas are found, their Leases looked at and their logs read. What
is applied is deploy/tenant under a kustomization of the kind that users write: with their own
config.yaml and a volume source for each further compute cluster; and the Secrets that `vnode join`
makes. Everything goes with the clusters.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from tests.agents.join import (
    DEPLOY,
    NAMESPACES,
    SYSTEM_NAMESPACE,
    Federation,
    join_compute,
    uid_of,
    watch_rights,
)
from tests.agents.process import AgentError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.clusters import Cluster, Harness

NAME = "vnode"
_SELECTOR = f"--selector=app.kubernetes.io/name={NAME}"
_IN_MANIFESTS = "gpu-a"
"""The compute cluster that deploy/tenant names."""


def deploy(
    harness: Harness, tenant: Cluster, computes: Mapping[str, Cluster], *, directory: Path
) -> Deployed:
    """Join the clusters and apply the Deployment; returns without waiting for its pods.

    Args:
        harness: whose clusters these are.
        tenant: with a real node that has the agent's image.
        computes: compute clusters by the name under which the tenant knows them.
        directory: where the kustomization and credentials go.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    tenant.kubectl("apply", "--server-side", f"--filename={DEPLOY / 'tenant' / 'namespace.yaml'}")
    overlay = directory / "tenant"
    _write_overlay(overlay, tenant, list(computes))
    for name, cluster in computes.items():
        join_compute(
            cluster,
            name,
            uid=uid_of(tenant),
            config=overlay / "config.yaml",
            directory=directory,
            options=[f"--server={cluster.server_for_pods}"],
        )
        tenant.kubectl("apply", f"--filename={directory / f'{name}.secret.yaml'}")
    tenant.kubectl("apply", "--server-side", "-k", str(overlay))
    watch_rights(harness, [tenant, *computes.values()])
    nodes = tuple(f"vnode-{name}" for name in computes)
    return Deployed(Federation(tenant, dict(computes), directory, overlay / "config.yaml", nodes))


def _write_overlay(folder: Path, tenant: Cluster, computes: list[str]) -> None:
    """What users write beside deploy/tenant, which stays as it is."""
    folder.mkdir()
    config = yaml.safe_load((DEPLOY / "tenant" / "config.yaml").read_text())
    server = urlsplit(tenant.server_for_pods)
    config["tenant"]["apiServer"] = {"host": server.hostname, "port": server.port}
    config["tenant"]["namespaces"] = list(NAMESPACES)
    config["clusters"] = [
        {
            "name": name,
            "kubeconfig": f"/etc/vnode/{name}/kubeconfig",
            "kubeconfigSecret": f"vnode-compute-{name}",
        }
        for name in computes
    ]
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    more = [name for name in computes if name != _IN_MANIFESTS]
    changes = [
        {"op": "add", "path": "/spec/template/spec/volumes/0/projected/sources/-", "value": source}
        for source in map(_source, more)
    ]
    kustomization: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(DEPLOY / "tenant", folder.resolve())],
        "configMapGenerator": [
            {
                "name": "vnode-config",
                "namespace": SYSTEM_NAMESPACE,
                "behavior": "replace",
                "files": ["config.yaml"],
            }
        ],
    }
    if changes:
        target = {"kind": "Deployment", "name": NAME}
        kustomization["patches"] = [{"target": target, "patch": yaml.safe_dump(changes)}]
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization, sort_keys=False))


def _source(compute: str) -> dict[str, Any]:
    items = [{"key": "kubeconfig", "path": f"{compute}/kubeconfig"}]
    return {"secret": {"name": f"vnode-compute-{compute}", "items": items}}


class Deployed:
    """A Deployment of the agent."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation

    def kubectl(self, *args: str, timeout: float = 60, check: bool = True) -> str:
        """In the agent's namespace, with all rights."""
        namespace = f"--namespace={SYSTEM_NAMESPACE}"
        return self.federation.tenant.kubectl(namespace, *args, timeout=timeout, check=check)

    def replicas(self) -> list[dict[str, Any]]:
        """Its pods that are not being deleted."""
        pods = json.loads(self.kubectl("get", "pods", _SELECTOR, "-o", "json"))["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def leader(self, compute: str) -> str:
        """Name of the pod that has the Lease of a compute cluster; empty: none."""
        path = "-o=jsonpath={.spec.holderIdentity}"
        return self.kubectl("get", "lease", f"vnode-{compute}", "--ignore-not-found", path)

    def wait_ready(self, *, timeout: float = 60.0) -> None:
        """Wait until all replicas and all virtual nodes are Ready. Raises AgentError."""
        deadline = time.monotonic() + timeout
        while True:
            missing = self._missing()
            if not missing:
                return
            if time.monotonic() > deadline:
                raise AgentError(f"not ready after {timeout:g} s: {missing}\n{self.story()}")
            time.sleep(0.3)

    def story(self) -> str:
        """What people would look at: pods, their events, and the ends of their logs."""
        logs = ("logs", _SELECTOR, "--tail=30", "--prefix")
        looks = (("get", "pods", "-o", "wide"), ("events",), logs)
        return "\n".join(self.kubectl(*look, check=False) for look in looks)

    def _missing(self) -> list[str]:
        status = json.loads(self.kubectl("get", "deployment", NAME, "-o", "json"))["status"]
        waits = [] if status.get("readyReplicas") == 2 else ["replicas"]
        nodes = json.loads(self.federation.tenant.kubectl("get", "nodes", "-o", "json"))["items"]
        ready = {n["metadata"]["name"] for n in nodes if _is_ready(n)}
        return [*waits, *sorted(set(self.federation.nodes) - ready)]


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    pods = node["status"].get("allocatable", {}).get("pods", "0")
    return pods != "0" and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
