"""The pod controller between a tenant and a backend: one behaviour each."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.builders import (
    UID_1,
    UID_2,
    condition,
    make_config_map,
    make_error,
    make_pod,
    make_secret,
    make_uid,
    running_status,
)
from tests.fakes.client import Body
from tests.unit.pods.world import World
from vnode.backend import (
    BackendError,
    HeldBack,
    InLine,
    ObjectRef,
    ReferenceKind,
    Rejected,
    Sight,
    UpdatePart,
    Waiting,
    WaitingReason,
)
from vnode.kube.resources import CONFIG_MAPS, PODS, SECRETS
from vnode.kube.types import ConfigMap, ObjectKey, OwnerReference, Secret
from vnode.pods.forwarding import FORWARD_DAEMON
from vnode.pods.view import COMPUTE_SCHEDULED, FORWARDED

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team-a", "job-0")
STATUS = "patch pods/status"
QUOTA = Waiting("exceeded quota: gpus", reason="QuotaExceeded")
QUOTA_CHANGED = Waiting("apply your changes again", reason="ComputeConflict", passing=True)


def put_object(world: World, body: ConfigMap | Secret) -> None:
    resource = SECRETS if isinstance(body, Secret) else CONFIG_MAPS
    world.tenant.put(resource, body)


def env_from(kind: str, name: str, *, optional: bool = False) -> list[Mapping[str, object]]:
    source = {"name": name, "optional": optional}
    return [{"name": "main", "image": "i", "envFrom": [{kind: source}]}]


async def running(world: World, **pod: object) -> ObjectKey:
    """A pod that runs and is shown as running."""
    key = world.create(make_pod(**pod))  # type: ignore[arg-type]
    await world.settle(2)
    world.below.start(key)
    await world.settle(2)
    assert world.status(key)["phase"] == "Running"
    return key


class TestForwarding:
    async def test_a_life_costs_five_writes_and_no_read(self, world: World) -> None:
        world.start()
        world.create(make_pod("neighbour", uid=UID_2))  # shares the service variables
        await world.settle(60)
        world.tenant.calls.clear()
        world.below.calls.clear()
        key = world.create(make_pod())
        await world.settle(0.5)
        world.below.start(key)
        await world.settle(60)
        world.below.end(key)
        await world.settle(60)
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()

        assert world.pod(key) is None
        assert world.tenant.names() == [STATUS, STATUS, "delete pods"]
        assert [call[0] for call in world.below.calls] == ["apply", "delete"]

    async def test_a_running_pod_that_is_deleted_is_removed_once(self, world: World) -> None:
        world.start()
        key = await running(world)
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()

        assert world.pod(key) is None
        assert len(world.tenant.named("delete pods")) == 1

    async def test_a_pod_that_a_finalizer_keeps_is_not_deleted_again_and_again(
        self, world: World
    ) -> None:
        world.start()
        key = await running(world)
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(finalizers=["x/y"]))
        world.delete(key)
        await world.settle(1)
        world.below.finish_deletion(key)
        await world.settle()
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(labels={"a": "b"}))
        await world.settle()

        assert len(world.tenant.named("delete pods")) == 1
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(finalizers=[]))
        assert world.pod(key) is None

    async def test_a_quick_start_is_shown_with_one_status_write(self, world: World) -> None:
        world.start()
        key = world.create(make_pod())
        await world.settle(0.5)
        world.below.start(key)
        await world.settle()
        assert [call.name for call in world.tenant.calls if call.verb != "get"] == [STATUS]

    async def test_a_slow_start_is_marked_as_forwarded(self, world: World) -> None:
        world.start()
        key = world.create(make_pod())
        await world.settle()
        marked = world.condition(key, FORWARDED)
        assert marked is not None
        assert marked["status"] == "True"

    async def test_an_own_write_is_known_before_the_watch_tells_of_it(self) -> None:
        world = World(lag=5.0, seed=2)
        try:
            agent = world.start()
            await world.settle(6)
            key = world.create(make_pod())
            await world.settle(10)
            world.below.start(key)
            while world.status(key)["phase"] != "Running":
                await world.settle(0.01)
            calls = len(world.tenant.calls)
            for _ in range(5):
                agent.queue.add(key)
                await world.settle(0.01)
            assert len(world.tenant.calls) == calls
        finally:
            await world.stop()

    async def test_pods_of_other_nodes_are_nobody_s_business(self, world: World) -> None:
        world.start()
        world.create(make_pod(node="a-real-node"))
        await world.settle()
        assert not world.below.calls
        assert not world.tenant.calls

    async def test_a_changed_annotation_reaches_the_copy(self, world: World) -> None:
        world.start()
        key = await running(world)
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(annotations={"a": "b"}))
        await world.settle(1)
        assert len(world.below.called("update")) == 1

    async def test_a_restart_writes_nothing(self, world: World) -> None:
        world.start()
        for number in range(10):
            await running(world, name=f"job-{number}", uid=make_uid(number))
        calls, applied = len(world.tenant.calls), len(world.below.calls)

        await world.restart()
        await world.settle()

        assert len(world.tenant.calls) == calls
        assert len(world.below.calls) == applied

    async def test_an_end_that_was_missed_while_down_is_shown(self, world: World) -> None:
        world.start()
        key = await running(world)
        await world.stop()
        world.below.end(key, exit_code=3)
        world.start()
        await world.settle()
        assert world.status(key)["phase"] == "Failed"

    async def test_what_the_node_lifecycle_controller_wrote_is_put_right(
        self, world: World
    ) -> None:
        world.start()
        key = await running(world)
        not_ready = [condition("Ready", "False", reason="NodeNotReady")]
        world.edit_status(key, conditions=not_ready)
        await world.settle(1)
        ready = world.condition(key, "Ready")
        assert ready is not None
        assert ready["status"] == "True"
        assert "reason" not in ready


class TestRejection:
    @pytest.mark.parametrize(("restart", "phase"), [("Always", "Pending"), ("Never", "Failed")])
    async def test_a_rejected_pod_says_so(self, world: World, restart: str, phase: str) -> None:
        agent = world.start()
        agent.backend.rejects = lambda _: Rejected("spec.hostNetwork: not allowed", field="x")
        key = world.create(make_pod(restart=restart))
        await world.settle()

        shown = world.status(key)
        assert shown["phase"] == phase
        assert shown["reason"] == "PodRejected"
        assert "spec.hostNetwork" in shown["message"]
        assert world.events() == ["PodRejected"]
        assert len(world.below.called("apply")) == 1

    @pytest.mark.parametrize(
        "error", [Rejected("no"), Waiting("not here", reason="VolumeNotSupported")]
    )
    async def test_nothing_travels_of_a_pod_that_is_not_admitted(
        self, world: World, error: BackendError
    ) -> None:
        agent = world.start()
        agent.backend.refuses = lambda _: error
        put_object(world, make_secret())
        key = world.create(make_pod(containers=env_from("secretRef", "login")))
        await world.settle()
        world.tenant.put(SECRETS, make_secret(password="other"))
        await world.settle()
        again = await world.restart()
        again.backend.refuses = lambda _: error
        await world.settle()
        assert world.below.calls == []
        assert world.status(key)["reason"] in ("PodRejected", "VolumeNotSupported")

    async def test_a_rejection_is_shown_although_the_first_write_fails(self, world: World) -> None:
        agent = world.start()
        agent.backend.rejects = lambda _: Rejected("spec.hostNetwork: not allowed")
        world.tenant.fail(make_error(503), STATUS)
        key = world.create(make_pod())
        await world.settle()
        assert world.status(key)["phase"] == "Failed"

    async def test_a_rejected_pod_is_judged_again_when_it_changes(self, world: World) -> None:
        agent = world.start()
        agent.backend.rejects = lambda r: (
            None if "ok" in r.pod.metadata.annotations else Rejected("no")
        )
        key = world.create(make_pod(restart="Always"))
        await world.settle()
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(annotations={"ok": "1"}))
        await world.settle()

        assert world.below.made[UID_1] == 1
        assert "reason" not in world.status(key)
        assert not world.status(key).get("containerStatuses")

    async def test_a_rejected_pod_that_is_deleted_goes_at_once(self, world: World) -> None:
        agent = world.start()
        agent.backend.rejects = lambda _: Rejected("no")
        key = world.create(make_pod(restart="Always"))
        await world.settle()
        world.delete(key)
        await world.settle(1)
        assert world.pod(key) is None

    async def test_a_change_that_cannot_travel_leaves_the_copy_and_its_status(
        self, world: World
    ) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.rejects = lambda _: Rejected("spec.x: may not change")
        world.tenant.edit(PODS, key, lambda b: b["metadata"].update(annotations={"a": "b"}))
        await world.settle()
        assert "UpdateRejected" in world.events()
        world.below.end(key)
        await world.settle(1)
        assert world.status(key)["phase"] == "Succeeded"

    async def test_daemonset_pods_stay_off_and_go_at_once(self, world: World) -> None:
        world.start()
        owner = OwnerReference(api_version="apps/v1", kind="DaemonSet", name="d", controller=True)
        key = world.create(make_pod(owners=[owner]))
        await world.settle()
        assert world.status(key)["reason"] == "DaemonSetNotForwarded"
        assert world.status(key)["phase"] == "Pending"
        assert world.events() == ["DaemonSetNotForwarded"]
        assert not world.below.calls
        world.delete(key)
        await world.settle(1)
        assert world.pod(key) is None

    async def test_daemonset_pods_are_forwarded_on_request(self, world: World) -> None:
        world.start()
        owner = OwnerReference(api_version="apps/v1", kind="DaemonSet", name="d", controller=True)
        world.create(make_pod(owners=[owner], annotations={FORWARD_DAEMON: "true"}))
        await world.settle()
        assert world.below.made[UID_1] == 1


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

    @pytest.mark.parametrize(("times", "told"), [(1, False), (2, False), (3, True)])
    async def test_what_passes_by_itself_is_told_only_if_it_goes_on(
        self, world: World, times: int, told: bool
    ) -> None:
        world.start()
        for _ in range(times):
            world.below.fail("apply", error=QUOTA_CHANGED)
        key = world.create(make_pod())
        await world.settle(0.95)
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


class TestBeforeAnythingIsSeen:
    async def test_a_short_while_says_nothing(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        world.create(make_pod())
        await world.settle(3)
        assert not world.tenant.calls

    async def test_a_long_one_is_explained_and_ends(self, world: World) -> None:
        agent = world.start()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        agent.backend.unseen_because = WaitingReason("ComputeForbidden", "no right to look")
        key = world.create(make_pod())
        await world.settle(60)
        assert world.status(key)["reason"] == "ComputeForbidden"
        assert world.status(key)["message"] == "no right to look"
        assert world.tenant.names() == [STATUS]
        agent.backend.sights.clear()
        await world.settle(2)
        assert world.below.made[UID_1] == 1
        await world.settle(2)
        assert "reason" not in world.status(key)

    async def test_pods_that_may_have_a_copy_keep_their_status(self, world: World) -> None:
        world.start()
        key = await running(world)
        agent = await world.restart()
        agent.backend.sights["team-a"] = Sight.UNKNOWN
        calls = len(world.tenant.calls)
        await world.settle(120)
        assert len(world.tenant.calls) == calls
        assert world.status(key)["phase"] == "Running"


RESIZE = HeldBack(UpdatePart.RESIZE, "QuotaExceeded", "exceeded quota: cpu", permanent=False)
DEBUGGER = HeldBack(
    UpdatePart.EPHEMERAL_CONTAINER, "UpdateRejected", "privileged", permanent=True, container="dbg"
)


def change(world: World, key: ObjectKey, **labels: str) -> None:
    """A user changes the pod: labels, and something in its spec."""

    def edit(body: Body) -> None:
        body["metadata"].setdefault("labels", {}).update(labels)
        body["spec"]["tolerations"] = [{"key": name} for name in labels]

    world.tenant.edit(PODS, key, edit)


class TestHeldBack:
    async def test_a_resize_over_quota_is_pending_until_it_fits(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (RESIZE,)
        change(world, key, size="large")
        await world.settle(1)
        pending = world.condition(key, "PodResizePending")
        assert pending is not None
        assert (pending["reason"], pending["message"]) == ("Deferred", "exceeded quota: cpu")
        assert world.status(key)["observedGeneration"] == 2
        assert "QuotaExceeded" in world.events()

        agent.backend.holds_back = lambda _: ()
        await world.settle(90)
        assert world.condition(key, "PodResizePending") is None
        assert world.status(key)["phase"] == "Running"

    async def test_tries_become_rarer_but_never_end(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (RESIZE,)
        change(world, key, size="large")
        await world.settle(120)
        early = len(world.below.called("update"))
        assert 6 <= early <= 9
        await world.settle(600)
        assert 8 <= len(world.below.called("update")) - early <= 11

    async def test_after_one_went_well_the_next_is_tried_as_eagerly(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (RESIZE,)
        change(world, key, size="large")
        await world.settle(300)
        agent.backend.holds_back = lambda _: ()
        await world.settle(90)
        agent.backend.holds_back = lambda _: (RESIZE,)
        before = len(world.below.called("update"))
        change(world, key, size="huge")
        await world.settle(8)
        assert len(world.below.called("update")) - before >= 3

    async def test_the_copy_s_status_is_mirrored_all_the_while(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (RESIZE,)
        change(world, key, size="large")
        await world.settle(100)
        world.below.end(key)
        await world.settle(1)
        assert world.status(key)["phase"] == "Succeeded"
        assert world.condition(key, "PodResizePending") is None

    async def test_what_is_refused_for_good_is_one_event_and_not_tried_again(
        self, world: World
    ) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (DEBUGGER,)
        change(world, key, debug="yes")
        await world.settle()
        assert len(world.below.called("update")) == 1
        assert world.events() == ["UpdateRejected"]
        (container,) = world.status(key)["ephemeralContainerStatuses"]
        assert container["state"]["waiting"]["message"] == "privileged"

    async def test_what_only_a_refused_container_refers_to_does_not_travel(
        self, world: World
    ) -> None:
        agent = world.start()
        key = await running(world)
        put_object(world, make_secret())
        agent.backend.holds_back = lambda _: (DEBUGGER,)
        (container,) = env_from("secretRef", "login")
        debugger = {**container, "name": "dbg"}
        world.tenant.edit(PODS, key, lambda b: b["spec"].update(ephemeralContainers=[debugger]))
        await world.settle()
        assert len(world.below.called("update")) == 1
        world.tenant.put(SECRETS, make_secret(password="other"))
        await world.settle()
        again = await world.restart()
        again.backend.holds_back = lambda _: (DEBUGGER,)
        await world.settle()
        assert not [ref for ref in world.below.objects if ref.name == "login"]

    async def test_a_copy_is_made_without_what_an_ephemeral_container_refers_to(
        self, world: World
    ) -> None:
        """It is no part of a create: whether it may run is judged by the update that follows."""
        world.start()
        (container,) = env_from("secretRef", "missing")
        key = world.create(make_pod(ephemeralContainers=[{**container, "name": "dbg"}]))
        await world.settle()
        assert key in world.below.copies

    async def test_what_an_added_container_refers_to_is_there_before_it(self, world: World) -> None:
        world.start()
        key = await running(world)
        put_object(world, make_secret())
        (container,) = env_from("secretRef", "login")
        debugger = {**container, "name": "dbg"}
        world.tenant.edit(PODS, key, lambda b: b["spec"].update(ephemeralContainers=[debugger]))
        await world.settle()
        calls = [call[0] for call in world.below.calls]
        login = ObjectRef(key.namespace, ReferenceKind.SECRET, "login")
        put = world.below.calls.index(("put_object", login))
        assert put < calls.index("update")

    async def test_the_next_change_goes_through_without_saying_it_again(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (DEBUGGER,)
        change(world, key, debug="yes")
        await world.settle(120)
        change(world, key, stage="two")
        await world.settle(120)
        assert len(world.below.called("update")) == 2
        (event,) = [b for (p, _), b in world.tenant.objects.items() if p == "events"]
        assert event["count"] == 1

    async def test_a_change_that_is_taken_back_leaves_nothing_pending(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        spec = world.pod(key)["spec"]  # type: ignore[index]
        agent.backend.holds_back = lambda _: (replace(RESIZE, permanent=True),)
        change(world, key)
        await world.settle(1)
        assert world.condition(key, "PodResizePending") is not None
        agent.backend.holds_back = lambda _: ()
        world.tenant.edit(PODS, key, lambda b: b.update(spec=spec))
        await world.settle(1)
        assert world.condition(key, "PodResizePending") is None
        assert world.status(key)["observedGeneration"] == 3

    async def test_a_restart_judges_again(self, world: World) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.holds_back = lambda _: (DEBUGGER,)
        change(world, key, debug="yes")
        await world.settle(1)
        await world.restart()
        await world.settle()
        assert not world.status(key).get("ephemeralContainerStatuses")

    async def test_an_update_that_is_rejected_as_a_whole_is_said_and_mirrored(
        self, world: World
    ) -> None:
        agent = world.start()
        key = await running(world)
        agent.backend.rejects = lambda _: Rejected("the namespace is not forwarded")
        change(world, key, a="b")
        await world.settle(1)
        world.below.end(key)
        await world.settle(1)
        assert world.events() == ["UpdateRejected"]
        assert world.status(key)["phase"] == "Succeeded"
