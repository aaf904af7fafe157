"""A copy that must not start yet has a schedulingGate of ours, and loses only that."""

from typing import Any

import pytest

from federation.backends.kubernetes.translate.names import START_GATE
from tests.builders import make_error, make_pod, make_request
from tests.unit.federation.compute import BELOW, Compute
from vnode.backend import ObservedPod, Waiting
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey

pytestmark = pytest.mark.looptime

THERE = ObjectKey(BELOW, "job-0")


@pytest.fixture
async def compute() -> Compute:
    compute = Compute()
    await compute.open()
    return compute


async def gated_copy(compute: Compute) -> ObservedPod:
    copy = await compute.backend.apply(make_request(gated=True))
    assert copy.gated
    return copy


def gates(compute: Compute) -> Any:
    return compute.pod()["spec"].get("schedulingGates")


async def test_a_gated_copy_has_our_gate(compute: Compute) -> None:
    await gated_copy(compute)
    assert gates(compute) == [{"name": START_GATE}]


async def test_none_is_sent_where_it_would_be_left_out(compute: Compute) -> None:
    compute.backend._reachability.start_gates = False
    with pytest.raises(Waiting, match="schedulingGates") as refused:
        await compute.backend.apply(make_request(gated=True))
    assert refused.value.not_done
    assert not compute.client.named("create pods")
    assert not (await compute.backend.apply(make_request())).gated


async def test_other_copies_have_none_and_the_tenant_s_own_stay_behind(compute: Compute) -> None:
    pod = make_pod(schedulingGates=[{"name": START_GATE}])
    copy = await compute.backend.apply(make_request(pod))
    assert not copy.gated
    assert gates(compute) is None


async def test_ungate_takes_our_gate_and_leaves_those_of_others(compute: Compute) -> None:
    copy = await gated_copy(compute)
    other = {"name": "kueue.x-k8s.io/admission"}
    compute.client.edit(PODS, THERE, lambda body: body["spec"]["schedulingGates"].append(other))
    started = await compute.backend.ungate(copy)
    assert gates(compute) == [other]
    assert not started.gated
    assert compute.backend.observed(copy.key) == started, "our own write is known at once"


async def test_ungate_is_idempotent(compute: Compute) -> None:
    copy = await gated_copy(compute)
    await compute.backend.ungate(copy)
    assert not (await compute.backend.ungate(copy)).gated


async def test_ungate_never_hits_another_pod_of_that_name(compute: Compute) -> None:
    copy = await gated_copy(compute)
    compute.client.drop(PODS, THERE)
    another = make_pod(namespace=BELOW, uid="another", schedulingGates=[{"name": START_GATE}])
    compute.client.put(PODS, another)
    with pytest.raises(Waiting):
        await compute.backend.ungate(copy)
    assert gates(compute) == [{"name": START_GATE}]


async def test_a_copy_that_has_gone_is_waited_for(compute: Compute) -> None:
    copy = await gated_copy(compute)
    compute.client.drop(PODS, THERE)
    with pytest.raises(Waiting, match="gone"):
        await compute.backend.ungate(copy)


async def test_a_copy_that_is_gated_no_more_is_not_deleted_as_one_that_is(compute: Compute) -> None:
    copy = await gated_copy(compute)
    await compute.backend.ungate(copy)
    with pytest.raises(Waiting, match="changed"):
        await compute.backend.delete(copy, grace_seconds=None)
    assert compute.client.get_body(PODS, THERE) is not None


async def test_a_copy_whose_gate_others_took_meanwhile_is_not_deleted(compute: Compute) -> None:
    copy = await gated_copy(compute)
    compute.client.edit(PODS, THERE, lambda body: body["spec"].pop("schedulingGates"))
    with pytest.raises(Waiting, match="changed"):
        await compute.backend.delete(copy, grace_seconds=None)
    assert compute.client.get_body(PODS, THERE) is not None


async def test_a_gated_copy_is_deleted(compute: Compute) -> None:
    copy = await gated_copy(compute)
    await compute.backend.delete(copy, grace_seconds=None)
    assert compute.client.named("delete pods")


async def test_a_refusal_may_pass_and_names_nobody_below(compute: Compute) -> None:
    copy = await gated_copy(compute)
    compute.client.fail(make_error(403, f'pods "job-0" in {BELOW} is forbidden'), "patch pods")
    with pytest.raises(Waiting) as refused:
        await compute.backend.ungate(copy)
    assert BELOW not in str(refused.value)
