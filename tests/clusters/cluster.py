"""What the harness hands out: one cluster, started by it or given from outside.

In: paths and addresses. Out: kubectl, kubeconfigs for other identities, and (for started clusters
only) stopping and starting of components for fault tests. Owned by its `Harness`.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters import kwok, pki
from tests.clusters.errors import CommandError, UnsupportedError
from tests.clusters.node import KUBELET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.clusters.control_plane import ControlPlane
    from tests.clusters.node import Node
    from tests.clusters.processes import ProcessTable


@dataclass(frozen=True)
class Cluster:
    """A Kubernetes cluster and the ways in."""

    name: str
    kubeconfig: Path
    """Kubeconfig with all rights."""
    server: str
    """URL of the API server."""
    ca_file: Path
    """PEM file of the CA that signed the API server's certificate."""
    audit_log: Path | None = None
    """The API server's audit log, JSON lines; None for clusters that the harness did not start."""
    kubectl_program: Path = field(default=Path("kubectl"), repr=False)
    kubectl_cache: Path | None = field(default=None, repr=False)
    """Where kubectl remembers API groups: another cluster may have had this address before."""
    control_plane: ControlPlane | None = field(default=None, repr=False)
    table: ProcessTable | None = field(default=None, repr=False)
    nodes: Mapping[str, Node] = field(default_factory=dict, repr=False)
    """Real nodes by name; empty for clusters that the harness did not start."""
    internal_server: str | None = None
    """URL of the API server for pods of other clusters, where `server` is for this host only."""
    dns_address: str | None = None
    """Where the cluster's DNS answers on port 53; None when the harness started none."""

    @property
    def server_for_pods(self) -> str:
        """URL of the API server as pods of this and other clusters reach it."""
        return self.internal_server or self.server

    def kubectl(
        self,
        *args: str,
        input: str | None = None,
        kubeconfig: Path | None = None,
        timeout: float = 60,
        check: bool = True,
    ) -> str:
        """Runs kubectl (as admin unless another kubeconfig is given) and returns its stdout.

        With `check`, a failure raises CommandError with what kubectl printed to stderr; without,
        stderr is appended to the result. A command over `timeout` seconds always raises.
        """
        command = [str(self.kubectl_program), f"--kubeconfig={kubeconfig or self.kubeconfig}"]
        environment = dict(os.environ)
        if self.kubectl_cache:
            environment["KUBECACHEDIR"] = str(self.kubectl_cache)
        try:
            done = subprocess.run(
                [*command, *args],
                input=input,
                stdin=subprocess.DEVNULL if input is None else None,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                env=environment,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandError(
                f"{self.name}: kubectl {' '.join(args)}: no end after {timeout} s"
            ) from error
        if not check:
            return done.stdout + done.stderr
        if done.returncode != 0:
            raise CommandError(f"{self.name}: kubectl {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout

    def find(self, path: str) -> Any:
        """The decoded object or list at a path, None if it is not there. Raises CommandError.

        For what waits and looks again and again: kubectl costs more than the API server's answer.
        """
        if self.control_plane is not None:
            return self.control_plane.reader.find(path)
        try:
            return json.loads(self.kubectl("get", "--raw", path))
        except CommandError as error:
            if "(NotFound)" in str(error):
                return None
            raise

    def kubeconfig_for_token(self, token: str, path: Path) -> Path:
        """Writes a kubeconfig for a bearer token."""
        return pki.write_kubeconfig(
            path,
            cluster=self.name,
            server=self.server,
            ca_file=self.ca_file,
            user={"token": token},
        )

    def service_account_kubeconfig(
        self, namespace: str, name: str, path: Path, duration: str = "24h"
    ) -> Path:
        """Writes a kubeconfig with a fresh token of an existing ServiceAccount."""
        token = self.kubectl(
            "create", "token", name, f"--namespace={namespace}", f"--duration={duration}"
        )
        return self.kubeconfig_for_token(token.strip(), path)

    def stop(self, component: str, *, hard: bool = False) -> None:
        """Ends a component: SIGTERM and up to 10 s of patience, or SIGKILL when `hard`.

        A component is `etcd`, `kube-apiserver`, `kube-controller-manager`, `kube-scheduler` or
        `kwok`; those of real nodes are named `NODE/kubelet` and `NODE/containerd`.
        """
        table = self._own_table()
        table.stop(table.get(*self._owner_and_name(component)), hard=hard)

    def start(self, component: str) -> None:
        """Starts a stopped component as it was; etcd, API server and kubelet are waited for."""
        table = self._own_table()
        owner, name = self._owner_and_name(component)
        if name == KUBELET and owner in self.nodes:
            self.nodes[owner].restart_kubelet()
            return
        if name == kwok.NAME and self.control_plane:
            kwok.restart(self.control_plane, table)
            return
        record = table.restart(owner, name)
        if self.control_plane and component == "etcd":
            self.control_plane.await_etcd(record)
        if self.control_plane and component == "kube-apiserver":
            self.control_plane.await_api(record)

    def start_ended(self, component: str) -> bool:
        """Starts a component that ended by itself, as a kubelet would; whether it had.

        kube-scheduler does so when it missed that a pod was deleted and made again on another node
        ("Scheduler cache is corrupted"), which an API server that was away brings about.
        """
        ended = not self._own_table().get(*self._owner_and_name(component)).identity.alive()
        if ended:
            self.start(component)
        return ended

    def _owner_and_name(self, component: str) -> tuple[str, str]:
        node, _, name = component.rpartition("/")
        return node or self.name, name

    def _own_table(self) -> ProcessTable:
        if self.table is None:
            raise UnsupportedError(f"{self.name} was not started here: its parts cannot be stopped")
        return self.table
