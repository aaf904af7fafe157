"""metrics-server for one cluster: its own manifests' rights, run as a process on this host.

In: a running cluster, an address that its API server reaches. Out: the API `metrics.k8s.io`, fed
from the kubelets of all nodes. No cluster here has a network for Services, so the APIService leads
to the process by a Service of type ExternalName. Owned by whoever enters it; leaving it takes the
API away first, since an API without a server breaks discovery and the deletion of namespaces.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from tests.clusters import Cluster

NAMESPACE = "kube-system"
NAME = "metrics-server"
API = "v1beta1.metrics.k8s.io"
_STOP_SECONDS = 10.0


class MetricsServer:
    """One metrics-server, scraping every 10 s, which is as often as it allows."""

    def __init__(
        self, cluster: Cluster, program: Path, *, address: str, port: int, directory: Path
    ) -> None:
        self._cluster = cluster
        self._program = program
        self._address = address
        self._port = port
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MetricsServer:
        self._directory.mkdir(parents=True)
        self._apply(*_rights())
        kubeconfig = self._cluster.service_account_kubeconfig(
            NAMESPACE, NAME, self._directory / "kubeconfig"
        )
        arguments = [
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--cert-dir={self._directory / 'certs'}",
            f"--bind-address={self._address}",
            f"--secure-port={self._port}",
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
            "--kubelet-use-node-status-port",
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-insecure-tls",
        ]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(self._program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._cluster.kubectl("delete", "apiservice", API, "--ignore-not-found")
        finally:
            self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(_STOP_SECONDS)

    def serve(self) -> None:
        """Let the cluster's API server send `metrics.k8s.io` here, and wait until it does."""
        self._apply(*_api(self._address, self._port))
        wait = ("wait", "--for=condition=Available", f"apiservice/{API}", "--timeout=40s")
        answer = self._cluster.kubectl(*wait, check=False)
        log = (self._directory / "log").read_text(errors="replace")[-2000:]
        assert "condition met" in answer, f"{answer}\n{log}"

    def _apply(self, *objects: Any) -> None:
        manifest = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self._cluster.kubectl("apply", "-f", "-", input=json.dumps(manifest))


def _rights() -> list[Any]:
    """As in metrics-server's own manifests (manifests/base/rbac.yaml)."""
    rules = [
        {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
    ]
    return [
        _object("v1", "ServiceAccount", namespace=NAMESPACE),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", rules=rules),
        _binding("ClusterRoleBinding", NAME, "ClusterRole", NAME),
        _binding("ClusterRoleBinding", f"{NAME}-reviews", "ClusterRole", "system:auth-delegator"),
        _binding("RoleBinding", NAME, "Role", "extension-apiserver-authentication-reader"),
    ]


def _api(address: str, port: int) -> list[Any]:
    return [
        _object(
            "v1",
            "Service",
            namespace=NAMESPACE,
            spec={"type": "ExternalName", "externalName": address, "ports": [{"port": port}]},
        ),
        _object(
            "apiregistration.k8s.io/v1",
            "APIService",
            name=API,
            spec={
                "service": {"name": NAME, "namespace": NAMESPACE, "port": port},
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        ),
    ]


def _binding(kind: str, name: str, role_kind: str, role: str) -> Any:
    return _object(
        "rbac.authorization.k8s.io/v1",
        kind,
        name=name,
        namespace=NAMESPACE if kind == "RoleBinding" else None,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": role_kind, "name": role},
        subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}],
    )


def _object(
    version: str, kind: str, *, name: str = NAME, namespace: str | None = None, **fields: Any
) -> Any:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}
