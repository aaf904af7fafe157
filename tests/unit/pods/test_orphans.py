"""When a copy without tenant pod may be deleted."""

import asyncio
import dataclasses
import random
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
import structlog

from tests.builders import (
    NODE,
    NOW,
    OWNER,
    condition,
    make_copy,
    make_error,
    make_key,
    make_pod,
    make_uid,
)
from tests.fakes.client import Body, RecordingClient
from tests.fakes.clock import LoopClock
from vnode.backend import ObservedPod
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.timestamps import parse
from vnode.kube.types import JSON, UID, NodeName
from vnode.pods.orphans import ORPHAN_GRACE, HeldReason, OrphanGuard

pytestmark = pytest.mark.looptime

EARLIER = "2027-01-15T07:00:00Z"
IDENTITY = "get namespaces"


def orphan(number: int = 1, *, made_at: str | None = NOW, handle: str = "") -> ObservedPod:
    pod = make_pod(f"job-{number}", uid=make_uid(number))
    copy = make_copy(pod, handle=handle or f"below-{number}")
    return dataclasses.replace(copy, made_at=made_at)


class Tenant:
    """A tenant cluster, the guard, and the birth of the virtual node."""

    def __init__(
        self,
        *,
        copies: int = 1,
        cluster_uid: str = OWNER.cluster_uid,
        grace: float = ORPHAN_GRACE,
    ) -> None:
        self.client = RecordingClient()
        self.born: str | None = EARLIER
        self.copies = copies
        self.counts: dict[str, int] = {}
        self.client.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": cluster_uid}})
        self.guard = OrphanGuard(
            self.client.client,
            cluster_uid=UID(OWNER.cluster_uid),
            node_born=self._node_born,
            copies=lambda: self.copies,
            clock=LoopClock(epoch=parse(NOW)),
            rng=random.Random(1),
            grace=grace,
            report=self.counts.update,
        )

    def _node_born(self, name: NodeName) -> str | None:
        return self.born if name == NODE else None

    async def wait(self, copy: ObservedPod) -> float:
        return await self.guard.wait(copy)

    async def second_wait(self, copy: ObservedPod) -> float:
        """Ask as often as it takes to have sighted it twice."""
        await asyncio.sleep(await self.wait(copy))
        return await self.wait(copy)

    async def sight(self, numbers: range) -> None:
        for number in numbers:
            await self.wait(orphan(number))
        await asyncio.sleep(3)

    async def released(self, numbers: range) -> int:
        """How many of these may be deleted now."""
        return sum([await self.wait(orphan(number)) == 0 for number in numbers])


async def test_a_copy_goes_at_its_second_sighting() -> None:
    tenant = Tenant()
    assert 0 < await tenant.wait(orphan()) < 3
    assert tenant.client.calls == []
    assert await tenant.second_wait(orphan()) == 0


async def test_asking_twice_at_once_is_one_sighting() -> None:
    tenant = Tenant()
    for _ in range(5):
        assert await tenant.wait(orphan()) > 0
    assert tenant.client.calls == []


async def test_another_copy_of_that_name_has_to_be_sighted_twice_itself() -> None:
    tenant = Tenant()
    await asyncio.sleep(await tenant.wait(orphan()))
    assert await tenant.second_wait(orphan(handle="below-2")) == 0
    assert tenant.client.names() == [IDENTITY, "get pods"]  # only for the second copy


async def test_a_copy_whose_pod_was_seen_in_between_has_to_be_sighted_anew() -> None:
    tenant = Tenant()
    await asyncio.sleep(await tenant.wait(orphan()))
    tenant.guard.cleared(orphan().key)
    assert await tenant.wait(orphan()) > 0


async def test_leave_that_was_given_is_given_once() -> None:
    tenant = Tenant()
    assert await tenant.second_wait(orphan()) == 0
    assert await tenant.wait(orphan()) > 0


async def test_a_copy_is_kept_while_its_pod_exists_whatever_our_watch_says() -> None:
    tenant = Tenant()
    tenant.client.put(PODS, make_pod("job-1", uid=make_uid(1)))
    for _ in range(5):
        wait = await tenant.second_wait(orphan())
        assert wait > 0
        await asyncio.sleep(wait)
    tenant.client.drop(PODS, make_key("job-1"))
    assert await tenant.wait(orphan()) == 0


async def test_a_pod_of_the_same_name_and_another_uid_does_not_keep_a_copy() -> None:
    tenant = Tenant()
    tenant.client.put(PODS, make_pod("job-1", uid=make_uid(2)))
    assert await tenant.second_wait(orphan()) == 0


@pytest.mark.parametrize("call", [IDENTITY, "get pods"])
@pytest.mark.parametrize(
    "error", [Unreachable("timed out"), make_error(500, "etcd"), make_error(403, "forbidden")]
)
async def test_a_tenant_that_does_not_answer_gives_no_leave(error: KubeError, call: str) -> None:
    tenant = Tenant()
    await asyncio.sleep(await tenant.wait(orphan()))
    tenant.client.fail(error, call)
    with pytest.raises(type(error)):
        await tenant.wait(orphan())
    assert await tenant.wait(orphan()) == 0


# --- whose API server answers -----------------------------------------------------------------


async def test_nothing_is_deleted_on_the_word_of_another_cluster() -> None:
    tenant = Tenant(cluster_uid="another")
    assert await tenant.second_wait(orphan()) > 0
    assert tenant.client.names() == [IDENTITY]
    await asyncio.sleep(3600)
    assert await tenant.wait(orphan()) > 0


async def test_a_cluster_that_was_exchanged_under_us_is_noticed() -> None:
    tenant = Tenant()
    assert await tenant.second_wait(orphan(1)) == 0

    def exchange(body: Body) -> None:
        body["metadata"]["uid"] = "another"

    tenant.client.edit(NAMESPACES, make_key("kube-system", ""), exchange)
    await asyncio.sleep(11)
    assert await tenant.second_wait(orphan(2)) > 0


async def test_the_tenant_is_asked_who_it_is_at_most_every_ten_seconds() -> None:
    tenant = Tenant()
    await tenant.sight(range(40))
    assert await tenant.released(range(20)) == 20
    assert len(tenant.client.named(IDENTITY)) == 1
    await asyncio.sleep(9)
    assert await tenant.released(range(20, 30)) == 10
    assert len(tenant.client.named(IDENTITY)) == 1
    await asyncio.sleep(2)
    assert await tenant.released(range(30, 40)) == 10
    assert len(tenant.client.named(IDENTITY)) == 2


# --- copies older than their Node -------------------------------------------------------------


async def test_a_copy_older_than_its_node_is_held_for_an_hour_and_then_goes() -> None:
    tenant = Tenant()
    tenant.born = NOW  # the clock began then, too
    copy = orphan(made_at=EARLIER)
    assert await tenant.second_wait(copy) == pytest.approx(ORPHAN_GRACE, abs=5)
    await asyncio.sleep(ORPHAN_GRACE - 10)
    assert await tenant.wait(copy) > 0
    assert tenant.client.calls == []
    await asyncio.sleep(10)
    assert await tenant.wait(copy) == 0


async def test_the_hour_counts_by_the_clock_of_the_tenant() -> None:
    tenant = Tenant()
    tenant.born = NOW
    tenant.client.clock_offset = 600.0
    wait = await tenant.second_wait(orphan(made_at=EARLIER))
    assert wait == pytest.approx(ORPHAN_GRACE - 600, abs=5)


async def test_a_node_made_anew_holds_the_copies_again() -> None:
    tenant = Tenant()
    await asyncio.sleep(await tenant.wait(orphan(made_at=EARLIER)))
    tenant.born = NOW
    assert await tenant.wait(orphan(made_at=EARLIER)) > 3000


async def test_a_copy_made_in_the_second_of_its_node_is_not_held() -> None:
    tenant = Tenant()
    tenant.born = NOW
    assert await tenant.second_wait(orphan(made_at=NOW)) == 0


async def test_a_copy_waits_until_its_node_is_known() -> None:
    tenant = Tenant()
    tenant.born = None
    for _ in range(100):
        wait = await tenant.second_wait(orphan())
        assert wait > 0
        await asyncio.sleep(wait)
    assert tenant.client.calls == []
    tenant.born = EARLIER
    assert await tenant.wait(orphan()) == 0


def exchanged(tenant: Tenant) -> None:
    tenant.client.edit(
        NAMESPACES, make_key("kube-system", ""), lambda b: b["metadata"].update(uid="another")
    )


def without_node(tenant: Tenant) -> None:
    tenant.born = None


def with_younger_node(tenant: Tenant) -> None:
    tenant.born = "2028-01-15T07:00:00Z"


def busy(tenant: Tenant) -> None:
    tenant.guard._deleted.update({f"another-{n}": float("inf") for n in range(100)})


async def test_a_copy_without_node_is_looked_at_ever_more_rarely() -> None:
    tenant = Tenant()
    tenant.born = None
    waits = [await tenant.second_wait(orphan())]
    for _ in range(9):
        await asyncio.sleep(waits[-1])
        waits.append(await tenant.wait(orphan()))
    assert waits[0] < 3
    assert all(before < after for before, after in pairwise(waits[:5]))
    assert all(40 < wait <= 60 for wait in waits[6:])
    assert len(set(waits[6:])) > 1, "spread"


@pytest.mark.parametrize("trouble", [without_node, with_younger_node, exchanged, busy])
async def test_why_a_copy_is_held_is_one_line_until_that_changes(
    trouble: Callable[[Tenant], None],
) -> None:
    tenant = Tenant()
    trouble(tenant)
    with structlog.testing.capture_logs() as logs:
        await tenant.second_wait(orphan())
        for _ in range(5):
            await tenant.wait(orphan())
        assert len(logs) == 1
        (with_younger_node if trouble is without_node else without_node)(tenant)
        for _ in range(5):
            await tenant.wait(orphan())
    assert len(logs) == 2


# --- how many ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("copies", "limit"), [(1, 50), (100, 50), (250, 50), (400, 80)])
async def test_only_a_share_of_all_copies_goes_in_a_minute(copies: int, limit: int) -> None:
    tenant = Tenant(copies=copies)
    await tenant.sight(range(100))
    assert await tenant.released(range(100)) == limit


async def test_the_rest_goes_in_the_minutes_after() -> None:
    tenant = Tenant()
    await tenant.sight(range(120))
    assert await tenant.released(range(120)) == 50
    await asyncio.sleep(50)
    assert await tenant.released(range(50, 120)) == 0
    await asyncio.sleep(11)
    assert await tenant.released(range(50, 120)) == 50
    await asyncio.sleep(61)
    assert await tenant.released(range(100, 120)) == 20


async def test_a_copy_that_had_to_wait_for_others_is_told_when_to_come_back() -> None:
    tenant = Tenant()
    await tenant.sight(range(60))
    await tenant.released(range(59))
    assert 0 < await tenant.wait(orphan(59)) <= 60


# --- what pod garbage collection deletes ------------------------------------------------------

COLLECTED = {
    "phase": "Failed",
    "conditions": [condition("DisruptionTarget", reason="DeletionByPodGC")],
}


async def test_a_copy_whose_pod_was_garbage_collected_is_held_for_the_grace_period() -> None:
    tenant = Tenant()
    tenant.guard.pod_went(make_pod("job-1", uid=make_uid(1), status=COLLECTED))
    wait = await tenant.second_wait(orphan())
    assert wait == pytest.approx(ORPHAN_GRACE, abs=5)
    await asyncio.sleep(wait)
    assert await tenant.wait(orphan()) == 0


@pytest.mark.parametrize(
    "mark",
    [
        condition("DisruptionTarget", reason="EvictionByEvictionAPI"),
        condition("DisruptionTarget", "False", reason="DeletionByPodGC"),
    ],
)
async def test_other_ends_of_pods_hold_nothing(mark: Mapping[str, JSON]) -> None:
    tenant = Tenant()
    status = {"phase": "Failed", "conditions": [mark]}
    tenant.guard.pod_went(make_pod("job-1", uid=make_uid(1), status=status))
    assert await tenant.second_wait(orphan()) == 0


async def test_a_collected_pod_holds_only_its_own_copy() -> None:
    tenant = Tenant()
    tenant.guard.pod_went(make_pod("job-1", uid=make_uid(9), status=COLLECTED))
    assert await tenant.second_wait(orphan()) == 0


async def test_collected_pods_are_not_remembered_for_ever() -> None:
    tenant = Tenant()
    for number in range(100):
        tenant.guard.pod_went(make_pod(uid=make_uid(number), status=COLLECTED))
    await asyncio.sleep(ORPHAN_GRACE + 1)
    tenant.guard.pod_went(make_pod(uid=make_uid(100), status=COLLECTED))
    assert len(tenant.guard._collected) == 1


# --- what is told of it -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (without_node, HeldReason.NODE_MISSING),
        (with_younger_node, HeldReason.NODE_RECREATED),
        (exchanged, HeldReason.OTHER_TENANT),
        (busy, HeldReason.TOO_MANY),
    ],
)
async def test_what_is_held_is_counted_until_it_is_not(
    trouble: Callable[[Tenant], None], reason: HeldReason
) -> None:
    tenant = Tenant()
    trouble(tenant)
    await tenant.second_wait(orphan(1))
    assert tenant.counts[reason] == 1
    await tenant.second_wait(orphan(2))
    assert tenant.counts[reason] == 2
    await tenant.wait(orphan(1, handle="another copy"))
    assert tenant.counts[reason] == 1
    tenant.guard.cleared(orphan(2).key)
    assert set(tenant.counts) == set(HeldReason)
    assert not any(tenant.counts.values())


async def test_a_copy_that_is_held_for_another_reason_counts_for_that() -> None:
    tenant = Tenant()
    tenant.born = None
    await tenant.second_wait(orphan(made_at=EARLIER))
    tenant.born = NOW
    await tenant.wait(orphan(made_at=EARLIER))
    assert tenant.counts[HeldReason.NODE_MISSING] == 0
    assert tenant.counts[HeldReason.NODE_RECREATED] == 1


async def test_the_grace_period_is_what_was_configured() -> None:
    tenant = Tenant(grace=60.0)
    tenant.born = NOW
    wait = await tenant.second_wait(orphan(made_at=EARLIER))
    assert wait == pytest.approx(60, abs=5)
