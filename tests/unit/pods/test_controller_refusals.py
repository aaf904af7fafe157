"""Pods that are rejected, and changes that are held back."""

from dataclasses import replace

import pytest

from tests.builders import UID_1, make_error, make_pod, make_secret
from tests.fakes.client import Body
from tests.unit.pods.acts import DEBUGGER, STATUS, env_from, put_object, running
from tests.unit.pods.world import World
from vnode.backend import (
    BackendError,
    HeldBack,
    ObjectRef,
    ReferenceKind,
    Rejected,
    UpdatePart,
    Waiting,
)
from vnode.kube.resources import PODS, SECRETS
from vnode.kube.types import ObjectKey, OwnerReference
from vnode.pods.forwarding import FORWARD_DAEMON

pytestmark = pytest.mark.looptime


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


RESIZE = HeldBack(UpdatePart.RESIZE, "QuotaExceeded", "exceeded quota: cpu", permanent=False)


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
