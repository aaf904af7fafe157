"""ConfigMaps and Secrets that pods refer to: below while somebody uses them, and no longer."""

import asyncio
import random
from collections.abc import Iterable

import pytest

from tests.builders import (
    UID_1,
    UID_2,
    make_config_map,
    make_metadata,
    make_pod,
    make_request,
    make_secret,
)
from tests.fakes.backend import UNREACHABLE, Below, FakeBackend
from tests.fakes.client import RecordingClient
from tests.unit.pods.world import World
from vnode.backend import SERVICE_VARIABLES, ObjectRef, Reference, ReferenceKind, Waiting
from vnode.kube.resources import CONFIG_MAPS, NAMESPACES, SECRETS, Resource
from vnode.kube.types import ConfigMap, ObjectKey, PartialObject, Pod, Secret
from vnode.pods.objects.copies import Missing, ReferencedObjects
from vnode.pods.objects.references import ReferenceUse, references
from vnode.pods.objects.service_env import Service, ServicePort, ServiceSpec
from vnode.pods.objects.service_variables import ServiceVariables, service_store
from vnode.runtime.store import Store
from vnode.runtime.workqueue import WorkQueue

KEY = ObjectKey("team-a", "job-0")
SETTINGS = ObjectRef("team-a", ReferenceKind.CONFIG_MAP, "settings")
VARIABLES = ObjectRef("team-a", *SERVICE_VARIABLES)
LOGIN = ObjectRef("team-a", ReferenceKind.SECRET, "login")


class Copies:
    """`ReferencedObjects` with the stores around it, without queue workers."""

    def __init__(self) -> None:
        self.client = RecordingClient()
        self.below = Below()
        self.backend = FakeBackend(self.below)
        self.pods: Store[Pod] = Store("pods")
        self.stores = {kind: Store[PartialObject](str(kind)) for kind in ReferenceKind}
        self.service_store = service_store("services")
        self.services = ServiceVariables(self.service_store, {})
        self.queue: WorkQueue[ObjectRef] = WorkQueue("objects", rng=random.Random(1))
        self.synced = True
        self.objects = ReferencedObjects(
            self.client.client,
            self.backend.backend,
            metadata=self.stores,
            services=self.services,
            queue=self.queue,
            pods_synced=lambda: self.synced,
        )
        self.pods.subscribe(self.objects.pod_changed)

    def put(self, body: ConfigMap | Secret) -> None:
        """The object is in the tenant, and the watch has said so."""
        secret = isinstance(body, Secret)
        resource: Resource = SECRETS if secret else CONFIG_MAPS
        stored = self.client.put(resource, body)
        kind = ReferenceKind.SECRET if secret else ReferenceKind.CONFIG_MAP
        metadata = stored["metadata"]
        self.stores[kind].upsert(
            make_metadata(
                metadata["name"], uid=metadata["uid"], version=int(metadata["resourceVersion"])
            )
        )

    def vanish(self, name: str) -> None:
        """A ConfigMap is deleted in the tenant, and the watch has said so."""
        self.client.drop(CONFIG_MAPS, ObjectKey("team-a", name))
        self.stores[ReferenceKind.CONFIG_MAP].remove(ObjectKey("team-a", name))

    def run(self, name: str) -> None:
        """A pod has a copy below."""
        pod = self.pods.get(ObjectKey("team-a", name))
        assert pod is not None
        self.below.create(make_request(pod))
        self.backend.start()

    def use(self, *refs: str, name: str = "job-0", uid: str = UID_1, optional: bool = False) -> Pod:
        """A pod that takes its environment from ConfigMaps of these names."""
        sources = [{"configMapRef": {"name": ref, "optional": optional}} for ref in refs]
        container = {"name": "main", "image": "i", "envFrom": sources}
        pod = make_pod(name, uid=uid, containers=[container])
        self.pods.upsert(pod)
        return pod

    def serve(self, name: str, *, namespace: str = "team-a", ip: str = "10.0.0.5") -> None:
        """A Service is in the tenant, and the watch has said so."""
        spec = ServiceSpec(ip, [ServicePort(port=80)])
        metadata = make_metadata(name, namespace=namespace).metadata
        self.service_store.upsert(Service(metadata=metadata, spec=spec))

    async def ensure(self, pod: Pod) -> list[Missing]:
        return await self.objects.ensure(pod.metadata.key, references(pod.spec))

    def puts(self, ref: ObjectRef = SETTINGS) -> int:
        """How often an object was written below."""
        return self.below.calls.count(("put_object", ref))

    async def work(self) -> None:
        """Reconcile what is queued."""
        while self.queue.statistics().depth:
            ref = await self.queue.get()
            await self.objects.reconcile(ref)
            self.queue.done(ref)

    def remembered(self) -> int:
        """How many things are kept in memory."""
        held = vars(self.objects).values()
        return sum(len(value) for value in held if isinstance(value, dict)) - len(self.stores)


@pytest.fixture
async def copies() -> Copies:
    return Copies()


def use(kind: ReferenceKind, name: str, *, optional: bool, keys: Iterable[str]) -> ReferenceUse:
    return ReferenceUse(Reference(kind, name), optional, frozenset(keys), "spec.volumes[0]")


class TestBringing:
    async def test_a_hundred_pods_fetch_and_put_it_once(self, copies: Copies) -> None:
        copies.put(make_config_map())
        pods = [copies.use("settings", name=f"job-{n}") for n in range(100)]
        await asyncio.gather(*(copies.ensure(pod) for pod in pods))
        assert copies.client.names() == ["get configmaps"]
        assert copies.puts() == copies.puts(VARIABLES) == 1

    async def test_a_new_version_is_fetched_and_put_once(self, copies: Copies) -> None:
        copies.put(make_config_map(mode="slow"))
        await copies.ensure(copies.use("settings"))
        await copies.work()
        copies.put(make_config_map(mode="fast"))
        await copies.work()
        body = copies.below.objects[SETTINGS]
        assert body.data == {"mode": "fast"}
        assert len(copies.client.calls) == 2

    async def test_versions_of_objects_nobody_uses_are_not_fetched(self, copies: Copies) -> None:
        copies.put(make_config_map())
        copies.put(make_secret())
        await copies.work()
        assert not copies.client.calls

    async def test_a_copy_from_an_earlier_life_is_not_fetched_again(self, copies: Copies) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        again = Copies()
        again.client, again.below = copies.client, copies.below
        again.stores[ReferenceKind.CONFIG_MAP] = copies.stores[ReferenceKind.CONFIG_MAP]
        objects = ReferencedObjects(
            copies.client.client,
            FakeBackend(copies.below).backend,
            metadata=copies.stores,
            services=copies.services,
            queue=again.queue,
            pods_synced=lambda: True,
        )
        assert await objects.ensure(KEY, references(copies.use("settings").spec)) == []
        assert len(copies.client.calls) == 1

    async def test_its_keys_are_read_again_but_it_is_not_written_again(
        self, copies: Copies
    ) -> None:
        copies.put(make_config_map(mode="a"))
        await copies.ensure(copies.use("settings"))
        later = ReferencedObjects(
            copies.client.client,
            FakeBackend(copies.below).backend,
            metadata=copies.stores,
            services=copies.services,
            queue=copies.queue,
            pods_synced=lambda: True,
        )
        needs = use(ReferenceKind.CONFIG_MAP, "settings", optional=False, keys=["mode"])
        assert await later.ensure(KEY, [needs]) == []
        assert copies.puts() == 1

    async def test_what_the_watch_does_not_know_yet_is_asked_for(self, copies: Copies) -> None:
        copies.client.put(CONFIG_MAPS, make_config_map())
        assert await copies.ensure(copies.use("settings")) == []
        assert SETTINGS in copies.below.objects

    async def test_what_the_compute_side_refuses_is_raised_and_tried_again(
        self, copies: Copies
    ) -> None:
        copies.put(make_config_map())
        copies.below.fail("put_object", error=UNREACHABLE)
        pod = copies.use("settings")
        with pytest.raises(Waiting):
            await copies.ensure(pod)
        assert await copies.ensure(pod) == []
        assert SETTINGS in copies.below.objects

    async def test_what_no_copy_needs_does_not_travel(self, copies: Copies) -> None:
        copies.use("settings")
        copies.put(make_config_map())
        await copies.work()
        assert not copies.below.objects
        assert not copies.client.calls

    async def test_what_vanishes_below_while_a_copy_is_being_made_is_put_again(
        self, copies: Copies
    ) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        del copies.below.objects[SETTINGS]
        await copies.objects.reconcile(SETTINGS)
        assert SETTINGS in copies.below.objects

    async def test_what_comes_later_reaches_pods_that_run_without_it(self, copies: Copies) -> None:
        await copies.ensure(copies.use("settings", optional=True))
        copies.run("job-0")
        copies.put(make_config_map())
        await copies.work()
        assert SETTINGS in copies.below.objects

    async def test_a_change_while_it_is_being_put_is_not_lost(
        self, copies: Copies, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put, working = copies.backend.put_object, []

        async def slow_put(ref: ObjectRef, body: ConfigMap | Secret) -> None:
            if body.data == {"mode": "old"}:
                copies.put(make_config_map(mode="new"))
                working.append(asyncio.ensure_future(copies.work()))
                for _ in range(10):
                    await asyncio.sleep(0)
            await put(ref, body)

        monkeypatch.setattr(copies.backend, "put_object", slow_put)
        copies.put(make_config_map(mode="old"))
        await copies.ensure(copies.use("settings"))
        await asyncio.gather(*working)
        assert copies.below.objects[SETTINGS].data == {"mode": "new"}


class TestServiceVariables:
    async def test_they_are_below_before_the_pod(self, copies: Copies) -> None:
        copies.serve("db")
        await copies.ensure(copies.use())
        assert copies.below.objects[VARIABLES].data["DB_SERVICE_HOST"] == "10.0.0.5"

    async def test_a_service_that_comes_later_is_added_for_containers_that_start_later(
        self, copies: Copies
    ) -> None:
        await copies.ensure(copies.use())
        copies.serve("db")
        await copies.work()
        assert "DB_SERVICE_HOST" in copies.below.objects[VARIABLES].data

    async def test_a_service_without_variables_writes_nothing(self, copies: Copies) -> None:
        await copies.ensure(copies.use())
        copies.serve("headless", ip="None")
        await copies.work()
        assert copies.puts(VARIABLES) == 1

    async def test_pods_of_other_namespaces_do_not_see_it(self, copies: Copies) -> None:
        await copies.ensure(copies.use())
        copies.serve("db", namespace="team-b")
        await copies.work()
        assert not copies.below.objects[VARIABLES].data

    async def test_they_go_with_the_last_pod(self, copies: Copies) -> None:
        pod = copies.use()
        await copies.ensure(pod)
        copies.pods.remove(pod.metadata.key)
        await copies.work()
        assert not copies.below.objects

    async def test_nobody_listens_after_the_end(self, copies: Copies) -> None:
        await copies.ensure(copies.use())
        await copies.work()
        copies.objects.close()
        copies.serve("db")
        assert copies.queue.statistics().depth == 0


class TestMissing:
    @pytest.mark.parametrize("kind", list(ReferenceKind))
    @pytest.mark.parametrize(("optional", "need"), [(True, "Optional"), (False, "Mandatory")])
    async def test_objects_and_keys_are_named_as_virtual_kubelet_does(
        self, copies: Copies, kind: ReferenceKind, optional: bool, need: str
    ) -> None:
        copies.put(make_config_map("there"))
        copies.put(make_secret("there"))
        missing = await copies.objects.ensure(
            KEY,
            [
                use(kind, "away", optional=optional, keys=["k"]),
                use(kind, "there", optional=optional, keys=["mode", "password", "x"]),
            ],
        )
        assert [m.reason for m in missing] == [
            f"{need}{kind}NotFound",
            *[f"{need}{kind}KeyNotFound"] * 2,
        ]
        assert missing[0].message == f'{kind} "away" not found (spec.volumes[0])'
        assert missing[2].message == f'key "x" of {kind} "there" not found (spec.volumes[0])'

    async def test_binary_data_counts(self, copies: Copies) -> None:
        body = ConfigMap(metadata=make_metadata().metadata, binary_data={"blob": "AA=="})
        copies.put(body)
        needs = use(ReferenceKind.CONFIG_MAP, "settings", optional=False, keys=["blob"])
        assert await copies.objects.ensure(KEY, [needs]) == []

    async def test_a_key_that_is_added_later_is_found(self, copies: Copies) -> None:
        copies.put(make_config_map(mode="a"))
        needs = use(ReferenceKind.CONFIG_MAP, "settings", optional=False, keys=["late"])
        assert await copies.objects.ensure(KEY, [needs])
        copies.put(make_config_map(mode="a", late="b"))
        assert await copies.objects.ensure(KEY, [needs]) == []

    async def test_pods_that_wait_for_it_hear_of_its_coming(self, copies: Copies) -> None:
        woken: list[ObjectKey] = []
        copies.objects.subscribe(woken.append)
        await copies.ensure(copies.use("settings"))
        assert woken == []
        copies.put(make_config_map())
        assert woken == [KEY]


class TestDropping:
    async def test_it_goes_with_its_last_user(self, copies: Copies) -> None:
        copies.put(make_config_map())
        first, last = copies.use("settings", name="a"), copies.use("settings", name="b")
        await copies.ensure(first)
        copies.pods.remove(first.metadata.key)
        await copies.work()
        assert SETTINGS in copies.below.objects
        copies.pods.remove(last.metadata.key)
        await copies.work()
        assert SETTINGS not in copies.below.objects

    async def test_a_pod_that_no_longer_refers_to_it_is_no_user(self, copies: Copies) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        copies.pods.upsert(make_pod(version=2))
        await copies.work()
        assert SETTINGS not in copies.below.objects

    async def test_a_successor_of_the_same_name_is_a_user(self, copies: Copies) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        await copies.work()
        copies.pods.remove(KEY)
        copies.use("settings", uid=UID_2)
        await copies.work()
        assert copies.below.called("drop_object") == []

    async def test_nothing_goes_before_all_pods_are_known(self, copies: Copies) -> None:
        copies.below.objects[SETTINGS] = make_config_map()
        copies.synced = False
        result = await copies.objects.reconcile(SETTINGS)
        assert SETTINGS in copies.below.objects
        assert result.requeue_after is not None
        copies.synced = True
        await copies.objects.reconcile(SETTINGS)
        assert SETTINGS not in copies.below.objects

    async def test_an_object_that_vanished_in_the_tenant_stays_for_its_users(
        self, copies: Copies
    ) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        copies.vanish("settings")
        await copies.work()
        assert SETTINGS in copies.below.objects

    async def test_one_that_is_optional_to_all_of_them_goes_as_on_any_node(
        self, copies: Copies
    ) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings", name="a", optional=True))
        await copies.ensure(copies.use("settings", name="b", optional=True))
        copies.vanish("settings")
        await copies.work()
        assert SETTINGS not in copies.below.objects
        copies.put(make_config_map(mode="again"))
        copies.run("a")
        await copies.work()
        assert copies.below.objects[SETTINGS].data == {"mode": "again"}

    async def test_one_that_somebody_needs_stays_for_those_who_do_not(self, copies: Copies) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings", name="a", optional=True))
        await copies.ensure(copies.use("settings", name="b"))
        copies.vanish("settings")
        await copies.work()
        assert SETTINGS in copies.below.objects

    async def test_a_pod_that_comes_while_it_goes_gets_it_again(self, copies: Copies) -> None:
        copies.put(make_config_map())
        await copies.ensure(copies.use("settings"))
        await copies.work()
        copies.pods.remove(KEY)
        dropping = asyncio.ensure_future(copies.objects.reconcile(SETTINGS))
        await asyncio.sleep(0)
        pods = [copies.use("settings", name=f"new-{n}") for n in range(20)]
        await asyncio.gather(dropping, *(copies.ensure(pod) for pod in pods))
        await copies.work()
        assert SETTINGS in copies.below.objects
        assert copies.puts() == 2

    async def test_nothing_is_remembered_of_pods_that_are_gone(self, copies: Copies) -> None:
        start = copies.remembered()
        for number in range(50):
            copies.put(make_config_map(f"c-{number}"))
            pod = copies.use(f"c-{number}", f"away-{number}", name=f"job-{number}")
            await copies.ensure(pod)
            await copies.work()
            copies.pods.remove(pod.metadata.key)
            await copies.work()
        assert not copies.below.objects
        assert copies.remembered() == start


@pytest.mark.looptime
class TestOverTime:
    POD = make_pod(
        containers=[
            {"name": "main", "image": "i", "envFrom": [{"configMapRef": {"name": "settings"}}]}
        ]
    )

    async def running(self, world: World) -> None:
        world.start()
        world.tenant.put(CONFIG_MAPS, make_config_map(mode="old"))
        await world.settle(1)
        world.create(self.POD)
        await world.settle(2)
        world.below.start(KEY)
        await world.settle(2)

    async def test_a_change_reaches_running_pods(self, world: World) -> None:
        await self.running(world)
        world.tenant.put(CONFIG_MAPS, make_config_map(mode="new"))
        await world.settle(1)
        assert world.below.objects[SETTINGS].data == {"mode": "new"}

    async def test_a_change_that_the_agent_missed_reaches_them_when_it_is_back(
        self, world: World
    ) -> None:
        await self.running(world)
        await world.stop()
        world.tenant.put(CONFIG_MAPS, make_config_map(mode="new"))
        world.start()
        await world.settle(5)
        assert world.below.objects[SETTINGS].data == {"mode": "new"}

    async def test_a_copy_that_somebody_removed_comes_back(self, world: World) -> None:
        await self.running(world)
        await world.stop()
        world.below.objects.clear()
        world.start()
        await world.settle(5)
        assert SETTINGS in world.below.objects

    async def test_a_failed_change_is_tried_again(self, world: World) -> None:
        await self.running(world)
        world.below.fail("put_object", error=UNREACHABLE)
        world.tenant.put(CONFIG_MAPS, make_config_map(mode="new"))
        await world.settle(60)
        assert world.below.objects[SETTINGS].data == {"mode": "new"}

    async def test_it_goes_with_the_pod_and_not_before(self, world: World) -> None:
        await self.running(world)
        world.delete(KEY)
        await world.settle(60)
        assert SETTINGS in world.below.objects
        world.below.finish_deletion(KEY)
        await world.settle(2)
        assert SETTINGS not in world.below.objects

    @pytest.mark.parametrize("restarted", [False, True])
    async def test_it_stays_for_a_copy_whose_tenant_pod_is_gone_and_goes_with_that(
        self, world: World, restarted: bool
    ) -> None:
        await self.running(world)
        # Another cluster answers where the tenant was: the copy is held.
        world.tenant.put(NAMESPACES, {"metadata": {"name": "kube-system", "uid": "another"}})
        world.delete(KEY, grace=0)
        await world.settle(60)
        if restarted:
            await world.restart()
            await world.settle(60)
        assert SETTINGS in world.below.objects
        world.below.evict(KEY)
        await world.settle(0.1)
        assert not world.below.objects

    async def test_leftovers_of_an_earlier_life_are_cleaned_up(self, world: World) -> None:
        world.below.objects[LOGIN] = make_secret()
        world.start()
        await world.settle(5)
        assert not world.below.objects
