"""Pods that wait: what they say, and what ends it."""

import pytest

from tests.builders import (
    UID_1,
    UID_2,
    condition,
    make_config_map,
    make_error,
    make_pod,
    make_secret,
    running_status,
)
from tests.unit.pods.acts import KEY, STATUS, env_from, put_object, running
from tests.unit.pods.world import World
from vnode.backend import InLine, Sight, Waiting
from vnode.kube.resources import PODS
from vnode.pods.view import COMPUTE_SCHEDULED

pytestmark = pytest.mark.looptime

QUOTA = Waiting("exceeded quota: gpus", reason="QuotaExceeded")
QUOTA_CHANGED = Waiting("apply your changes again", reason="ComputeConflict", passing=True)


class TestWaiting:
    async def test_what_holds_a_pod_up_is_shown_and_tried_again(self, world: World) -> None:
        world.start()
        world.below.fail("apply", error=QUOTA)
        key = world.create(make_pod())
        await world.settle(0.5)
        shown = world.status(key)
        assert (shown["phase"], shown["reason"]) == ("Pending", "QuotaExceeded")
        assert shown["message"] == "exceeded quota: gpus"
        scheduled = world.condition(key, COMPUTE_SCHEDULED)
        assert scheduled is not None
        assert (scheduled["status"], scheduled["reason"]) == ("False", "QuotaExceeded")
        assert world.events() == ["QuotaExceeded"]

        await world.settle(10)
        assert world.below.made[UID_1] == 1
        assert "reason" not in world.status(key)

    async def test_tries_become_rarer_but_never_end(self, world: World) -> None:
        world.start()
        for _ in range(40):
            world.below.fail("apply", error=QUOTA)
        world.create(make_pod())
        await world.settle(120)
        early = len(world.below.called("apply"))
        assert 6 <= early <= 9
        await world.settle(600)
        assert 8 <= len(world.below.called("apply")) - early <= 11

    async def test_tries_while_the_tenant_is_away_make_no_long_wait(self, world: World) -> None:
        world.start()
        for _ in range(10):
            world.below.fail("apply", error=QUOTA)
        world.tenant.fail(make_error(503), STATUS, times=9)
        world.create(make_pod())
        await world.settle(8)
        assert world.below.made[UID_1] == 1

    async def test_what_waits_is_tried_at_once_where_a_place_was_opened(self, world: World) -> None:
        world.start()
        for _ in range(20):
            world.below.fail("apply", error=QUOTA)
        key = world.create(make_pod())
        await world.settle(200)  # by now it is tried once a minute
        early = len(world.below.called("apply"))
        assert world.agent is not None
        (opened,) = world.agent.backend.place_listeners
        opened("elsewhere")
        await world.settle(1)
        assert len(world.below.called("apply")) == early
        opened(key.namespace)
        await world.settle(8)  # and soon again, since it may not be quite ready
        assert len(world.below.called("apply")) == early + 4

    @pytest.mark.parametrize(("times", "told"), [(1, False), (4, False), (5, True)])
    async def test_what_passes_by_itself_is_told_only_if_it_goes_on(
        self, world: World, times: int, told: bool
    ) -> None:
        world.start()
        for _ in range(times):
            world.below.fail("apply", error=QUOTA_CHANGED)
        key = world.create(make_pod())
        await world.settle(4.6)
        assert world.below.made[UID_1] == (0 if told else 1)
        assert world.events() == (["ComputeConflict"] if told else [])
        assert (world.status(key).get("reason") == "ComputeConflict") is told
        await world.settle(10)
        assert world.below.made[UID_1] == 1

    async def test_the_server_s_own_waiting_time_is_kept(self, world: World) -> None:
        world.start()
        world.below.fail("apply", error=Waiting("busy", reason="ComputeBusy", retry_after=20))
        world.create(make_pod())
        await world.settle(19)
        assert len(world.below.called("apply")) == 1
        await world.settle(10)
        assert len(world.below.called("apply")) == 2

    @pytest.mark.parametrize(("seconds", "told"), [(100.0, False), (200.0, True)])
    async def test_a_pod_in_line_hears_of_it_only_where_the_line_is_long(
        self, world: World, seconds: float, told: bool
    ) -> None:
        world.start()
        key = world.create(make_pod())
        world.below.fail("apply", error=InLine("many are made", seconds=seconds))
        await world.settle(50)
        assert len(world.below.called("apply")) == 1
        assert world.events() == (["InLine"] if told else [])
        assert (world.status(key).get("reason") == "InLine") is told
        await world.settle(55)
        assert world.below.made[UID_1] == 1
        assert world.status(key).get("reason") is None

    async def test_a_name_conflict_is_one_event_and_touches_nothing(self, world: World) -> None:
        world.start()
        world.below.foreign.add(KEY)
        world.create(make_pod())
        await world.settle(90)
        assert world.events() == ["NameConflict"]
        assert not world.below.copies
        world.below.foreign.clear()
        await world.settle(90)
        assert world.below.made[UID_1] == 1

    async def test_a_namespace_that_is_not_prepared_is_waited_for(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.BARRED
        key = world.create(make_pod())
        await world.settle(5)
        assert world.status(key)["reason"] == "NamespaceNotReady"
        agent.backend.sights.clear()
        await world.settle(120)
        assert world.below.made[UID_1] == 1

    async def test_a_pod_whose_copy_went_while_it_could_not_be_seen_is_not_forgotten(
        self, world: World
    ) -> None:
        world.start()
        key = await running(world)
        await world.stop()
        world.below.evict(key)
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.BARRED
        await world.settle()
        assert world.status(key)["phase"] == "Running"
        agent.backend.sights.clear()
        await world.settle(120)
        assert world.status(key)["phase"] == "Failed"

    async def test_a_running_pod_whose_copy_cannot_be_seen_says_so(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.sights["team-a"] = Sight.BARRED
        agent.queue.add(key)
        await world.settle(1)
        assert world.events() == ["ComputeNamespaceUnavailable"]

    async def test_a_finished_pod_needs_no_sight_of_its_copy(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        world.below.end(key)
        await world.settle(1)
        assert world.status(key)["phase"] == "Succeeded"
        agent.backend.sights["team-a"] = Sight.BARRED
        agent.queue.add(key)
        await world.settle(1)
        adds = agent.queue.statistics().adds
        await world.settle()
        assert world.events() == []
        assert agent.queue.statistics().adds == adds

    async def test_a_finished_pod_that_is_deleted_needs_none_either(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        world.below.end(key)
        await world.settle(1)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.delete(key)
        await world.settle(1)
        assert world.pod(key) is None
        assert world.events() == []
        assert not world.below.copies[key].deleting
        agent.backend.sights.clear()
        agent.queue.add(key)
        await world.settle(70)
        assert world.below.copies[key].deleting

    async def test_a_deleted_pod_that_others_called_failed_does(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.sights["team-a"] = Sight.BARRED
        world.tenant.edit(PODS, key, lambda body: body["status"].update(phase="Failed"))
        await world.settle(1)
        world.delete(key)
        await world.settle(1)
        assert "ComputeNamespaceUnavailable" in world.events()
        assert world.pod(key) is not None
        agent.backend.sights.clear()
        await world.settle(70)
        world.below.finish_deletion(key)
        await world.settle(1)
        assert world.pod(key) is None

    async def test_status_is_mirrored_while_a_change_has_to_wait(self, world: World) -> None:
        world.start()
        key = await running(world)
        for _ in range(20):
            world.below.fail("apply", error=QUOTA)
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(annotations={"a": "b"}))
        await world.settle(5)
        unready = running_status(
            conditions=[condition("Ready", "False"), condition("ContainersReady", "False")]
        )
        world.below.show(key, unready)
        await world.settle(1)
        ready = world.condition(key, "Ready")
        assert ready is not None
        assert ready["status"] == "False"

    async def test_a_successor_hears_that_an_older_copy_is_in_its_way(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY, grace=0)
        world.create(make_pod(uid=UID_2))
        await world.settle(30)
        assert world.below.made[UID_2] == 0
        assert world.status(KEY)["reason"] == "PredecessorExists"
        world.below.finish_deletion(KEY)
        await world.settle(1)
        assert world.below.made[UID_2] == 1

    async def test_a_successor_that_waited_long_is_tried_again_soon(self, world: World) -> None:
        world.start()
        await running(world)
        world.delete(KEY, grace=0)
        world.create(make_pod(uid=UID_2))
        await world.settle(300)
        world.below.fail("apply")
        world.below.finish_deletion(KEY)
        await world.settle(3)
        assert world.below.made[UID_2] == 1

    async def test_missing_objects_are_named_as_virtual_kubelet_does(self, world: World) -> None:
        world.start()
        key = world.create(make_pod(containers=env_from("secretRef", "login")))
        await world.settle(5)
        assert world.events() == ["MandatorySecretNotFound"]
        assert world.status(key)["reason"] == "MandatorySecretNotFound"
        assert not world.below.called("apply")

    async def test_a_pod_starts_as_soon_as_its_secret_is_there(self, world: World) -> None:
        world.start()
        world.create(make_pod(containers=env_from("secretRef", "login")))
        await world.settle(120)
        put_object(world, make_secret())
        await world.settle(0.5)
        assert world.below.made[UID_1] == 1

    async def test_a_missing_optional_object_is_said_and_not_waited_for(self, world: World) -> None:
        world.start()
        spec = env_from("configMapRef", "settings", optional=True)
        world.create(make_pod(containers=spec))
        await world.settle(5)
        assert world.events() == ["OptionalConfigMapNotFound"]
        assert world.below.made[UID_1] == 1

    async def test_objects_are_below_before_the_pod(self, world: World) -> None:
        world.start()
        put_object(world, make_config_map())
        world.create(make_pod(containers=env_from("configMapRef", "settings")))
        await world.settle(5)
        assert [call[0] for call in world.below.calls] == ["put_object", "put_object", "apply"]
