"""A create that never left is no create of which the answer was lost: the tenant pod may go."""

import asyncio
from collections.abc import Iterable

import pytest

from federation.backends.kubernetes.translate.policy import PvcMode, TranslationPolicy
from tests.builders import (
    UID_2,
    make_compute_pod,
    make_error,
    make_key,
    make_pod,
    make_request,
)
from tests.unit.federation.both_sides import BELOW, Sides
from tests.unit.federation.compute import Compute
from tests.unit.federation.test_claims_below import CLAIM, make_using, share
from vnode.backend import Waiting
from vnode.kube.errors import KubeError, Unreachable, Withheld
from vnode.kube.resources import NAMESPACES, PODS
from vnode.kube.types import ObjectKey, Pod

pytestmark = pytest.mark.looptime

SHARED = TranslationPolicy(pvc=PvcMode.SHARED)
CUT = Unreachable("cut")


async def waits(compute: Compute, pod: Pod) -> Waiting:
    with pytest.raises(Waiting) as raised:
        await compute.backend.apply(make_request(pod))
    return raised.value


async def test_without_its_claim_nothing_was_done() -> None:
    compute = Compute(policy=SHARED)
    await compute.open()
    assert (await waits(compute, make_using(CLAIM))).not_done


async def test_with_a_claim_that_cannot_be_looked_up_nothing_was_done() -> None:
    compute = Compute(policy=SHARED)
    await compute.open()
    compute.client.fail(CUT, "get persistentvolumeclaims")
    assert (await waits(compute, make_using(CLAIM))).not_done


async def test_with_a_claim_of_which_the_tenant_says_no_nothing_was_done() -> None:
    async def check(_namespace: str, _names: Iterable[str]) -> None:
        raise Waiting("not this one", reason="VolumeNotSupported")

    compute = Compute(policy=SHARED, claim_check=check)
    await compute.open()
    share(compute)
    assert (await waits(compute, make_using(CLAIM))).not_done


async def test_with_a_volume_that_cannot_be_had_below_nothing_was_done() -> None:
    compute = Compute()
    await compute.open()
    assert (await waits(compute, make_using(CLAIM))).not_done


async def test_where_an_older_pod_has_the_name_nothing_was_done() -> None:
    compute = Compute()
    await compute.open()
    compute.client.put(PODS, make_compute_pod(make_pod(uid=UID_2)))
    compute.deliver()
    assert (await waits(compute, make_pod())).not_done


async def test_without_the_namespace_nothing_was_done() -> None:
    assert (await waits(Compute(), make_pod())).not_done


async def test_where_the_namespace_cannot_be_made_nothing_was_done() -> None:
    sides = Sides()
    sides.start()
    try:
        sides.backend.namespaces.add("team-a")
        await asyncio.sleep(20)
        sides.compute.fail(CUT, "create namespaces")
        with pytest.raises(Waiting) as raised:
            await sides.backend.apply(make_request())
    finally:
        await sides.stop()
    assert sides.compute.get_body(NAMESPACES, ObjectKey("", BELOW)) is None
    assert raised.value.not_done


@pytest.mark.parametrize(("error", "not_done"), [(CUT, False), (make_error(403), True)], ids=str)
async def test_of_a_create_that_was_sent_only_the_answer_tells(
    error: KubeError, not_done: bool
) -> None:
    compute = Compute()
    await compute.open()
    compute.client.fail(error, "create pods")
    assert (await waits(compute, make_pod())).not_done is not_done


async def test_what_another_replica_may_write_now_is_not_told_to_users() -> None:
    sides = Sides()
    sides.start()
    try:
        sides.backend.namespaces.add("team-a")
        await asyncio.sleep(20)
        sides.compute.fail(Withheld("not sent"), "create pods", times=10**6)
        sides.tenant.put(PODS, make_pod())
        await asyncio.sleep(60)
        assert sides.events() == []
        assert "reason" not in sides.pod()["status"]
        sides.tenant.delete_gracefully(PODS, make_key(), 30)
        await asyncio.sleep(5)
    finally:
        await sides.stop()
    assert sides.pod() is None
    assert not sides.compute.named("get pods"), "nothing was sent: there is nothing to look for"
