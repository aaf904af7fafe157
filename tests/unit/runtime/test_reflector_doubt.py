"""The reflector after an outage: what may have been missed, and when it is asked for again."""

import asyncio
import dataclasses
import time
from contextlib import ExitStack

import pytest

from tests.unit.runtime.mirrors import QUICK, mirror
from tests.unit.runtime.scripted_server import (
    Reply,
    ScriptedServer,
    bookmark,
    error_event,
    page,
    pod,
    status,
    watch,
)
from vnode.kube.errors import ServerError
from vnode.kube.types import UID, ObjectKey
from vnode.runtime.doubt import Suspicion

DOUBTFUL = dataclasses.replace(
    QUICK, suspicion=Suspicion(away=0.005, earliest=0.05, latest=0.06, settle=0.05, gap=0.0)
)


async def test_a_server_restored_from_a_backup_is_noticed_after_silence() -> None:
    script = (
        page(pod("a", 8), version=9),
        watch(),
        page(pod("a", 3), version=4),
        page(pod("a", 3), version=4),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.reflector.statistics().lists == 2)
        kept = it.store.get(ObjectKey("ns", "a"))
    assert kept is not None
    assert kept.metadata.resource_version == "3"


async def test_a_server_restored_from_a_backup_is_noticed_as_soon_as_it_answers() -> None:
    script = (
        page(pod("a", 8), version=9),
        watch(end="cut"),
        status(503, "starting"),
        page(pod("a", 3), version=4),
        page(pod("a", 3), version=4),
        watch(("ADDED", pod("b", 5))),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: it.names() == ["a", "b"])
        kept = it.store.get(ObjectKey("ns", "a"))
    assert kept is not None
    assert kept.metadata.resource_version == "3"
    assert server.requests[5].query["resourceVersion"] == "4"


RESTORED = (page(pod("a", 40), version=50), page(pod("a", 40), pod("x", 30), version=50))


@pytest.mark.parametrize(
    "noticed",
    [
        (status(503, "starting"), *RESTORED),
        (watch(bookmark(98), end="cut"), *RESTORED),
        (status(410, "too old", reason="Expired"), RESTORED[1]),
    ],
    ids=["after an error", "after a bookmark", "by 410"],
)
async def test_a_server_restored_to_a_time_after_our_last_listing_is_believed(
    noticed: tuple[Reply, ...],
) -> None:
    script = (
        page(pod("a", 8), pod("x", 7), version=9),
        watch(
            ("MODIFIED", pod("a", 90)),
            ("ADDED", pod("ghost", 95)),
            ("DELETED", pod("x", 97)),
            end="cut",
        ),
        *noticed,
        watch(("MODIFIED", pod("a", 60)), ("ADDED", pod("b", 61))),
    )
    async with ScriptedServer(*script) as server, mirror(server) as it:
        await it.until(lambda: "b" in it.names())
        kept = it.store.get(ObjectKey("ns", "a"))
    assert kept is not None
    assert kept.metadata.resource_version == "60"
    assert it.names() == ["a", "b", "x"]


AWAY = (watch(("MODIFIED", pod("a", 20)), ("ADDED", pod("ghost", 21)), end="cut"), status(503, ""))
OVERTAKEN = page(pod("a", 15), pod("b", 41), pod("x", 12), version=45)


@pytest.mark.parametrize(
    "away",
    [AWAY, (AWAY[0], status(503, ""), status(500, "")), (AWAY[0], Reply(end="cut"))],
    ids=["refuses", "refuses twice", "cuts"],
)
async def test_a_restored_server_that_has_passed_our_version_is_listed_while_its_watch_goes_on(
    away: tuple[Reply, ...],
) -> None:
    script = (
        page(pod("a", 8), pod("x", 7), version=9),
        *away,
        page(version=40),
        watch(("ADDED", pod("b", 41))),
        OVERTAKEN,
        watch(("ADDED", pod("c", 46))),
    )
    async with ScriptedServer(*script) as server, mirror(server, DOUBTFUL) as it:
        await it.until(lambda: "b" in it.names())
        assert "ghost" in it.names()
        await it.until(lambda: "c" in it.names())
        kept = it.store.get(ObjectKey("ns", "a"))
    assert it.names() == ["a", "b", "c", "x"]
    assert kept is not None
    assert kept.metadata.resource_version == "15"
    meanwhile, listing, after = server.requests[-3:]
    assert meanwhile.query["resourceVersion"] == "21"
    assert listing.query["limit"] == "2"
    assert after.query["resourceVersion"] == "45"


async def test_a_dead_peer_behind_a_silent_watch_was_away_since_it_fell_silent() -> None:
    script = (
        page(pod("a", 8), version=9),
        watch(),
        Reply(end="cut"),
        page(version=40),
        watch(),
        OVERTAKEN,
    )
    times = dataclasses.replace(DOUBTFUL.suspicion, away=QUICK.silence)
    timing = dataclasses.replace(DOUBTFUL, suspicion=times)
    async with ScriptedServer(*script) as server, mirror(server, timing) as it:
        await it.until(lambda: it.names() == ["a", "b", "x"])


async def test_a_watch_that_is_cut_once_leads_to_no_listing() -> None:
    script = (page(version=9), watch(end="cut"), page(version=9), watch(("ADDED", pod("b", 14))))
    timing = dataclasses.replace(DOUBTFUL, suspicion=Suspicion(earliest=0.0, latest=0.01, gap=0.0))
    async with ScriptedServer(*script) as server, mirror(server, timing) as it:
        await it.until(lambda: it.names() == ["b"])
        await server.arrived(5)  # after silence
    assert server.requests[4].query["limit"] == "1"
    assert it.reflector.statistics().lists == 1


async def test_after_an_outage_a_server_with_many_reflectors_is_listed_later() -> None:
    script = (page(pod("a", 8), version=9), *AWAY, page(version=40), watch(), page(version=45))
    async with ScriptedServer(*script) as server, mirror(server, DOUBTFUL) as it:
        with ExitStack() as others:
            for _ in range(100_000):
                others.enter_context(it.client.mirroring())
            await server.arrived(5)
            await asyncio.sleep(0.2)
            assert it.reflector.statistics().lists == 1
        assert it.client.mirrors == 1
    assert it.client.mirrors == 0


async def test_what_the_server_says_it_does_not_have_leads_to_a_listing() -> None:
    script = (page(pod("a", 8), version=9), watch(), page(version=50), watch())
    async with ScriptedServer(*script) as server, mirror(server, DOUBTFUL) as it:
        await server.arrived(2)
        it.reflector.suspect(ObjectKey("ns", "a"), UID("uid-a"))
        await it.until(lambda: it.names() == [])
        assert (await server.arrived(4)).query["resourceVersion"] == "50"
        assert it.reflector.last_error is None


async def test_what_the_watch_says_too_needs_no_listing() -> None:
    script = (
        page(pod("a", 8), version=9),
        watch(("DELETED", pod("a", 10)), ("ADDED", {**pod("a", 11), "metadata": SUCCESSOR})),
        watch(("ADDED", pod("b", 12))),
    )
    async with ScriptedServer(*script) as server, mirror(server, DOUBTFUL) as it:
        await it.reflector.wait_synced()
        it.reflector.suspect(ObjectKey("ns", "a"), UID("uid-a"))
        await it.until(lambda: it.names() == ["a", "b"])
    assert it.reflector.statistics().lists == 1


SUCCESSOR = {"name": "a", "namespace": "ns", "uid": "another", "resourceVersion": "11"}
SLOW = dataclasses.replace(QUICK, first_backoff=60.0, last_backoff=60.0, wake_within=0.01)


async def test_who_cannot_be_reached_is_asked_again_when_others_get_an_answer() -> None:
    script = (Reply(end="cut"), page(version=9), page(pod("a", 8), version=9))
    async with ScriptedServer(*script) as server, mirror(server, SLOW) as it:
        await it.until(lambda: it.reflector.last_error is not None)
        assert len(server.requests) == 1
        await it.client.request("GET", "/version")
        await it.until(lambda: it.names() == ["a"])


@pytest.mark.parametrize(
    "gone",
    [
        status(410, "too old", reason="Expired"),
        watch(error_event(410, "too old", reason="Expired"), end="ordinary"),
    ],
    ids=["as answer", "as event"],
)
async def test_what_a_server_forgot_while_it_was_away_is_listed_at_once(gone: Reply) -> None:
    timing = dataclasses.replace(SLOW, wake_gap=0.0)
    script = (
        page(version=9),
        Reply(end="cut"),
        page(version=30),
        page(version=30),
        gone,
        page(pod("a", 20), version=30),
    )
    async with ScriptedServer(*script) as server, mirror(server, timing) as it:
        await it.until(lambda: it.reflector.statistics().failures == 1)
        await it.client.request("GET", "/version")
        await it.until(lambda: it.names() == ["a"])


async def test_a_server_that_forgets_what_it_just_listed_is_not_asked_without_a_pause() -> None:
    script = (page(version=9), status(410, "too old"), page(version=9))
    async with ScriptedServer(*script) as server, mirror(server, SLOW) as it:
        await it.until(lambda: it.reflector.statistics().gone == 1)
        await asyncio.sleep(0.1)
        assert len(server.requests) == 2


async def test_a_server_that_refuses_after_a_long_outage_is_asked_again_soon() -> None:
    timing = dataclasses.replace(QUICK, first_backoff=0.01, last_backoff=60.0)
    away = [Reply(end="cut")] * 6
    script = (*away, status(403, "no roles yet"), page(pod("a", 8), version=9))
    async with ScriptedServer(*script) as server, mirror(server, timing) as it:
        await it.until(lambda: it.reflector.statistics().failures == 7)
        since = time.monotonic()
        await it.until(lambda: it.names() == ["a"])
        assert time.monotonic() - since < 0.2


async def test_an_error_of_the_server_that_others_get_wakes_nobody() -> None:
    script = (Reply(end="cut"), status(503, "starting"))
    async with ScriptedServer(*script) as server, mirror(server, SLOW) as it:
        await it.until(lambda: it.reflector.last_error is not None)
        with pytest.raises(ServerError):
            await it.client.request("GET", "/version")
        await asyncio.sleep(0.1)
        assert len(server.requests) == 2


async def test_answers_to_others_wake_nobody_again_and_again() -> None:
    others = (page(version=9), Reply(end="cut"), page(version=9))
    async with ScriptedServer(Reply(end="cut"), *others) as server, mirror(server, SLOW) as it:
        await it.until(lambda: it.reflector.statistics().failures == 1)
        await it.client.request("GET", "/version")
        await it.until(lambda: it.reflector.statistics().failures == 2)
        await it.client.request("GET", "/version")
        await asyncio.sleep(0.1)
        assert len(server.requests) == 4
