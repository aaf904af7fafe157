"""A virtual node that looks free but is not must not swallow the queue (DESIGN 7).

Foreign pods leave one GPU on each compute node: the sum is four, but two on one node are nowhere.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents import Federation
from tests.e2e.user import User, until
from tests.e2e.workloads import CLUSTER_LABEL, IMAGE, pod

KWOK, OTHER = "kwok-a", "kwok-b"
GPU = "nvidia.com/gpu"
FOREIGN = "default"
"""A namespace of the compute cluster that is no tenant's."""


def _gpus(count: int) -> dict[str, Any]:
    return {"resources": {"requests": {"cpu": "10m"}, "limits": {GPU: str(count)}}}


def _rather(name: str) -> Any:
    """A pod of one GPU that prefers the first cluster, but may go to the other."""
    manifest = pod(name, cluster="-", container=_gpus(1))
    del manifest["spec"]["nodeSelector"]

    def on(*clusters: str) -> dict[str, Any]:
        return {
            "matchExpressions": [{"key": CLUSTER_LABEL, "operator": "In", "values": list(clusters)}]
        }

    manifest["spec"]["affinity"] = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [on(KWOK, OTHER)]
            },
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 100, "preference": on(KWOK)}
            ],
        }
    }
    return manifest


def _free_gpus(user: User) -> int:
    return int(user.get("node", f"vnode-{KWOK}")["status"]["allocatable"][GPU])


@pytest.fixture
def fragmented(federation: Federation) -> Iterator[User]:
    """The first cluster with seven of eight GPUs of each node taken by somebody else."""
    below = User(federation.computes[KWOK], FOREIGN)
    for node in below.items("nodes"):
        name = f"taker-{node['metadata']['name']}"
        manifest: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": FOREIGN, "labels": {"app": "taker"}},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": node["metadata"]["name"]},
                "containers": [{"name": "main", "image": IMAGE, **_gpus(7)}],
            },
        }
        below.apply(manifest)
    taken = below.items("pods", "app=taker")
    until(
        lambda: all(p["spec"].get("nodeName") for p in below.items("pods", "app=taker")),
        f"{len(taken)} foreign pods are placed",
    )
    yield below
    below.kubectl("delete", "pods", "--selector=app=taker", "--grace-period=0", "--force")


def test_pods_go_elsewhere_while_one_waits_below_for_a_resource(
    user: User, fragmented: User
) -> None:
    free = _free_gpus(user)
    user.apply(pod("wide", cluster=KWOK, container=_gpus(2)))
    until(
        lambda: user.get("pod", "wide")["status"].get("reason") == "Unschedulable",
        "it does not fit below",
    )
    assert f"Insufficient {GPU}" in user.get("pod", "wide")["status"]["message"]
    until(lambda: _free_gpus(user) == 2, "no more GPUs are offered than are asked for")

    later = [f"later-{number}" for number in range(4)]
    user.apply(*map(_rather, later))
    for name in later:
        assert user.wait_phase(name, "Running")["spec"]["nodeName"] == f"vnode-{OTHER}"

    fragmented.kubectl("delete", "pods", "--selector=app=taker", "--grace-period=0", "--force")
    user.wait_phase("wide", "Running")
    until(lambda: _free_gpus(user) == free, "the GPUs are offered again")
    user.apply(_rather("latest"))
    assert user.wait_phase("latest", "Running")["spec"]["nodeName"] == f"vnode-{KWOK}"
