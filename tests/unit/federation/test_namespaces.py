"""Which compute namespaces may be used, and since when."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from federation.backends.kubernetes.namespaces import ComputeNamespaces, NamespaceState
from federation.backends.kubernetes.translate.names import (
    ANNOTATION_CLUSTER_UID,
    LABEL_TENANT,
    NamespaceMapping,
    NamespaceMode,
)
from tests.builders import OWNER, make_error, make_metadata
from tests.fakes.client import RecordingClient
from tests.fakes.clock import LoopClock
from vnode.kube.errors import KubeError, Unreachable
from vnode.kube.resources import NAMESPACES
from vnode.kube.types import UID, ObjectKey
from vnode.runtime.backoff import Backoff

pytestmark = pytest.mark.looptime

BELOW = "red--team-a"
LOOK = "get namespaces"
READY = NamespaceState.READY


class Watched:
    """A set of namespaces that nobody really watches."""

    def __init__(self) -> None:
        self.namespaces: list[str] = []

    def add(self, namespace: str) -> None:
        assert namespace not in self.namespaces
        self.namespaces.append(namespace)

    def remove(self, namespace: str) -> None:
        self.namespaces.remove(namespace)

    def error(self, namespace: str) -> None:
        return None

    def suspect(self, key: ObjectKey, uid: UID) -> None:
        raise AssertionError("nothing is deleted")

    async def run(self) -> None:
        raise AssertionError("the backend runs the watches")


class Looking:
    """`ComputeNamespaces` at work."""

    def __init__(self, mapping: NamespaceMapping | None = None) -> None:
        clock = LoopClock()
        self.client = RecordingClient(name="gpu")
        self.watched = [Watched(), Watched()]
        self.namespaces = ComputeNamespaces(
            self.client.client,
            owner=OWNER,
            mapping=mapping or NamespaceMapping("red"),
            watches=self.watched,
            clock=clock,
            backoff=lambda: Backoff(1.0, 60.0, rng=random.Random(1)),
            vacant=lambda _: True,
        )
        self.task = asyncio.ensure_future(self.namespaces.run())

    def prepare(self, name: str = BELOW, *, tenant: str = "red", cluster: str = "") -> None:
        """What `vnode join` or the platform team's manifests do."""
        marks = {ANNOTATION_CLUSTER_UID: cluster} if cluster else {}
        labels = {LABEL_TENANT: tenant}
        self.client.put(
            NAMESPACES, make_metadata(name, namespace="", labels=labels, annotations=marks)
        )

    async def state(self, *, after: float = 0.5) -> NamespaceState:
        self.namespaces.add("team-a")
        await asyncio.sleep(after)
        return self.namespaces.state("team-a")

    @property
    def watches(self) -> list[str]:
        first, second = self.watched
        assert first.namespaces == second.namespaces
        return first.namespaces


@pytest.fixture
async def looking() -> AsyncIterator[Looking]:
    looking = Looking()
    yield looking
    looking.task.cancel()
    await asyncio.wait([looking.task])


async def test_one_that_was_never_mentioned_is_not_forwarded(looking: Looking) -> None:
    assert looking.namespaces.state("x") is NamespaceState.NOT_FORWARDED
    assert not looking.client.calls


async def test_ours_is_watched(looking: Looking) -> None:
    looking.prepare()
    assert await looking.state() is READY
    assert looking.watches == [BELOW]
    assert list(looking.namespaces.ready()) == [BELOW]


async def test_ours_by_cluster_too(looking: Looking) -> None:
    looking.prepare(cluster=OWNER.cluster_uid)
    assert await looking.state() is READY


@pytest.mark.parametrize(
    ("tenant", "cluster"), [("blue", ""), ("", ""), ("red", "another-cluster")]
)
async def test_somebody_else_s_is_refused(looking: Looking, tenant: str, cluster: str) -> None:
    looking.prepare(tenant=tenant, cluster=cluster)
    assert await looking.state() is NamespaceState.FOREIGN
    assert looking.watches == []


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (make_error(404), NamespaceState.MISSING),
        (make_error(403), NamespaceState.FORBIDDEN),
        (make_error(500), NamespaceState.UNKNOWN),
        (make_error(401), NamespaceState.UNKNOWN),
        (make_error(429), NamespaceState.UNKNOWN),
        (Unreachable("cut"), NamespaceState.UNKNOWN),
    ],
)
async def test_what_cannot_be_read_is_told_apart_and_looked_for_until_it_is_ready(
    looking: Looking, error: KubeError, state: NamespaceState
) -> None:
    looking.prepare()
    looking.client.fail(error, LOOK)
    assert await looking.state() is state
    assert looking.watches == []
    await asyncio.sleep(5)
    assert looking.namespaces.state("team-a") is READY
    assert looking.watches == [BELOW]


async def test_looks_become_rarer_but_never_end(looking: Looking) -> None:
    await looking.state(after=600)
    early = len(looking.client.calls)
    assert early <= 20
    await asyncio.sleep(600)
    assert 8 <= len(looking.client.calls) - early <= 15
    looking.prepare()
    await asyncio.sleep(80)
    assert looking.namespaces.state("team-a") is READY


async def test_one_that_is_not_in_the_table_is_not_asked_for() -> None:
    looking = Looking(NamespaceMapping("red", NamespaceMode.MAP, {"team-b": "gpu"}))
    assert await looking.state(after=600) is NamespaceState.UNMAPPED
    assert not looking.client.calls
    looking.task.cancel()
    await asyncio.wait([looking.task])


async def test_those_that_were_mentioned_before_the_start_are_looked_for() -> None:
    looking = Looking()
    looking.prepare()
    looking.namespaces.add("team-a")
    await asyncio.sleep(1)
    assert looking.namespaces.state("team-a") is READY
    looking.task.cancel()
    await asyncio.wait([looking.task])


async def test_mentioning_it_twice_looks_once(looking: Looking) -> None:
    looking.prepare()
    looking.namespaces.add("team-a")
    looking.namespaces.add("team-a")
    await asyncio.sleep(1)
    looks = [call.key.name for call in looking.client.calls]
    assert looks == [BELOW, "kube-system"]  # the second: in which cluster it is


async def test_one_does_not_hold_another_up(looking: Looking) -> None:
    looking.prepare("red--team-b")
    looking.namespaces.add("team-a")
    looking.namespaces.add("team-b")
    await asyncio.sleep(1)
    assert looking.namespaces.state("team-b") is READY
    assert looking.namespaces.state("team-a") is NamespaceState.MISSING


class TestOnceReady:
    @staticmethod
    async def ready(looking: Looking) -> Looking:
        looking.prepare()
        assert await looking.state() is READY
        return looking

    async def test_one_that_was_given_to_somebody_else_is_left(self, looking: Looking) -> None:
        ready = await self.ready(looking)
        ready.prepare(tenant="blue")
        await asyncio.sleep(400)
        assert ready.namespaces.state("team-a") is NamespaceState.FOREIGN
        assert ready.watches == []

    async def test_one_that_is_gone_is_left_after_several_looks(self, looking: Looking) -> None:
        ready = await self.ready(looking)
        ready.client.drop(NAMESPACES, ObjectKey("", BELOW))
        await asyncio.sleep(310)
        assert ready.namespaces.state("team-a") is READY
        await asyncio.sleep(300)
        assert ready.namespaces.state("team-a") is NamespaceState.MISSING
        assert ready.watches == []

    @pytest.mark.parametrize("code", [403, 404])
    async def test_an_api_server_that_just_started_is_not_believed_at_once(
        self, looking: Looking, code: int
    ) -> None:
        ready = await self.ready(looking)
        ready.client.fail(make_error(code), LOOK, times=2)
        await asyncio.sleep(1200)
        assert ready.namespaces.state("team-a") is READY
        assert ready.watches == [BELOW]

    async def test_silence_changes_nothing(self, looking: Looking) -> None:
        ready = await self.ready(looking)
        ready.client.fail(Unreachable("cut"), LOOK, times=100)
        await asyncio.sleep(3600)
        assert ready.namespaces.state("team-a") is READY

    async def test_one_that_comes_back_is_watched_again(self, looking: Looking) -> None:
        ready = await self.ready(looking)
        ready.client.drop(NAMESPACES, ObjectKey("", BELOW))
        await asyncio.sleep(900)
        ready.prepare()
        await asyncio.sleep(120)
        assert ready.namespaces.state("team-a") is READY
        assert ready.watches == [BELOW]

    async def test_another_of_the_same_name_has_another_identity(self, looking: Looking) -> None:
        ready = await self.ready(looking)
        before = ready.namespaces.identity("team-a").namespace
        assert before
        ready.client.drop(NAMESPACES, ObjectKey("", BELOW))
        ready.client.put(
            NAMESPACES,
            make_metadata(BELOW, namespace="", uid="another", labels={LABEL_TENANT: "red"}),
        )
        await asyncio.sleep(400)
        assert ready.namespaces.identity("team-a").namespace == "another"


def test_states_are_texts_for_users_without_compute_names() -> None:
    assert all("--" not in state.value for state in NamespaceState)
