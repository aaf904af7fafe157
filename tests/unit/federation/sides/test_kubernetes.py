"""What the agent asks of a Kubernetes cluster at the start."""

import random
from collections.abc import Iterator
from functools import partial

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from federation.agent import _has_nodes
from federation.config import AgentConfig, PodPolicyConfig, PoolConfig
from federation.sides.kubernetes import KubernetesCompute, policy_of
from tests.builders import make_error
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from tests.fakes.watching import WatchingClient
from vnode.kube.errors import ConfigError, KubeError, Unreachable
from vnode.kube.resources import NODES

pytestmark = pytest.mark.looptime


@pytest.fixture(autouse=True)
def no_logs() -> Iterator[None]:
    """They say what the tests look at in another way."""
    with capture_logs():
        yield


async def probe(
    compute: WatchingClient, *, start_once: str = "relaxed", has_nodes: bool = False
) -> None:
    settings = {"name": "gpu", "kubeconfig": "gpu/kubeconfig", "startOnce": start_once}
    config = AgentConfig.model_validate({"tenant": {"name": "demo"}, "clusters": [settings]})
    tenant = RecordingClient()
    if has_nodes:
        for node in config.virtual_nodes:
            tenant.put(NODES, {"metadata": {"name": node.name}})
    side = KubernetesCompute(
        config.kubernetes_clusters[0], compute.client, clock=LoopClock(), rng=random.Random(1)
    )
    await side.probe(
        known=partial(_has_nodes, config.kubernetes_clusters[0], config, tenant.client)
    )


def old_cluster(version: str) -> WatchingClient:
    compute = WatchingClient(name="clusters[0] gpu")
    compute.version = f'{{"gitVersion":"{version}"}}'.encode()
    return compute


@pytest.mark.parametrize(
    "error", [Unreachable("no route"), make_error(503, "starting"), make_error(403, "no")]
)
async def test_a_compute_cluster_that_has_its_nodes_may_be_away_at_the_start(
    error: KubeError,
) -> None:
    compute = WatchingClient()
    compute.fail(error, "get version", times=10**6)
    await probe(compute, has_nodes=True)
    with pytest.raises(type(error)):
        await probe(compute)


async def test_a_compute_cluster_that_has_just_begun_is_waited_for() -> None:
    compute = WatchingClient()
    compute.fail(make_error(403, "RBAC: no roles yet"), "get version", times=3)
    await probe(compute)
    assert compute.names() == ["get version"] * 4


async def test_strict_is_refused_where_pods_cannot_be_held_back() -> None:
    await probe(old_cluster("v1.26.15"))
    await probe(old_cluster("v1.27.1"), start_once="strict")
    with pytest.raises(ConfigError, match=r"clusters\[0\] gpu.*from 1\.27 on.* this is 1\.26;"):
        await probe(old_cluster("v1.26.15"), start_once="strict")


def test_a_pool_says_over_its_cluster_what_pods_carry() -> None:
    cluster = {"labels": {"cost": "all"}, "annotations": {"zone": "a", "owner": "demo"}}
    own = {"labels": {"spot": "true"}, "annotations": {"zone": "b"}}
    policy = PodPolicyConfig.model_validate({"overlay": cluster})
    told = policy_of(policy, PoolConfig.model_validate({"overlay": own}), namespaces=())
    assert told.overlay_labels == {"cost": "all", "spot": "true"}
    assert told.overlay_annotations == {"zone": "b", "owner": "demo"}
    others = policy_of(policy, PoolConfig(), namespaces=())
    assert others.overlay_labels == cluster["labels"]
    assert others.overlay_annotations == cluster["annotations"]


def test_eci_nodes_are_annotations_of_the_pools_pods() -> None:
    said = {
        "gpuSpecs": {"A10": ["ecs.gn7i-c8g1.2xlarge"]},
        "spot": {"priceLimit": 0.5, "protectedHours": 0, "fallback": True},
        "failStrategy": "fail-fast",
        "maxPendingMinutes": 30,
        "imageCache": True,
    }
    labels = {"nvidia.com/gpu.product": "A10"}
    pool = PoolConfig.model_validate({"eciNodes": said, "labels": labels})
    told = policy_of(PodPolicyConfig(), pool, namespaces=())
    assert told.overlay_labels == {"alibabacloud.com/eci": "true"}
    prefix = "k8s.aliyun.com/"
    assert told.overlay_annotations == {
        f"{prefix}eci-fail-strategy": "fail-fast",
        f"{prefix}eci-max-pending-minute": "30",
        f"{prefix}eci-auto-imc": "true",
        f"{prefix}eci-spot-strategy": "SpotWithPriceLimit",
        f"{prefix}eci-spot-price-limit": "0.5",
        f"{prefix}eci-spot-duration": "0",
        f"{prefix}eci-spot-fallback": "true",
        f"{prefix}eci-spot-release-strategy": "api-evict",
    }
    assert told.eci is not None
    assert told.eci.for_gpus == ("ecs.gn7i-c8g1.2xlarge",), "the pool's own label names the model"
    assert policy_of(PodPolicyConfig(), PoolConfig(), namespaces=()).eci is None


@pytest.mark.parametrize(
    "wrong",
    [{"gpuSpecs": {"A10": []}}, {"gpuSpecs": {"A10": ["big"]}}, {"spot": {"protectedHours": 2}}],
)
def test_what_eci_would_refuse_is_refused_at_the_start(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PoolConfig.model_validate({"eciNodes": wrong})
