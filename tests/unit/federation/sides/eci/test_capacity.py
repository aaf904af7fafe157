"""What a virtual node of an ECI account offers when things are sold out."""

import itertools
from typing import Any

from federation.backends.eci.answers import AvailableZone
from federation.backends.eci.stock import Stock
from federation.config.eci import EciPoolConfig
from federation.sides.eci.capacity import EciCapacity
from tests.builders import NODE, UID_1, UID_2, make_key, make_pod
from tests.fakes.clock import SteppedClock
from vnode.kube.types import UID, NodeName, Pod
from vnode.runtime.store import Store

GPU = "nvidia.com/gpu"
LIMITS = {"cpu": "100", "pods": "50", GPU: "16"}


class Market:
    """What can be bought."""

    def __init__(self) -> None:
        self.sold_out: set[str] = set()

    async def stock(self, instance_type: str) -> list[AvailableZone]:
        has = "WithoutStock" if instance_type in self.sold_out else "WithStock"
        return [AvailableZone(zone="a", stock={instance_type: has})]


class Site:
    """A virtual node, and the market behind it."""

    def __init__(self, **pool: Any) -> None:
        self.pods: Store[Pod] = Store("pods")
        self._versions = itertools.count(1)
        self.market = Market()
        self.refused: set[UID] = set()
        self.news: list[dict[str, str]] = []
        settings = {"limits": LIMITS, "gpuTypes": {"T4": ["t4"], "A10": ["a10"]}, **pool}
        config = EciPoolConfig.model_validate({"name": "default", **settings})
        self._stock = Stock(self.market, [*config.types, "t4", "a10"], clock=SteppedClock())
        self.source = EciCapacity(
            config, node=NODE, pods=self.pods, stock=self._stock, refused=self.refused
        )
        self.source.subscribe(lambda: self.news.append(self.offers()))

    async def sell_out(self, *types: str) -> None:
        self.market.sold_out = set(types)
        await self._stock.refresh()

    def refuse(self, uid: UID) -> None:
        self.refused.add(uid)
        self.source.look()

    def bind(self, name: str, uid: UID, *, node: str = NODE, phase: str = "", **asked: str) -> None:
        requests = {GPU if key == "gpu" else key: amount for key, amount in asked.items()}
        main = {"name": "main", "image": "i", "resources": {"requests": requests}}
        self.pods.upsert(
            make_pod(
                name,
                uid=uid,
                node=node,
                containers=[main],
                status={"phase": phase or "Pending"},
                version=next(self._versions),
            )
        )

    def offers(self) -> dict[str, str]:
        return dict(self.source.capacity().allocatable)


async def test_all_limits_are_offered_until_more_is_known() -> None:
    site = Site()
    assert site.source.synced
    assert site.offers() == LIMITS


async def test_gpus_are_full_when_every_type_is_sold_out() -> None:
    site = Site()
    site.bind("a", UID_1, gpu="2")
    site.bind("elsewhere", UID_2, node="vnode-b", gpu="8")
    await site.sell_out("t4")
    assert site.offers() == LIMITS
    await site.sell_out("t4", "a10")
    assert site.offers() == {**LIMITS, GPU: "2"}
    site.bind("a", UID_1, gpu="2", phase="Succeeded")
    assert site.offers() == {**LIMITS, GPU: "0"}
    await site.sell_out()
    assert site.offers() == LIMITS
    assert site.news == [{**LIMITS, GPU: "2"}, {**LIMITS, GPU: "0"}, LIMITS]


async def test_cpus_are_full_when_every_type_without_gpus_is_sold_out() -> None:
    site = Site(types=["c6"])
    site.bind("a", UID_1, cpu="1500m", gpu="1")
    await site.sell_out("c6")
    assert site.offers() == {**LIMITS, "cpu": "1500m"}


async def test_sizes_by_vcpu_and_memory_are_never_known_to_be_sold_out() -> None:
    site = Site()
    await site.sell_out("t4", "a10")
    assert site.offers()["cpu"] == "100"


async def test_a_pod_that_found_no_stock_closes_what_it_asks_for_until_it_starts_or_goes() -> None:
    site = Site()
    site.bind("big", UID_1, cpu="4", gpu="8")
    site.refuse(UID_1)
    assert site.offers() == {**LIMITS, GPU: "8"}
    site.bind("small", UID_2, cpu="1")
    site.refuse(UID_2)
    assert site.offers() == {**LIMITS, GPU: "8", "cpu": "5"}
    site.refused.discard(UID_1)
    site.source.look()
    assert site.offers() == {**LIMITS, "cpu": "5"}
    site.pods.remove(make_key("small"))
    assert site.offers() == LIMITS
    assert site.refused == set()


async def test_a_pod_of_another_virtual_node_of_the_account_keeps_it_closed() -> None:
    site = Site()
    EciCapacity(
        EciPoolConfig.model_validate({"name": "b", "limits": {"cpu": "8", "pods": "9"}}),
        node=NodeName("vnode-b"),
        pods=site.pods,
        stock=site._stock,
        refused=site.refused,
    )
    site.bind("a", UID_1, gpu="1")
    site.refuse(UID_1)

    site.bind("a", UID_1, gpu="1")  # As our own status write does.

    assert site.refused == {UID_1}
    site.source.look()
    assert site.offers() == {**LIMITS, GPU: "1"}


async def test_no_more_than_the_limit_is_ever_offered() -> None:
    site = Site()
    site.bind("greedy", UID_1, gpu="99")
    site.refuse(UID_1)
    assert site.offers() == LIMITS
