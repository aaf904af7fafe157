"""What comes back to a pod: its status, its addresses, events, and what holds it."""

import pytest

from tests.builders import (
    NODE,
    NODE_ADDRESS,
    UID_1,
    UID_2,
    condition,
    container_status,
    make_error,
    make_pod,
    make_uid,
    running_status,
)
from tests.unit.pods.acts import KEY, STATUS, running
from tests.unit.pods.world import World
from vnode.backend import PodEvent
from vnode.kube.resources import PODS
from vnode.pods.view import FORWARDED

pytestmark = pytest.mark.looptime


class TestRefusedStatus:
    async def test_phase_and_containers_are_written_when_the_rest_is_refused(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(0.5)
        world.below.start(KEY)
        await world.settle(1)
        shown = world.status(KEY)
        assert shown["phase"] == "Running"
        assert shown["containerStatuses"][0]["ready"] is True
        assert "StatusRefused" in world.events()

    async def test_of_containers_only_what_every_api_server_takes_is_written_then(
        self, world: World
    ) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(0.5)
        newer = container_status(user={"from": "the future"}, started=True)
        world.below.show(KEY, running_status(containerStatuses=[newer]))
        await world.settle(0.5)
        _, core = world.tenant.named(STATUS)[:2]
        (container,) = core.body["status"]["containerStatuses"]
        assert container.keys() == newer.keys() - {"user"}

    async def test_the_mark_of_forwarding_is_kept_in_any_case(self, world: World) -> None:
        world.start()
        world.create(make_pod())
        world.tenant.fail(make_error(422, "status.x: bad", fields=["status.x"]), STATUS)
        await world.settle(7)
        assert world.condition(KEY, FORWARDED) is not None
        world.below.evict(KEY)
        await world.restart()
        await world.settle()
        assert world.below.made[UID_1] == 1
        assert world.status(KEY)["phase"] == "Failed"

    async def test_a_status_never_reaches_a_successor(self, world: World) -> None:
        world = World(latency=1.0, seed=1)
        try:
            world.start()
            world.create(make_pod())
            while not world.below.copies:
                await world.settle(0.05)
            world.below.start(KEY)
            world.tenant.drop(PODS, KEY)
            world.create(make_pod(uid=UID_2))
            await world.settle()
            assert "containerStatuses" not in world.status(KEY)
        finally:
            await world.stop()


class TestAddresses:
    async def test_isolated_pods_show_addresses_of_their_own(self, world: World) -> None:
        world.flat_network = False
        world.start()
        keys = [await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(20)]
        shown = {world.status(key)["podIP"] for key in keys}
        assert len(shown) == 20
        assert all(ip.startswith("198.18.0.") for ip in shown)
        assert world.status(keys[0])["podIPs"] == [{"ip": world.status(keys[0])["podIP"]}]

    async def test_they_keep_them_over_a_restart_and_nobody_gets_them_twice(
        self, world: World
    ) -> None:
        world.flat_network = False
        world.start()
        before = {
            key: world.status(key)["podIP"]
            for key in [await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(100)]
        }
        await world.restart()
        after = {
            key: world.status(key)["podIP"]
            for key in [
                await running(world, name=f"job-{n}", uid=make_uid(n)) for n in range(100, 200)
            ]
        }
        assert {key: world.status(key)["podIP"] for key in before} == before
        assert len({*before.values(), *after.values()}) == 200

    async def test_an_address_comes_back_when_its_pod_is_gone(self, world: World) -> None:
        world.flat_network = False
        agent = world.start()
        await running(world)
        assert len(agent.addresses) == 1
        world.delete(KEY)
        await world.settle(1)
        world.below.finish_deletion(KEY)
        await world.settle(1)
        assert len(agent.addresses) == 0

    async def test_without_a_free_address_the_pod_says_so(self, world: World) -> None:
        world.flat_network = False
        agent = world.start()
        for number in range(254):
            agent.addresses.learn(make_uid(1000 + number), f"198.18.0.{1 + number}")
        world.create(make_pod())
        await world.settle(1)
        world.below.start(KEY)
        await world.settle(5)
        assert world.events() == ["NoPodAddress"]

    async def test_flat_pods_show_the_address_of_their_copy(self, world: World) -> None:
        world.start()
        await running(world)
        assert world.status(KEY)["podIP"] == running_status()["podIP"]
        assert world.status(KEY)["hostIP"] == NODE_ADDRESS


class TestEventsFromBelow:
    @staticmethod
    def said(uid: str) -> PodEvent:
        return PodEvent(
            key=KEY,
            uid=UID_1 if uid == UID_1 else UID_2,
            node=NODE,
            type="Warning",
            reason="FailedMount",
            message="no such claim",
        )

    async def test_they_are_told_of_the_pod(self, world: World) -> None:
        world.start()
        await running(world)
        for watcher in world.below.event_watchers:
            watcher(self.said(UID_1))
        await world.settle(1)
        assert world.events() == ["FailedMount"]

    async def test_those_of_a_predecessor_are_not_told_of_its_successor(self, world: World) -> None:
        world.start()
        await running(world)
        for watcher in world.below.event_watchers:
            watcher(self.said(UID_2))
        await world.settle(1)
        assert world.events() == []


async def test_a_readiness_gate_of_the_tenant_holds_readiness_back(world: World) -> None:
    world.start()
    key = await running(world, readinessGates=[{"conditionType": "x/ready"}])
    ready = world.condition(key, "Ready")
    assert ready is not None
    assert ready["status"] == "False"

    conditions = [*world.status(key)["conditions"], condition("x/ready")]
    world.edit_status(key, conditions=conditions)
    await world.settle(1)
    ready = world.condition(key, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
