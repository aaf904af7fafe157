"""What the agent asks of clusters at the start, and how it goes on when serving one fails."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import pytest
from structlog.testing import capture_logs

from federation.agent import _lead, _own_address
from federation.config import AgentConfig
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from federation.cluster import ComputeCluster
    from federation.shared import Shared
    from vnode.kubelet.passing import Passing
    from vnode.runtime.leader import LeaseElector

pytestmark = pytest.mark.looptime


@pytest.fixture(autouse=True)
def no_tracebacks() -> Iterator[None]:
    """Rendering them takes longer than the tests."""
    with capture_logs():
        yield


class Elected:
    """A candidate without rivals."""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        await lead()


@dataclass
class Cluster:
    """A cluster that fails as often as asked, each time after `lasts` seconds."""

    fails: int
    error: Exception = field(default_factory=lambda: RuntimeError("a bug"))
    served: bool = True
    lasts: float = 0.0
    began: list[float] = field(default_factory=list)
    name: str = "home"

    async def serve(self) -> None:
        self.began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(self.lasts)
        if len(self.began) <= self.fails:
            raise self.error
        await asyncio.Event().wait()

    @property
    def pauses(self) -> list[float]:
        """Seconds for which nobody served it."""
        starts = zip(self.began, self.began[1:], strict=False)
        return [after - before - self.lasts for before, after in starts]


@dataclass
class Around:
    """What `_lead` needs of the agent."""

    clock: LoopClock = field(default_factory=LoopClock)
    rng: random.Random = field(default_factory=lambda: random.Random(1))


async def lead(cluster: Cluster, *, seconds: float) -> None:
    """Lead for so long."""
    task = asyncio.create_task(
        _lead(
            cast("LeaseElector", Elected()),
            cast("ComputeCluster", cluster),
            cast("Shared", Around()),
        )
    )
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        await task
    task.cancel()
    await asyncio.wait([task])


async def test_a_cluster_that_fails_before_it_was_served_ends_the_process() -> None:
    cluster = Cluster(fails=1, error=OSError("port 10250 is in use"), served=False)
    with pytest.raises(OSError, match="in use"):
        await lead(cluster, seconds=60)
    assert len(cluster.began) == 1


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), ExceptionGroup("tasks", [ValueError("a bug")])]
)
async def test_a_cluster_that_fails_after_it_was_served_is_served_again(error: Exception) -> None:
    cluster = Cluster(fails=3, error=error)
    await lead(cluster, seconds=3600)
    assert len(cluster.began) == 4


async def test_the_pauses_of_a_cluster_that_fails_at_once_grow_up_to_a_minute() -> None:
    cluster = Cluster(fails=1000)
    await lead(cluster, seconds=3600)
    assert 0.5 < cluster.pauses[0] < 1.5
    assert cluster.pauses[:5] == sorted(cluster.pauses[:5])
    assert 40 < cluster.pauses[-1] <= 60


async def test_a_cluster_that_was_served_for_long_comes_back_soon() -> None:
    cluster = Cluster(fails=20, lasts=3600)
    await lead(cluster, seconds=21 * 3700)
    assert len(cluster.began) == 21
    assert max(cluster.pauses) < 2  # the tenant taints a node after 50 s of silence


async def test_cancelling_ends_it() -> None:
    cluster = Cluster(fails=0)
    await lead(cluster, seconds=10)
    assert len(cluster.began) == 1


class Aside:
    """Passes connections on, but not while the cluster is served here."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        self.steps.append("aside")
        try:
            yield
        finally:
            self.steps.append("back")


async def test_no_connection_is_passed_on_while_this_replica_serves() -> None:
    cluster, passing = Cluster(fails=1), Aside()
    leading = asyncio.create_task(
        _lead(
            cast("LeaseElector", Elected()),
            cast("ComputeCluster", cluster),
            cast("Shared", Around()),
            passing=cast("Passing", passing),
        )
    )
    await asyncio.sleep(0.5)
    assert passing.steps == ["aside", "back"]
    await asyncio.sleep(10)
    assert passing.steps == ["aside", "back", "aside"]
    leading.cancel()
    await asyncio.wait([leading])
    assert passing.steps[-1] == "back"


@pytest.mark.parametrize(
    ("pod_ip", "kubelet", "own"),
    [
        ("10.0.0.1", {}, ""),
        ("10.0.0.1", {"advertise": "10.0.0.1"}, ""),
        ("10.0.0.1", {"advertise": "10.0.0.9"}, "10.0.0.1"),
        ("", {"advertise": "10.0.0.9"}, ""),
        ("", {"advertise": "10.0.0.9", "listen": "10.0.0.2"}, "10.0.0.2"),
        ("", {"advertise": "10.0.0.2", "listen": "10.0.0.2"}, ""),
    ],
)
def test_a_replica_has_an_address_of_its_own_behind_one_that_is_shared(
    monkeypatch: pytest.MonkeyPatch, pod_ip: str, kubelet: dict[str, str], own: str
) -> None:
    monkeypatch.setenv("POD_IP", pod_ip)
    config = AgentConfig.model_validate(
        {
            "tenant": {"name": "demo"},
            "kubelet": kubelet,
            "clusters": [{"name": "gpu", "kubeconfig": "gpu/kubeconfig"}],
        }
    )
    assert _own_address(config) == own
