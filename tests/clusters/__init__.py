"""Real Kubernetes clusters on one machine, for tests, benchmarks and the demo.

    with Harness(progress=print) as harness:
        clusters = harness.up([ClusterSpec("tenant"), ClusterSpec("gpu-a", kwok=NodePool(4))])
        clusters["gpu-a"].kubectl("get", "nodes")

What flows where: `spec` (what to make) -> `harness` (owner) -> `programs` (executables) and
`slots` (ports, addresses) -> `launch` -> `control_plane`, `kwok`, `node` (processes) -> `cluster`
(what the caller gets) -> `teardown`. `python -m tests.clusters` is the same from a shell.

For Kubernetes' own tests there are nodes with everything that these expect:

    harness.up([ClusterSpec("tenant", services=True),
                ClusterSpec("gpu", real_nodes=1, conformance=True)])

with `cluster_dns` and `kube_proxy` beside the above, and a `registry` for `e2e_images`.
"""

from tests.clusters.cluster import Cluster
from tests.clusters.errors import (
    CommandError,
    HarnessError,
    ProgramError,
    SlotError,
    StartError,
    UnsupportedError,
)
from tests.clusters.harness import Harness
from tests.clusters.host import can_run_containers
from tests.clusters.spec import ClusterSpec, NodePool, SpecError, parse_cluster_spec

__all__ = [
    "Cluster",
    "ClusterSpec",
    "CommandError",
    "Harness",
    "HarnessError",
    "NodePool",
    "ProgramError",
    "SlotError",
    "SpecError",
    "StartError",
    "UnsupportedError",
    "can_run_containers",
    "parse_cluster_spec",
]
