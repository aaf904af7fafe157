"""Pods on ECI nodes of a compute cluster: which instances they ask for, and what they are told.

Nobody has ECI here: the node is one without a machine, and `tests.standin.EciNodes` writes what ECI
would, as its pages show it. What users see then is a table in docs/eci.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from tests.agents import AgentProcess, Federation, join
from tests.clusters import ClusterSpec, Harness
from tests.clusters.existing import requested
from tests.e2e import twins
from tests.e2e.user import BELOW, User, until
from tests.e2e.what_users_see import ECI_NODES, Looks
from tests.e2e.workloads import pod
from tests.standin import EciNodes
from tests.standin.eci_nodes import TAINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.apart

ACK = "ack"
NODE = f"vnode-{ACK}"
GPU, MODEL = "nvidia.com/gpu", "nvidia.com/gpu.product"
TYPES = ["ecs.gn7i-c8g1.2xlarge", "ecs.gn7i-c16g1.4xlarge"]
PREFIX = "k8s.aliyun.com/eci-"


@dataclass(frozen=True)
class Site:
    """Who acts in a story."""

    user: User
    below: User
    eci: EciNodes


Story: TypeAlias = "Iterator[tuple[str, str]]"
"""Moments, and the pod that somebody looks at then."""


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """Owner of the clusters of this file."""
    if requested():
        pytest.skip("has clusters of its own")
    with Harness(state=tmp_path_factory.mktemp("eci") / "state") as made:
        yield made


@pytest.fixture(scope="module")
def federation(harness: Harness, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A tenant, and a compute cluster with one node that plays ECI."""
    clusters = twins.up(harness, [ClusterSpec("tenant"), ClusterSpec(ACK)])
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
    directory = tmp_path_factory.mktemp("agent")
    made = join(
        harness,
        clusters["tenant"],
        {ACK: clusters[ACK]},
        directory=directory,
        overrides={ACK: {"pools": [pool]}},
    )
    with twins.beside(harness, made, directory):
        yield made


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


def sent(user: User, below: User, name: str, *, restart: str = "Never") -> Any:
    """Submit a pod, and wait until its copy has a node."""
    made = gpu_pod(name)
    made["spec"]["restartPolicy"] = restart
    user.apply(made)

    def bound() -> Any:
        copy = below.get("pod", name)
        return copy if copy and copy["spec"].get("nodeName") else None

    return until(bound, f"the copy of {name} has a node")


def running(site: Site, name: str) -> None:
    """Submit a pod, and wait until it runs."""
    sent(site.user, site.below, name)
    site.eci.running(BELOW, name, "main")
    site.user.wait_phase(name, "Running")


def leave(user: User, below: User, name: str) -> None:
    """Delete a pod; its node has no machine that would say that it has ended."""
    user.kubectl("delete", "pod", name, "--wait=false", "--grace-period=1")
    below.kubectl("delete", "pod", name, "--force", "--ignore-not-found")
    user.wait_gone("pod", name)


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
        f"{PREFIX}spot-release-strategy": "api-evict",
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
    leave(user, below, "train")


def _spot(site: Site) -> Story:
    running(site, "spot")
    site.eci.spot_to_be_released(BELOW, "spot")
    yield "announced", "spot"
    site.eci.bid_failed(BELOW, "spot")
    yield "3 minutes later", "spot"


def _evicted(site: Site) -> Story:
    running(site, "evicted")
    site.eci.evict(BELOW, "evicted")
    yield "at once", "evicted"
    site.eci.gone(BELOW, "evicted")
    yield "when it has ended, at the latest after its grace period", "evicted"


def _no_stock(site: Site) -> Story:
    sent(site.user, site.below, "stock")
    site.eci.no_stock(BELOW, "stock")
    yield "sold out", "stock"
    site.eci.running(BELOW, "stock", "main")
    yield "in stock again", "stock"


def _no_stock_fail_fast(site: Site) -> Story:
    sent(site.user, site.below, "given-up")
    site.eci.no_stock(BELOW, "given-up", fail_fast=True)
    yield "until it is deleted", "given-up"


def _disks(site: Site) -> Story:
    sent(site.user, site.below, "disks")
    text = "Your disk capacity quota is exceeded"
    site.eci.waits(BELOW, "disks", "DiskCapacityQuotaFull", text)
    yield "used up", "disks"


def _quota(site: Site) -> Story:
    sent(site.user, site.below, "quota")
    text = "The quota of vCPUs in vpc-bp1xpiowfm5vo8o3c is exceeded."
    site.eci.takes_no_order(BELOW, "quota", "QuotaExceeded", text)
    yield "used up", "quota"
    site.eci.running(BELOW, "quota", "main")
    yield "raised", "quota"


def _wrong(restart: str) -> Callable[[Site], Story]:
    def story(site: Site) -> Story:
        name = f"wrong-{restart.lower()}"
        sent(site.user, site.below, name, restart=restart)
        text = "The parameter Volume.1.Type is not valid."
        never = restart == "Never"
        site.eci.takes_no_order(BELOW, name, "InvalidParameter", text, for_good=never)
        yield f"restartPolicy {restart}", name

    return story


def _namespace_quota(site: Site) -> Story:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "gpus"},
        "spec": {"hard": {f"requests.{GPU}": "0"}},
    }
    site.below.apply(quota)

    def counted() -> bool:
        return "hard" in site.below.get("resourcequota", "gpus").get("status", {})

    try:
        until(counted, "the quota is counted")
        site.user.apply(gpu_pod("over"))
        yield "used up", "over"
    finally:
        site.below.kubectl("delete", "resourcequota", "gpus")


def _model(site: Site) -> Story:
    made = gpu_pod("exotic", model="H100")
    made["spec"]["nodeName"] = NODE  # no node of the tenant's has that label
    site.user.apply(made)
    yield "at once", "exotic"
    assert site.below.get("pod", "exotic") is None


def _restarts(site: Site) -> Story:
    running(site, "machine")
    site.eci.restarts(BELOW, "machine", "main")
    yield "while it restarts", "machine"
    site.eci.running(BELOW, "machine", "main")
    yield "afterwards", "machine"


STORIES: dict[str, Callable[[Site], Story]] = {
    "the spot instance is taken back": _spot,
    "the same, and ECI evicts the pod when it announces that": _evicted,
    "`NoStock`": _no_stock,
    "`NoStock` with `failStrategy: fail-fast`": _no_stock_fail_fast,
    "the account's disk quota is used up": _disks,
    "ECI takes no order: quota of the account": _quota,
    "ECI takes no order: it calls the pod wrong": _wrong("Never"),
    "the same, of a Deployment": _wrong("Always"),
    "the quota of the namespace below is used up": _namespace_quota,
    "a GPU model that `gpuSpecs` does not have": _model,
    "the machine under the instance fails": _restarts,
}


@pytest.mark.parametrize("story", list(STORIES))
def test_users_see_what_the_page_says(user: User, below: User, eci: EciNodes, story: str) -> None:
    site = Site(user, below, eci)
    looks = Looks(user, ECI_NODES, story)
    names = set()
    try:
        for then, name in STORIES[story](site):
            names.add(name)
            looks.look(then, name)
        looks.end()
    finally:
        for name in names:
            leave(user, below, name)
