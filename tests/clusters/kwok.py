"""Simulated nodes: any number of GPU machines at the price of one small process.

In: a running control plane and a `NodePool`. Out: Node objects that kwok keeps Ready, and whose
pods it runs in appearance only, as `kwok-stages.yaml` describes. kwok answers for their kubelets:
it has no logs and nothing to exec into, and says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.clusters import pki
from tests.clusters.api import is_usable
from tests.clusters.processes import ProcessTable, Record, Stage
from tests.clusters.slots import LOOPBACK, PortAllocator

if TYPE_CHECKING:
    from tests.clusters.control_plane import ControlPlane
    from tests.clusters.spec import NodePool

NAME = "kwok"
_STAGES = Path(__file__).with_name("kwok-stages.yaml")
_MANAGED = {"kwok.x-k8s.io/node": "fake"}
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
_READY_TIMEOUT = 60.0


def start(
    control_plane: ControlPlane,
    pool: NodePool,
    *,
    cidr: str,
    program: Path,
    ports: PortAllocator,
    table: ProcessTable,
) -> None:
    """Starts kwok and creates the pool's nodes; returns when all of them are Ready.

    `cidr` is where the pods' addresses come from.
    """
    record = _spawn(control_plane, cidr=cidr, program=program, port=ports.take(), table=table)
    names = {f"{_node_prefix(control_plane)}{number}" for number in range(pool.count)}
    with control_plane.client() as client:
        for name in sorted(names):
            client.create("/api/v1/nodes", node_object(name, pool))

        def all_ready() -> bool:
            nodes = client.get("/api/v1/nodes?resourceVersion=0")["items"]
            return names <= {node["metadata"]["name"] for node in nodes if is_usable(node)}

        table.wait_until(
            f"simulated nodes of {control_plane.name}",
            all_ready,
            watch=record,
            timeout=_READY_TIMEOUT,
        )


def restart(control_plane: ControlPlane, table: ProcessTable) -> None:
    """Starts a stopped kwok; at once it runs pods again.

    Every kwok calls itself another name, and would wait until the Leases of its predecessor have
    run out; that one is dead for certain, so they are removed.
    """
    if table.get(control_plane.name, NAME).identity.alive():
        return
    with control_plane.client() as client:
        for lease in client.get(_LEASES)["items"]:
            if lease["metadata"]["name"].startswith(_node_prefix(control_plane)):
                client.delete(f"{_LEASES}/{lease['metadata']['name']}")
    table.restart(control_plane.name, NAME)


def node_object(name: str, pool: NodePool) -> dict[str, Any]:
    """The Node as somebody else's kubelet would have registered it."""
    resources = {"cpu": pool.cpu, "memory": pool.memory, "pods": str(pool.pods)}
    resources["ephemeral-storage"] = "1Ti"
    if pool.gpus:
        resources["nvidia.com/gpu"] = str(pool.gpus)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **pool.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels, "annotations": _MANAGED},
        "status": {
            "capacity": resources,
            "allocatable": resources,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "kwok://",
                "kernelVersion": "",
                "kubeProxyVersion": "",
                "kubeletVersion": "kwok",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "kwok",
                "systemUUID": "",
            },
        },
    }


def _node_prefix(control_plane: ControlPlane) -> str:
    return f"{control_plane.name}-kwok-"


def _spawn(
    control_plane: ControlPlane, *, cidr: str, program: Path, port: int, table: ProcessTable
) -> Record:
    certs = control_plane.certificates
    serving = certs.authority.issue("kwok", "kwok", sans=[LOOPBACK])
    config = pki.write_kubeconfig(
        control_plane.folder / "kwok.kubeconfig",
        cluster=control_plane.name,
        server=control_plane.server,
        ca_file=certs.authority.files.cert,
        user=pki.client_user(certs.admin),
    )
    selector = ",".join(f"{key}={value}" for key, value in _MANAGED.items())
    return table.spawn(
        control_plane.name,
        NAME,
        [
            program,
            f"--kubeconfig={config}",
            f"--config={_STAGES}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector={selector}",
            f"--cidr={cidr}",
            f"--node-ip={LOOPBACK}",
            f"--node-port={port}",
            f"--server-address={LOOPBACK}:{port}",
            f"--tls-cert-file={serving.cert}",
            f"--tls-private-key-file={serving.key}",
            "--node-lease-duration-seconds=40",
        ],
        stage=Stage.NODE_SIMULATOR,
        log=control_plane.folder / "logs" / "kwok.log",
    )
