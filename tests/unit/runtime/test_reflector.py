"""The reflector against a peer that does everything that can go wrong."""

import asyncio
import json
import random
import time

import pytest
import structlog

from tests.unit.runtime.mirrors import QUICK, eventually, mirror
from tests.unit.runtime.scripted_server import (
    Reply,
    ScriptedServer,
    bookmark,
    connect,
    error_event,
    page,
    pod,
    status,
    watch,
)
from vnode.kube.errors import ServerError, TooManyRequests, Unreachable
from vnode.kube.resources import PODS
from vnode.kube.types import ObjectKey, PartialObject, Pod
from vnode.runtime.clock import SystemClock
from vnode.runtime.reflector import Reflector
from vnode.runtime.reflector_set import ReflectorSet
from vnode.runtime.store import Store


async def test_pages_are_listed_consistently_and_watched_from_their_version() -> None:
    script = (
        page(pod("a", 1), pod("b", 2), version=9, continue_="more"),
        page(pod("c", 3), version=9),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.reflector.wait_synced()
        assert it.names() == ["a", "b", "c"]
        assert it.store.synced()
        assert all(change.initial for change in it.changes)
        watching = await server.arrived(3)
        first, second = server.requests[:2]
    assert (first.query["limit"], "resourceVersion" in first.query) == ("2", False)
    assert second.query["continue"] == "more"
    assert watching.query["resourceVersion"] == "9"
    assert watching.query["allowWatchBookmarks"] == "true"
    assert 290 <= int(watching.query["timeoutSeconds"]) <= 580


async def test_live_events_change_the_store() -> None:
    events = (
        ("ADDED", pod("b", 11)),
        ("MODIFIED", pod("a", 12, node="n2")),
        ("DELETED", pod("b", 13)),
    )
    script = (page(pod("a", 1), version=9), watch(*events))
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: len(it.changes) == 4)
        kept = it.store.get(ObjectKey("ns", "a"))
    assert it.names() == ["a"]
    assert kept is not None
    assert json.loads(bytes(kept.spec)) == {"nodeName": "n2"}
    assert [change.initial for change in it.changes] == [True, False, False, False]


@pytest.mark.parametrize(
    "gone",
    [
        status(410, "too old", reason="Expired"),
        watch(error_event(410, "too old", reason="Expired"), end="ordinary"),
    ],
    ids=["as answer", "as event"],
)
async def test_a_version_that_is_too_old_leads_to_a_listing_that_is_compared(gone: Reply) -> None:
    script = (
        page(pod("a", 1), pod("b", 2), version=9),
        gone,
        page(pod("b", 2), pod("c", 20), version=30),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await server.arrived(4)
        changes = [(c.key.name, c.old is None, c.new is None) for c in it.changes[2:]]
        last = server.requests[3]
        statistics = it.reflector.statistics()
    assert changes == [("c", True, False), ("a", False, True)]
    assert last.query["resourceVersion"] == "30"
    assert (statistics.gone, statistics.lists) == (1, 2)


async def test_the_store_keeps_everything_while_a_new_listing_is_under_way() -> None:
    script = (page(pod("a", 1), version=9), status(410, "too old"))
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await server.arrived(3)
        assert it.names() == ["a"]


async def test_a_cut_watch_continues_where_it_ended() -> None:
    script = (
        page(pod("a", 1), version=9),
        watch(("ADDED", pod("b", 14)), end="cut"),
        page(version=14),
        watch(("ADDED", pod("c", 15))),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.names() == ["a", "b", "c"])
        question, again = server.requests[2:4]
        await it.until(lambda: it.reflector.last_error is None)
    assert question.query["limit"] == "1"
    assert again.query["resourceVersion"] == "14"


@pytest.mark.parametrize("end", ["cut", "ordinary"])
async def test_half_a_line_at_the_end_is_dropped_and_comes_again(end: str) -> None:
    whole = json.dumps({"type": "ADDED", "object": pod("b", 14)}).encode()
    script = (
        page(pod("a", 1), version=9),
        Reply(chunks=(whole[:40],), end="cut" if end == "cut" else "ordinary"),
        *([page(version=9)] if end == "cut" else []),  # whether it still knows that version
        Reply(chunks=(whole[:40], whole[40:] + b"\n"), end="hang"),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.names() == ["a", "b"])
        again = server.requests[-1]
    assert again.query["resourceVersion"] == "9"


async def test_retry_after_of_a_429_is_waited_for() -> None:
    refusal = status(429, "slow down", **{"Retry-After": "1"})
    async with ScriptedServer(refusal, page(version=9)) as server, mirror(server) as it:
        await server.arrived(1)
        began = time.monotonic()
        await it.until(lambda: it.reflector.last_error is not None)
        assert isinstance(it.reflector.last_error, TooManyRequests)
        await server.arrived(2)
        waited = time.monotonic() - began
        await it.until(lambda: it.reflector.last_error is None)
    assert 0.95 <= waited < 1.6


@pytest.mark.parametrize(("code", "advice"), [(401, "valid credential"), (403, "list and watch")])
async def test_a_refusal_is_one_line_that_says_what_the_operator_can_do(
    code: int, advice: str
) -> None:
    refusal = status(code, "no")
    with structlog.testing.capture_logs() as logs:
        async with (
            ScriptedServer(refusal, refusal, page(version=9)) as server,
            mirror(server) as it,
        ):
            await it.until(lambda: it.reflector.statistics().lists == 1)
    (told,) = [line for line in logs if line["log_level"] == "warning"]
    assert advice in told["advice"]


@pytest.mark.parametrize("code", [200, 404, 502])
async def test_a_page_of_a_proxy_instead_of_the_api_is_an_error_and_deletes_nothing(
    code: int,
) -> None:
    html = Reply(
        status=code, headers={"Content-Type": "text/html"}, chunks=(b"<html>\n<b>oops</b>\n",)
    )
    known = page(pod("a", 1), version=9)
    script = (known, html, known, watch(("ADDED", pod("b", 14))))
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.reflector.statistics().failures == 1)
        assert isinstance(it.reflector.last_error, ServerError)
        assert "oops" not in str(it.reflector.last_error)
        await it.until(lambda: it.names() == ["a", "b"])
        assert server.requests[3].query["resourceVersion"] == "9"


async def test_a_silent_peer_is_given_up_after_the_deadline_and_a_bookmark_postpones_it() -> None:
    script = (
        page(pod("a", 1), version=9),
        watch(bookmark(21)),
        page(version=21),
        watch(("ADDED", pod("b", 22))),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await server.arrived(2)
        began = time.monotonic()
        question = await server.arrived(3)
        waited = time.monotonic() - began
        await it.until(lambda: it.names() == ["a", "b"])
        assert it.reflector.statistics().lists == 1
    assert question.query["limit"] == "1"
    assert server.requests[3].query["resourceVersion"] == "21"
    assert QUICK.silence * 0.8 <= waited < 1


async def test_a_peer_that_is_dead_for_good_is_an_error_after_silence() -> None:
    async with ScriptedServer(page(version=9), watch()) as server, mirror(server) as it:
        await it.reflector.wait_synced()
        assert it.reflector.last_error is None
        await it.until(lambda: it.reflector.last_error is not None)
        assert isinstance(it.reflector.last_error, Unreachable)


async def test_a_peer_that_never_answers_a_listing_is_unreachable() -> None:
    async with ScriptedServer() as server, mirror(server) as it:
        await it.until(lambda: it.reflector.last_error is not None)
        assert isinstance(it.reflector.last_error, Unreachable)
        assert not it.store.synced()
        await server.arrived(2)


async def test_an_error_event_is_a_failure_and_the_watch_goes_on_from_its_version() -> None:
    script = (
        page(pod("a", 1), version=9),
        watch(bookmark(12), error_event(500, "etcd leader changed"), end="ordinary"),
        page(version=12),
        watch(("ADDED", pod("b", 14))),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.names() == ["a", "b"])
        statistics = it.reflector.statistics()
    assert server.requests[3].query["resourceVersion"] == "12"
    assert (statistics.failures, statistics.lists) == (1, 1)


async def test_a_listing_that_expires_in_the_middle_is_begun_again() -> None:
    script = (
        page(pod("a", 1), pod("b", 2), version=9, continue_="more"),
        status(410, "continue token expired", reason="Expired"),
        page(pod("b", 2), pod("c", 31), version=40),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.reflector.wait_synced()
        assert it.names() == ["b", "c"]
        await server.arrived(4)
    assert "continue" not in server.requests[2].query


async def test_a_peer_that_ends_every_watch_at_once_makes_no_hot_loop() -> None:
    endless = [watch(bookmark(9), end="ordinary") for _ in range(500)]
    async with ScriptedServer(page(version=9), *endless) as server, mirror(server) as it:
        await server.arrived(2)
        await asyncio.sleep(0.5)
        watches = it.reflector.statistics().watches
        assert it.reflector.last_error is None
    # The waiting times are 10, 20, 40, 40, ... ms.
    assert 5 <= watches <= 25


async def test_watches_that_keep_being_refused_lead_to_a_new_listing() -> None:
    refusals = [status(504, "Too large resource version") for _ in range(3)]
    script = (page(version=9), *refusals, page(version=5))
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.reflector.statistics().lists == 2)
        assert (await server.arrived(6)).query["resourceVersion"] == "5"


async def test_a_line_that_is_too_long_is_an_error_and_not_an_endless_buffer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vnode.kube.watch.MAX_LINE", 1000)
    long = Reply(chunks=tuple(b"x" * 600 for _ in range(3)), end="hang")
    async with ScriptedServer(page(version=9), long) as server, mirror(server) as it:
        await it.until(lambda: it.reflector.statistics().failures == 1)
        assert "exceeds 1000 bytes" in str(it.reflector.last_error)
        await server.arrived(3)


async def test_metadata_only_asks_for_partial_objects_with_a_fallback() -> None:
    store: Store[PartialObject] = Store("config maps")
    async with ScriptedServer(page(pod("a", 1), version=9)) as server:
        client = connect(server.url)
        reflector = Reflector(
            client,
            PODS,
            PartialObject,
            store,
            clock=SystemClock(),
            rng=random.Random(1),
            metadata_only=True,
            label_selector="a=b",
            namespace="ns",
        )
        task = asyncio.create_task(reflector.run())
        await server.arrived(2)
        task.cancel()
        await asyncio.wait([task])
        await client.close()
    listing, watching = server.requests
    assert listing.path == "/api/v1/namespaces/ns/pods"
    assert listing.query["labelSelector"] == watching.query["labelSelector"] == "a=b"
    assert listing.headers["Accept"] == (
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    )
    assert watching.headers["Accept"] == (
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
    )


async def test_a_set_follows_its_namespaces_and_forgets_those_that_leave() -> None:
    store: Store[Pod] = Store("pods")
    script = (
        page(pod("a", 1, namespace="one"), version=9),
        watch(bookmark(9)),
        page(pod("b", 2, namespace="two"), version=9),
    )
    async with ScriptedServer(*script) as server:
        client = connect(server.url)

        def make(namespace: str) -> Reflector[Pod]:
            return Reflector(
                client,
                PODS,
                Pod,
                store,
                namespace=namespace,
                clock=SystemClock(),
                rng=random.Random(1),
            )

        reflectors = ReflectorSet(store, make)
        reflectors.add("one")
        task = asyncio.create_task(reflectors.run())
        await server.arrived(2)
        reflectors.add("two")
        await server.arrived(4)
        assert store.synced("one")
        assert store.synced("two")
        assert sorted(store.keys()) == [("one", "a"), ("two", "b")]
        reflectors.remove("one")
        await eventually(lambda: len(store) == 1)
        assert store.keys() == [("two", "b")]
        assert not store.synced("one")
        task.cancel()
        await asyncio.wait([task])
        await client.close()
