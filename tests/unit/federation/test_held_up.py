"""Copies whose own containers have ended are not held by what others put into them."""

import asyncio
from typing import Any

import pytest

from federation.backends.kubernetes.translate.names import ANNOTATION_ENDED
from tests.builders import make_error, make_pod, make_request
from tests.unit.federation.compute import BELOW, Compute
from tests.unit.federation.injected import FUSE, injected_status
from vnode.backend import PodEvent, StreamError, StreamRequest, StreamVerb
from vnode.kube.resources import EVENTS, PODS
from vnode.kube.types import ObjectKey
from vnode.pods.lifecycle import finished_by_itself

pytestmark = pytest.mark.looptime

THERE = ObjectKey(BELOW, "job-0")
TENANTS = ObjectKey("team-a", "job-0")
PATIENCE, GRACE = 60, 30


@pytest.fixture
async def compute() -> Compute:
    compute = Compute()
    await compute.open()
    return compute


async def injected(compute: Compute, *, restart: str = "Never", main: int | None = None) -> None:
    """A copy that runs with a sidecar; `main`: the exit code of the tenant's container."""
    pod = make_pod(restart=restart, terminationGracePeriodSeconds=GRACE)
    await compute.backend.apply(make_request(pod))

    def inject(body: Any) -> None:
        body["spec"]["containers"].insert(0, {"name": FUSE})
        body["spec"]["nodeName"] = "machine-1"
        body["status"] = injected_status(main=main)

    compute.client.edit(PODS, THERE, inject)
    compute.deliver()
    compute.client.calls.clear()


async def work(compute: Compute, seconds: float) -> None:
    """Let the backend's own task work for so long."""
    task = asyncio.ensure_future(compute.backend._held_up.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.wait([task])


async def test_the_sidecars_are_left_to_others_for_a_while(compute: Compute) -> None:
    await injected(compute, main=0)
    await work(compute, PATIENCE - 1)
    assert not compute.client.calls


async def test_then_the_copy_gets_a_deadline_that_is_over(compute: Compute) -> None:
    await injected(compute, main=0)
    before = compute.pod()["metadata"]
    await work(compute, PATIENCE + 1)
    (patch,) = compute.client.calls
    assert patch.name == "patch pods"
    assert compute.pod()["spec"]["activeDeadlineSeconds"] == 1
    assert ANNOTATION_ENDED in compute.pod()["metadata"]["annotations"]
    sent = patch.body["metadata"]
    assert (sent["uid"], sent["resourceVersion"]) == (before["uid"], before["resourceVersion"])


async def test_the_end_of_the_tenants_containers_stays_what_it_was(compute: Compute) -> None:
    await injected(compute, main=0)
    await work(compute, PATIENCE + 1)

    def killed(body: Any) -> None:
        body["status"] = injected_status(
            main=0, fuse=137, phase="Failed", reason="DeadlineExceeded", message="too long"
        )

    compute.client.edit(PODS, THERE, killed)
    compute.deliver()
    copy = compute.backend.observed(TENANTS)
    assert copy is not None
    assert b'"phase":"Succeeded"' in bytes(copy.status)
    assert b"DeadlineExceeded" not in bytes(copy.status)
    await work(compute, 10 * PATIENCE)
    assert not compute.client.named("delete pods")


async def test_a_copy_that_goes_on_all_the_same_is_deleted(compute: Compute) -> None:
    await injected(compute, main=0)
    await work(compute, 2 * PATIENCE + GRACE - 1)
    assert not compute.client.named("delete pods")
    compute.deliver()
    await work(compute, PATIENCE + GRACE + 1)
    (deletion,) = compute.client.named("delete pods")
    assert deletion.uid == compute.client.named("patch pods")[0].body["metadata"]["uid"]


async def test_one_that_takes_no_deadline_is_deleted(compute: Compute) -> None:
    await injected(compute, main=0)
    compute.client.fail(make_error(403, "exceeded quota"), "patch pods")
    await work(compute, 2 * PATIENCE + GRACE + 2)
    compute.deliver()
    copy = compute.backend.observed(TENANTS)
    assert compute.client.named("delete pods")
    assert copy is not None
    assert finished_by_itself(copy)


async def test_a_cluster_that_fails_is_asked_again(compute: Compute) -> None:
    await injected(compute, main=0)
    compute.client.fail(make_error(503, "down"), "patch pods", times=2)
    await work(compute, PATIENCE + 30)
    assert len(compute.client.named("patch pods")) == 3
    assert compute.pod()["spec"]["activeDeadlineSeconds"] == 1


@pytest.mark.parametrize(
    ("restart", "main"), [("Never", None), ("OnFailure", 3), ("Always", 0)], ids=str
)
async def test_copies_that_run_or_start_again_are_left_alone(
    compute: Compute, restart: str, main: int | None
) -> None:
    await injected(compute, restart=restart, main=main)
    await work(compute, 10 * PATIENCE)
    assert not compute.client.calls


async def test_one_whose_sidecar_ended_meanwhile_is_left_alone(compute: Compute) -> None:
    await injected(compute, main=0)
    await work(compute, PATIENCE - 1)
    ended = injected_status(main=0, fuse=0, phase="Succeeded")
    compute.client.edit(PODS, THERE, lambda body: body.update(status=ended))
    compute.deliver()
    await work(compute, 10 * PATIENCE)
    assert not compute.client.calls


async def test_one_that_is_being_deleted_is_left_alone(compute: Compute) -> None:
    await injected(compute, main=0)
    compute.client.delete_gracefully(PODS, THERE, 600)
    compute.deliver()
    await work(compute, 5 * PATIENCE)
    assert not compute.client.calls


@pytest.mark.parametrize("verb", [StreamVerb.EXEC, StreamVerb.ATTACH])
async def test_nobody_gets_into_a_sidecar(compute: Compute, verb: StreamVerb) -> None:
    await injected(compute)
    copy = compute.backend.observed(TENANTS)
    assert copy is not None
    with pytest.raises(StreamError, match=FUSE) as refused:
        await compute.backend.upgrade(copy, StreamRequest(verb, "POST", container=FUSE))
    assert refused.value.code == 404


@pytest.mark.parametrize(
    ("path", "reason", "message", "heard"),
    [
        ("spec.containers{main}", "Started", "x", True),
        ("", "FailedMount", "x", True),
        ("spec.containers{fluid-fuse-0}", "Started", "x", False),
        ("", "FailedKillPod", 'failed to "KillContainer" for "fluid-fuse-0"', False),
        ("", "DeadlineExceeded", "x", False),
    ],
)
async def test_events_about_sidecars_are_not_passed_on(
    compute: Compute, path: str, reason: str, message: str, heard: bool
) -> None:
    await injected(compute, main=0)
    await work(compute, PATIENCE + 1)
    compute.deliver()
    said: list[PodEvent] = []
    compute.backend.subscribe_events(said.append)
    about = {
        "kind": "Pod",
        "namespace": BELOW,
        "name": "job-0",
        "uid": compute.pod()["metadata"]["uid"],
        "fieldPath": path,
    }
    event = {
        "metadata": {"name": "job-0.1", "namespace": BELOW},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Normal",
    }
    compute.client.put(EVENTS, event)
    compute.deliver()
    assert [event.reason for event in said] == ([reason] if heard else [])
