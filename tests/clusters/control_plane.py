"""One control plane: etcd, kube-apiserver, kube-controller-manager, kube-scheduler.

In: a folder, ports, an address, the programs. Out: four processes in the process table, an admin
kubeconfig, an audit log. `start` returns when pods can be created. Ended by the process table.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters import pki
from tests.clusters.api import AdminClient
from tests.clusters.processes import ProcessTable, Record, Stage
from tests.clusters.reading import Reader
from tests.clusters.slots import LOOPBACK, PortAllocator, first_address, service_cidr

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
_AUDIT_POLICY = Path(__file__).with_name("audit-policy.yaml")
_START_TIMEOUT = 90.0  # seconds; a busy machine needs more than the two or three of an idle one
_READ_TIMEOUT = 60.0
_ISSUER = "https://kubernetes.default.svc.cluster.local"


@dataclass(frozen=True)
class Certificates:
    """The PKI of one cluster on disk."""

    authority: pki.Authority
    api_server: pki.Pair
    kubelet_client: pki.Pair
    admin: pki.Pair
    controller_manager: pki.Pair
    scheduler: pki.Pair
    front_proxy_ca: pki.Pair
    front_proxy: pki.Pair
    service_accounts: pki.Pair

    @classmethod
    def make(cls, folder: Path, *, cluster: str, names: list[str]) -> Certificates:
        """Issues everything; `names` are those under which the API server is reached."""
        folder.mkdir(mode=0o700)
        authority = pki.Authority(folder, "ca")
        front_proxy_ca = pki.Authority(folder, "front-proxy-ca")
        return cls(
            authority=authority,
            api_server=authority.issue("apiserver", "kube-apiserver", sans=names),
            kubelet_client=authority.issue(
                "apiserver-kubelet-client",
                "kube-apiserver-kubelet-client",
                groups=["system:masters"],
            ),
            admin=authority.issue("admin", f"{cluster}-admin", groups=["system:masters"]),
            controller_manager=authority.issue(
                "controller-manager", "system:kube-controller-manager"
            ),
            scheduler=authority.issue("scheduler", "system:kube-scheduler"),
            front_proxy_ca=front_proxy_ca.files,
            front_proxy=front_proxy_ca.issue("front-proxy", "front-proxy-client"),
            service_accounts=pki.signing_key(folder, "service-accounts"),
        )


class ControlPlane:
    """Starts the four programs of cluster number `index` in `folder`."""

    def __init__(
        self,
        name: str,
        *,
        index: int,
        folder: Path,
        address: str,
        ports: PortAllocator,
        programs: Mapping[str, Path],
        table: ProcessTable,
        apiserver_args: tuple[str, ...] = (),
        controller_manager_args: tuple[str, ...] = (),
        verifies_kubelets: bool = False,
    ) -> None:
        self.name = name
        self.index = index
        self.folder = folder
        self.address = address
        self.audit_log = folder / "audit.log"
        self.kubeconfig = folder / "admin.kubeconfig"
        self._programs = programs
        self._table = table
        self._apiserver_args = apiserver_args
        self._controller_manager_args = controller_manager_args
        self._verifies_kubelets = verifies_kubelets
        self._etcd_ports = (ports.take(), ports.take())
        self._api_port = ports.take({LOOPBACK, address})
        self._controller_manager_port = ports.take()
        self._scheduler_port = ports.take()
        self.reader = Reader(lambda: self.client(timeout=_READ_TIMEOUT))

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://{self.address}:{self._api_port}"

    @cached_property
    def certificates(self) -> Certificates:
        """Made at first use."""
        names = [
            *dict.fromkeys([LOOPBACK, self.address, first_address(service_cidr(self.index))]),
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        return Certificates.make(self.folder / "pki", cluster=self.name, names=names)

    def client(self, *, timeout: float = 10) -> AdminClient:
        """A connection with all rights."""
        return AdminClient(
            self.server,
            ca_file=self.certificates.authority.files.cert,
            pair=self.certificates.admin,
            timeout=timeout,
        )

    def start(self) -> None:
        """Starts everything and returns when pods can be created. Raises StartError."""
        self.folder.mkdir(parents=True)
        self._write_kubeconfig("admin", self.certificates.admin)
        self.await_etcd(self._spawn("etcd", self._etcd_argv(), Stage.ETCD))
        # An API server that finds no etcd gives up, so etcd is waited for.
        self.await_api(self._spawn("kube-apiserver", self._apiserver_argv(), Stage.API_SERVER))
        manager = self._spawn(
            "kube-controller-manager", self._controller_manager_argv(), Stage.CONTROLLER
        )
        self._spawn("kube-scheduler", self._scheduler_argv(), Stage.CONTROLLER)
        with self.client() as client:
            self._table.wait_until(
                f"cluster {self.name}",
                lambda: client.status("/api/v1/namespaces/default/serviceaccounts/default") == 200,
                watch=manager,
                timeout=_START_TIMEOUT,
            )

    def await_etcd(self, etcd: Record) -> None:
        """Returns when etcd answers."""
        self._table.wait_until(
            f"cluster {self.name}", self._etcd_healthy, watch=etcd, timeout=_START_TIMEOUT
        )

    def await_api(self, api_server: Record) -> None:
        """Returns when the API server is ready."""
        with self.client() as client:
            self._table.wait_until(
                f"cluster {self.name}",
                lambda: client.status("/readyz") == 200,
                watch=api_server,
                timeout=_START_TIMEOUT,
            )

    def _etcd_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.etcd_url}/health", timeout=1) as answer:
                return b'"true"' in answer.read()
        except (urllib.error.URLError, OSError):
            return False

    def _spawn(self, name: str, arguments: list[str], stage: Stage) -> Record:
        return self._table.spawn(
            self.name,
            name,
            [self._programs[name], *arguments],
            stage=stage,
            log=self.folder / "logs" / f"{name}.log",
        )

    def _write_kubeconfig(self, stem: str, pair: pki.Pair) -> Path:
        return pki.write_kubeconfig(
            self.folder / f"{stem}.kubeconfig",
            cluster=self.name,
            server=self.server,
            ca_file=self.certificates.authority.files.cert,
            user=pki.client_user(pair),
        )

    @property
    def etcd_url(self) -> str:
        """Where etcd answers, without TLS."""
        return f"http://{LOOPBACK}:{self._etcd_ports[0]}"

    def _etcd_argv(self) -> list[str]:
        peer = f"http://{LOOPBACK}:{self._etcd_ports[1]}"
        return [
            f"--name={self.name}",
            f"--data-dir={self.folder / 'etcd'}",
            "--unsafe-no-fsync",
            f"--listen-client-urls={self.etcd_url}",
            f"--advertise-client-urls={self.etcd_url}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={self.name}={peer}",
            f"--quota-backend-bytes={8 << 30}",
            "--log-level=warn",
        ]

    def _apiserver_argv(self) -> list[str]:
        certs = self.certificates
        # Pods cannot reach a loopback address, so there the `kubernetes` Service stays empty.
        reconciler = "none" if self.address == LOOPBACK else "lease"
        kubelet_ca = f"--kubelet-certificate-authority={certs.authority.files.cert}"
        return [
            f"--etcd-servers={self.etcd_url}",
            f"--bind-address={self.address}",
            f"--advertise-address={self.address}",
            f"--secure-port={self._api_port}",
            f"--endpoint-reconciler-type={reconciler}",
            f"--tls-cert-file={certs.api_server.cert}",
            f"--tls-private-key-file={certs.api_server.key}",
            f"--client-ca-file={certs.authority.files.cert}",
            f"--kubelet-client-certificate={certs.kubelet_client.cert}",
            f"--kubelet-client-key={certs.kubelet_client.key}",
            "--kubelet-preferred-address-types=InternalIP,Hostname",
            f"--service-account-issuer={_ISSUER}",
            f"--service-account-key-file={certs.service_accounts.cert}",
            f"--service-account-signing-key-file={certs.service_accounts.key}",
            f"--service-cluster-ip-range={service_cidr(self.index)}",
            f"--requestheader-client-ca-file={certs.front_proxy_ca.cert}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={certs.front_proxy.cert}",
            f"--proxy-client-key-file={certs.front_proxy.key}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--audit-policy-file={_AUDIT_POLICY}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-maxsize=1024",
            *((kubelet_ca,) if self._verifies_kubelets else ()),
            *self._apiserver_args,
        ]

    def _controller_manager_argv(self) -> list[str]:
        certs = self.certificates
        config = self._write_kubeconfig("controller-manager", certs.controller_manager)
        return [
            *self._delegating(config, self._controller_manager_port),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={certs.service_accounts.key}",
            f"--root-ca-file={certs.authority.files.cert}",
            f"--cluster-signing-cert-file={certs.authority.files.cert}",
            f"--cluster-signing-key-file={certs.authority.files.key}",
            f"--service-cluster-ip-range={service_cidr(self.index)}",
            *self._controller_manager_args,
        ]

    def _scheduler_argv(self) -> list[str]:
        config = self._write_kubeconfig("scheduler", self.certificates.scheduler)
        return self._delegating(config, self._scheduler_port)

    @staticmethod
    def _delegating(config: Path, port: int) -> list[str]:
        """Flags that the controller manager and the scheduler have in common."""
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            "--leader-elect=false",
            "--kube-api-qps=300",
            "--kube-api-burst=600",
        ]
