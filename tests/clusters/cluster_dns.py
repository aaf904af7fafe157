"""Cluster DNS: one CoreDNS per cluster that asks for it, on the control plane's bridge address.

In: a running control plane. Out: answers for `cluster.local` on UDP and TCP port 53 of that
address, for pods on every node of the slot; all other names do not exist, since nothing leaves the
machine. A process of the host, not a pod: so a cluster without nodes has DNS too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.clusters.host import answers
from tests.clusters.processes import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clusters.control_plane import ControlPlane
    from tests.clusters.processes import ProcessTable
    from tests.clusters.slots import PortAllocator

NAME = "coredns"
_START_TIMEOUT = 60.0


def corefile(*, address: str, ready_port: int, kubeconfig: Path) -> str:
    """https://coredns.io/plugins/

    Two blocks, since `template` would come before `kubernetes` in one. Answers are good for a
    second: a test sees what it has just changed.
    """
    return f"""\
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {{
    bind {address}
    errors
    ready {address}:{ready_port}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods verified
        ttl 1
    }}
    loadbalance
}}
.:53 {{
    bind {address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def start(
    control_plane: ControlPlane, *, program: Path, ports: PortAllocator, table: ProcessTable
) -> None:
    """Starts CoreDNS and returns when it knows the cluster's Services."""
    address = control_plane.address
    port = ports.take({address})
    config = control_plane.folder / "Corefile"
    config.write_text(
        corefile(address=address, ready_port=port, kubeconfig=control_plane.kubeconfig)
    )
    record = table.spawn(
        control_plane.name,
        NAME,
        [program, f"-conf={config}"],
        stage=Stage.CONTROLLER,
        log=control_plane.folder / "logs" / f"{NAME}.log",
    )
    url = f"http://{address}:{port}/ready"
    table.wait_until(
        f"DNS of {control_plane.name}", lambda: answers(url), watch=record, timeout=_START_TIMEOUT
    )
