import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.unit.kubelet.conftest import Kubelet
from tests.unit.kubelet.fakes import FakeBackend, chunks, make_observed, make_pod
from vnode.backend import LogOptions, ObservedPod, StreamError
from vnode.kube.types import ObjectKey, Pod
from vnode.kubelet.logs import last_words
from vnode.kubelet.logs.last_words import LastWords
from vnode.runtime.store import Store

pytestmark = pytest.mark.looptime

KEY = ObjectKey("team", "web")
LINE = b"2026-11-23T01:00:00Z saving\n"


class World:
    """Copies that go, and what is kept of them."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.backend.log = lambda _options: chunks(LINE)
        self.pods: Store[Pod] = Store("pods")
        self.words = LastWords(self.backend.as_backend(), self.pods)

    def put(self, pod: Pod) -> Pod:
        self.pods.upsert(pod)
        return pod

    def leave(self, pod: Pod, *, grace: int | None = 30) -> ObservedPod:
        handle = f"below-{pod.metadata.name}-{pod.metadata.uid}"
        copy = replace(make_observed(pod), handle=handle, deleting=True, grace_seconds=grace)
        self.backend.copies[copy.key] = copy
        self.words.leaving(pod, copy)
        return copy

    @contextmanager
    def running(self) -> Iterator[None]:
        task = asyncio.create_task(self.words.run())
        try:
            yield
        finally:
            task.cancel()


@pytest.fixture
def world() -> World:
    return World()


async def test_the_last_lines_of_all_containers_are_kept(world: World) -> None:
    pod = world.put(make_pod(containers=("main", "side"), init=("first",), ephemeral=("probe",)))
    with world.running():
        world.leave(pod)
        await asyncio.sleep(1)
    for container in ("main", "side", "first", "probe"):
        assert world.words.text(KEY, container) == LINE
    assert world.words.text(KEY, "another") is None
    assert world.backend.log_options[0] == LogOptions(
        container="main", follow=True, timestamps=True, tail_lines=500
    )


async def test_a_copy_is_read_once_however_often_it_is_told_of(world: World) -> None:
    pod = world.put(make_pod())
    with world.running():
        for _ in range(3):
            world.leave(pod)
        await asyncio.sleep(1)
        world.leave(pod)
        await asyncio.sleep(1)
    assert len(world.backend.log_options) == 1


async def test_what_is_said_during_the_grace_period_is_kept_and_the_wait_is_bounded(
    world: World,
) -> None:
    async def endless(_options: LogOptions) -> AsyncIterator[bytes]:
        while True:
            yield LINE
            await asyncio.sleep(10)

    world.backend.log = endless
    pod = world.put(make_pod())
    with world.running():
        world.leave(pod, grace=25)
        await asyncio.sleep(54)
        assert world.words.text(KEY, "main") is None
        await asyncio.sleep(2)
        assert world.words.text(KEY, "main") == LINE * 6


@pytest.mark.parametrize("error", [StreamError("gone", code=404), RuntimeError("a bug")])
async def test_a_log_that_breaks_leaves_what_was_read(world: World, error: Exception) -> None:
    world.backend.log = lambda _options: chunks(LINE, error=error)
    pod = world.put(make_pod())
    with world.running():
        world.leave(pod)
        await asyncio.sleep(1)
        assert world.words.text(KEY, "main") == LINE


async def test_of_a_long_log_whole_lines_of_the_end_are_kept(world: World) -> None:
    lines = b"".join(b"2026-11-23T01:00:00Z line %d\n" % number for number in range(50_000))
    world.backend.log = lambda _options: chunks(
        *(lines[start : start + 7001] for start in range(0, len(lines), 7001))
    )
    pod = world.put(make_pod())
    with world.running():
        world.leave(pod)
        await asyncio.sleep(1)
    text = world.words.text(KEY, "main")
    assert text is not None
    assert lines.endswith(text)
    assert last_words.CONTAINER - 100 < len(text) <= last_words.CONTAINER
    assert text.startswith(b"2026-")


async def test_what_is_kept_goes_with_the_tenant_pod(world: World) -> None:
    pod = world.put(make_pod())
    with world.running():
        world.leave(pod)
        await asyncio.sleep(1)
        world.put(replace_status(pod))
        assert world.words.text(KEY, "main") == LINE
        world.pods.remove(KEY)
        assert world.words.text(KEY, "main") is None


async def test_a_namesake_does_not_get_the_words_of_another(world: World) -> None:
    pod = world.put(make_pod())
    with world.running():
        world.leave(pod)
        await asyncio.sleep(1)
        world.put(make_pod(uid="uid-2"))
        assert world.words.text(KEY, "main") is None


async def test_the_oldest_go_when_too_much_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_words, "TOTAL", 2 * len(LINE))
    with world.running():
        for name in ("a", "b", "c"):
            world.leave(world.put(make_pod(name, uid=name)))
            await asyncio.sleep(1)
    kept = [world.words.text(ObjectKey("team", name), "main") for name in ("a", "b", "c")]
    assert kept == [None, LINE, LINE]


async def test_only_so_many_copies_are_read_at_once(world: World) -> None:
    async def slow(_options: LogOptions) -> AsyncIterator[bytes]:
        await asyncio.sleep(10)
        yield LINE

    world.backend.log = slow
    with world.running():
        for number in range(2000):
            world.leave(world.put(make_pod(f"p{number}", uid=f"u{number}")))
        await asyncio.sleep(5)
        assert len(world.backend.log_options) == last_words.READERS
        await asyncio.sleep(1000)
        assert len(world.backend.log_options) == last_words.WAITING


@pytest.mark.parametrize("now", ["replaced", "gone", "forgotten"])
async def test_a_copy_that_went_while_it_waited_is_not_asked_for_by_its_name(
    world: World, now: str
) -> None:
    pod = world.put(make_pod())
    copy = world.leave(pod)
    del world.backend.copies[KEY]
    if now == "replaced":
        world.backend.copies[KEY] = replace(copy, handle="below-another")
    elif now == "gone":
        world.backend.copies[KEY] = replace(copy, gone=True)
    with world.running():
        await asyncio.sleep(100)
    assert world.backend.log_options == []
    assert world.words.text(KEY, "main") is None


def replace_status(pod: Pod) -> Pod:
    return make_pod(pod.metadata.name, uid=pod.metadata.uid, containers=("main",))


@pytest.mark.looptime(False)
async def test_kubectl_logs_shows_them_when_there_is_no_copy_to_ask(kubelet: Kubelet) -> None:
    pods: Store[Pod] = Store("pods")
    words = LastWords(kubelet.backend.as_backend(), pods)
    pod = make_pod()
    pods.upsert(pod)
    kubelet.backend.log = lambda _options: chunks(b"2026-11-23T01:00:00Z working\n", LINE)
    reading = asyncio.create_task(words.run())
    kubelet.backend.copies[KEY] = make_observed(pod)
    words.leaving(pod, make_observed(pod))
    for _ in range(20):
        await asyncio.sleep(0)
    reading.cancel()
    kubelet.server._logs._last_words = words
    kubelet.pods.not_started.add(KEY)
    path = "/containerLogs/team/web/main"
    assert await kubelet.ask(path) == (200, "working\nsaving\n")
    assert await kubelet.ask(f"{path}?tailLines=1&follow=true") == (200, "saving\n")
    assert (await kubelet.ask(f"{path}?previous=true"))[0] == 400
    assert (await kubelet.ask("/containerLogs/team/web/none"))[0] == 400
