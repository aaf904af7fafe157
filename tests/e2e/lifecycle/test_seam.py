"""The contract of `vnode.backend.PodBackend` where no rule of a pod's life reaches."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from tests.e2e.lifecycle.needs import Need, needs
from tests.e2e.lifecycle.tenant import until
from vnode.backend import (
    SERVICE_VARIABLES,
    NameConflict,
    ObjectRef,
    ObservedPod,
    PodRequest,
    Sight,
    Waiting,
)
from vnode.kube.resources import PODS
from vnode.kube.types import UID, ConfigMap, ObjectKey, ObjectMeta, Pod
from vnode.pods.view import view
from vnode.runtime.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.agents.pods import RunningBackend
    from tests.e2e.lifecycle.world import World


class Seam:
    """A backend and what it is asked, without `vnode.pods` between."""

    def __init__(self, world: World, backend: RunningBackend) -> None:
        self.world = world
        self.backend = backend
        self.heard: list[ObjectKey] = []
        backend.subscribe(self.heard.append)
        for listen in (backend.subscribe_objects, backend.subscribe_places):
            listen(lambda _: None)

    def key(self, name: str = "pod") -> ObjectKey:
        return ObjectKey(self.world.tenant.namespace, name)

    async def request(self, name: str = "pod") -> PodRequest:
        """For a tenant pod that is made now."""
        await self.world.tenant.create(name)
        tenant = self.world.tenant
        pod = await tenant.client.get(PODS, Pod, name=name, namespace=tenant.namespace)
        seen = view(pod)
        return PodRequest(pod=pod, node=seen.node, digest=seen.digest, host_ip="192.0.2.7")

    def observed(self, name: str = "pod") -> ObservedPod | None:
        return self.backend.observed(self.key(name))

    async def until(self, is_so: Callable[[ObservedPod], bool], what: str) -> ObservedPod:
        """Wait until memory shows a copy of which that is so."""

        def shown() -> ObservedPod | None:
            copy = self.observed()
            return copy if copy is not None and is_so(copy) else None

        copy: ObservedPod = await until(shown, what)
        return copy


@pytest.fixture
async def seam(world: World) -> AsyncIterator[Seam]:
    """A backend that has seen all."""
    async with world.place.open(SystemClock()) as backend:
        seam = Seam(world, backend)
        running = asyncio.ensure_future(backend.run())
        try:
            namespace = world.tenant.namespace
            await until(lambda: backend.sight(namespace) is Sight.COMPLETE, "all is seen")
            services = ConfigMap(ObjectMeta(name="services", namespace=namespace))
            await backend.put_object(ObjectRef(namespace, *SERVICE_VARIABLES), services)
            yield seam
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_what_was_applied_is_observed_at_once_and_once(seam: Seam) -> None:
    request = await seam.request()
    copy = await seam.backend.apply(request)
    seen = seam.observed()
    assert seen is not None
    assert (seen.handle, seen.uid, seen.digest) == (copy.handle, copy.uid, request.digest)
    again = await seam.backend.apply(request)
    assert again.handle == copy.handle
    assert await seam.world.place.made(copy.uid) <= 1
    await until(lambda: seam.key() in seam.heard, "listeners are told")


async def test_another_life_observes_the_same_copy(seam: Seam) -> None:
    copy = await seam.backend.apply(await seam.request())
    async with seam.world.place.open(SystemClock()) as backend:
        other = Seam(seam.world, backend)
        running = asyncio.ensure_future(backend.run())
        seen = await other.until(lambda _: True, "it is seen")
        running.cancel()
        await asyncio.wait([running])
    assert (seen.handle, seen.uid, seen.node) == (copy.handle, copy.uid, copy.node)
    assert (seen.digest, seen.generation) == (copy.digest, copy.generation)


async def test_a_copy_of_another_uid_is_never_overwritten(seam: Seam) -> None:
    old = await seam.backend.apply(await seam.request())
    await seam.world.tenant.delete(grace=0)
    with pytest.raises(Waiting):
        await seam.backend.apply(await seam.request())
    copy = await seam.world.place.copy("pod")
    assert copy is not None
    assert (copy.uid, copy.deleting) == (old.uid, False)


@needs(Need.TAKEN_NAMES)
async def test_what_is_not_ours_is_a_conflict_and_never_observed(seam: Seam) -> None:
    await seam.world.place.take("pod")
    with pytest.raises(NameConflict) as refused:
        await seam.backend.apply(await seam.request())
    assert refused.value.not_done
    assert seam.observed() is None
    await seam.world.place.release("pod")


async def test_a_deletion_hits_the_copy_that_was_given_or_none(seam: Seam) -> None:
    old = await seam.backend.apply(await seam.request())
    await seam.world.place.start("pod")
    await seam.until(lambda copy: b'"Running"' in bytes(copy.status), "it runs")
    await seam.world.place.remove("pod")
    await seam.until(lambda copy: copy.gone, "it is gone")
    await seam.backend.delete(old, grace_seconds=1)
    seam.backend.forget(old)
    await seam.world.tenant.delete(grace=0)
    new = await seam.backend.apply(await seam.request())
    await seam.backend.delete(old, grace_seconds=1)
    copy = await seam.world.place.copy("pod")
    assert copy is not None
    assert (copy.uid, copy.deleting) == (new.uid, False)


async def test_what_went_stays_observed_with_its_last_status_until_it_is_forgotten(
    seam: Seam,
) -> None:
    await seam.backend.apply(await seam.request())
    await seam.world.place.start("pod")
    await seam.until(lambda copy: b'"Running"' in bytes(copy.status), "it runs")
    await seam.world.place.remove("pod")
    gone = await seam.until(lambda copy: copy.gone, "it is gone")
    assert b'"Running"' in bytes(gone.status)
    seam.backend.forget(gone)
    assert seam.observed() is None


async def test_whether_a_copy_is_gone_is_asked_of_the_place_itself(seam: Seam) -> None:
    copy = await seam.backend.apply(await seam.request())
    assert not await seam.backend.confirm_gone(seam.key(), copy.uid)
    assert await seam.backend.confirm_gone(seam.key(), UID(str(uuid.uuid4())))
    assert await seam.backend.confirm_gone(seam.key("never-made"), UID(str(uuid.uuid4())))
    await seam.world.place.start("pod")
    await seam.world.place.remove("pod")
    assert await seam.backend.confirm_gone(seam.key(), copy.uid)


async def test_the_place_of_a_namespace_stays_the_same(seam: Seam) -> None:
    namespace = seam.world.tenant.namespace
    place = seam.backend.place(namespace)
    assert place
    await seam.backend.require_place(namespace, place)
    with pytest.raises(Waiting):
        await seam.backend.require_place(namespace, "0" * 8)
