"""Pods on ECI nodes of a compute cluster: which instances they ask for, and what they are told.

Nobody has ECI here: the node is one without a machine, and `tests.standin.EciNodes` writes what ECI
would, as its pages show it. The table in docs/eci.md says the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec, Harness
from tests.clusters.existing import requested
from tests.e2e.user import BELOW, User, until
from tests.e2e.workloads import pod
from tests.standin import EciNodes
from tests.standin.eci_nodes import TAINT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.apart

ACK = "ack"
NODE = f"vnode-{ACK}"
GPU, MODEL = "nvidia.com/gpu", "nvidia.com/gpu.product"
TYPES = ["ecs.gn7i-c8g1.2xlarge", "ecs.gn7i-c16g1.4xlarge"]
PREFIX = "k8s.aliyun.com/eci-"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Owner of the clusters of this file."""
    if requested():
        pytest.skip("has clusters of its own")
    with Harness(state=tmp_path_factory.mktemp("eci") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def federation(harness: Harness, tmp_path_factory: pytest.TempPathFactory) -> Federation:
    """A tenant, and a compute cluster with one node that plays ECI."""
    clusters = harness.up([ClusterSpec("tenant"), ClusterSpec(ACK)])
    pool = {
        "name": "default",
        "port": harness.free_port(),
        "capacity": {
            "sources": ["static"],
            "static": {"cpu": "64", "memory": "512Gi", GPU: "8", "pods": "100"},
        },
        "labels": {MODEL: "A10"},
        "tolerations": [{"key": TAINT["key"], "operator": "Exists"}],
        "eciNodes": {"gpuSpecs": {"A10": TYPES}, "spot": {"fallback": True}},
    }
    return join(
        harness,
        clusters["tenant"],
        {ACK: clusters[ACK]},
        directory=tmp_path_factory.mktemp("agent"),
        overrides={ACK: {"pools": [pool]}},
    )


@pytest.fixture(scope="module")
def eci(federation: Federation) -> EciNodes:
    """What ECI says in the compute cluster."""
    plane = federation.computes[ACK].control_plane
    assert plane is not None
    nodes = EciNodes(plane.client)
    nodes.add_phantom()
    return nodes


@pytest.fixture(scope="module")
def user(federation: Federation) -> Iterator[User]:
    """A user of the tenant, whose agent runs."""
    with AgentProcess(federation) as process:
        process.wait_ready()
        yield User(federation.tenant)


@pytest.fixture
def below(federation: Federation, eci: EciNodes) -> User:
    """An onlooker in the compute cluster, whose node is alive."""
    eci.beat()
    return User(federation.computes[ACK], BELOW)


def gpu_pod(name: str, model: str = "A10") -> Any:
    """A pod with one GPU of that model."""
    resources = {"requests": {"cpu": "1"}, "limits": {GPU: "1"}}
    made = pod(name, cluster=ACK, restartPolicy="Never", container={"resources": resources})
    made["spec"]["nodeSelector"][MODEL] = model
    return made


def sent(user: User, below: User, name: str) -> Any:
    """Submit a pod, and wait until its copy has a node."""
    user.apply(gpu_pod(name))

    def bound() -> Any:
        copy = below.get("pod", name)
        return copy if copy and copy["spec"].get("nodeName") else None

    return until(bound, f"the copy of {name} has a node")


def free_gpus(user: User) -> int:
    return int(user.get("node", NODE)["status"]["allocatable"][GPU])


def conditions(seen: Any) -> dict[str, Any]:
    return {condition["type"]: condition for condition in seen["status"]["conditions"]}


def test_a_pod_asks_for_the_instances_of_its_gpu_model_and_is_told_of_their_stock(
    user: User, below: User, eci: EciNodes
) -> None:
    metadata = sent(user, below, "train")["metadata"]
    asked = {k: v for k, v in metadata["annotations"].items() if k.startswith(PREFIX)}
    assert asked == {
        f"{PREFIX}use-specs": ",".join(TYPES),
        f"{PREFIX}fail-strategy": "fail-back",
        f"{PREFIX}spot-strategy": "SpotAsPriceGo",
        f"{PREFIX}spot-duration": "1",
        f"{PREFIX}spot-fallback": "true",
    }
    assert metadata["labels"]["alibabacloud.com/eci"] == "true"

    eci.no_stock(BELOW, "train")
    until(lambda: user.get("pod", "train")["status"].get("reason") == "NoStock", "it is told")
    scheduled = conditions(user.get("pod", "train"))["vnode.dev/ComputeScheduled"]
    assert scheduled["status"] == "False"
    assert "out of stock" in scheduled["message"]
    until(lambda: free_gpus(user) == 1, "no more GPUs are shown than are asked for")

    eci.running(BELOW, "train", "main")
    seen = user.wait_phase("train", "Running")
    assert conditions(seen)["vnode.dev/ComputeScheduled"]["status"] == "True"
    assert "reason" not in seen["status"]
    until(lambda: free_gpus(user) == 8, "the node is open again")


def test_a_spot_instance_that_goes_is_a_disruption_and_then_an_eviction(
    user: User, below: User, eci: EciNodes
) -> None:
    sent(user, below, "spot")
    eci.running(BELOW, "spot", "main")
    user.wait_phase("spot", "Running")
    eci.spot_to_be_released(BELOW, "spot")
    until(lambda: "DisruptionTarget" in conditions(user.get("pod", "spot")), "it is warned")
    assert user.get("pod", "spot")["status"]["phase"] == "Running"
    eci.bid_failed(BELOW, "spot")
    seen = user.wait_phase("spot", "Failed")
    assert seen["status"]["reason"] == "Evicted"
    assert conditions(seen)["DisruptionTarget"]["status"] == "True"
    assert conditions(seen)["Ready"]["status"] == "False"
    (container,) = seen["status"]["containerStatuses"]
    assert container["state"]["terminated"]["exitCode"] == 137


def test_a_pod_for_which_eci_does_not_try_again_waits_and_is_not_doubled(
    user: User, below: User, eci: EciNodes
) -> None:
    sent(user, below, "given-up")
    eci.no_stock(BELOW, "given-up", fail_fast=True)
    reason = "ContainerInstanceScheduleFailed"
    until(lambda: user.get("pod", "given-up")["status"].get("reason") == reason, "it is told")
    assert user.get("pod", "given-up")["status"]["phase"] == "Pending"
    user.kubectl("delete", "pod", "given-up", "--wait=false", "--grace-period=1")
    below.kubectl("delete", "pod", "given-up", "--force", "--ignore-not-found")
    user.wait_gone("pod", "given-up")


def test_a_model_that_the_table_does_not_have_is_rejected_by_name(user: User, below: User) -> None:
    made = gpu_pod("exotic", model="H100")
    made["spec"]["nodeName"] = NODE  # no node of the tenant's has that label
    user.apply(made)
    seen = user.wait_phase("exotic", "Failed")
    assert seen["status"]["reason"] == "PodRejected"
    assert f"spec.nodeSelector[{MODEL}]" in seen["status"]["message"]
    assert below.get("pod", "exotic") is None
