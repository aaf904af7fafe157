import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.unit.kubelet.conftest import Kubelet
from tests.unit.kubelet.fakes import chunks
from vnode.backend import LogOptions, StreamError
from vnode.kube.errors import Unreachable

LOG = "/containerLogs/team/web/main"


async def test_a_log_is_relayed_with_its_options(kubelet: Kubelet) -> None:
    kubelet.backend.log = lambda _options: chunks(b"one\n", b"two\n")
    assert await kubelet.ask(f"{LOG}?tailLines=2&timestamps=true") == (200, "one\ntwo\n")
    (options,) = kubelet.backend.log_options
    assert options == LogOptions(container="main", tail_lines=2, timestamps=True)


async def test_an_empty_log_is_an_empty_answer(kubelet: Kubelet) -> None:
    kubelet.backend.log = lambda _options: chunks()
    assert await kubelet.ask(LOG) == (200, "")


async def test_lines_arrive_while_the_log_goes_on(kubelet: Kubelet) -> None:
    more = asyncio.Event()

    async def following(_options: LogOptions) -> AsyncIterator[bytes]:
        yield b"first\n"
        await more.wait()
        yield b"second\n"

    kubelet.backend.log = following
    async with kubelet.request(f"{LOG}?follow=true") as response:
        assert await response.content.readline() == b"first\n"
        assert kubelet.sessions.statistics().open == 1
        more.set()
        assert await response.content.read() == b"second\n"


@pytest.mark.parametrize("spoken", [True, False])
async def test_a_client_that_leaves_ends_the_backends_work(kubelet: Kubelet, spoken: bool) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def endless(_options: LogOptions) -> AsyncIterator[bytes]:
        try:
            if spoken:
                yield b"first\n"
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    kubelet.backend.log = endless
    client = await kubelet.dial()
    client.writer.write(f"GET {LOG}?follow=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await asyncio.wait_for(started.wait(), 5)
    await client.close()
    await asyncio.wait_for(ended.wait(), 5)
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)


async def test_a_slow_client_holds_the_backend_back(kubelet: Kubelet) -> None:
    produced = 0

    async def fast(_options: LogOptions) -> AsyncIterator[bytes]:
        nonlocal produced
        for _ in range(1000):
            produced += 1
            yield b"x" * 65536

    kubelet.backend.log = fast
    async with kubelet.request(LOG) as response:
        first = await response.content.readexactly(10)
        before = -1
        while produced != before:  # Until it stands still.
            before = produced
            for _ in range(200):
                await asyncio.sleep(0)
        assert first == b"x" * 10
        assert produced < 500
        response.close()
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)


@pytest.mark.parametrize("error", [StreamError("cut", code=500), Unreachable("cut")])
async def test_a_log_that_breaks_in_the_middle_never_looks_whole(
    kubelet: Kubelet, error: Exception
) -> None:
    kubelet.backend.log = lambda _options: chunks(b"one\n", error=error)
    async with kubelet.request(LOG) as response:
        assert response.status == 200
        assert await response.content.readline() == b"one\n"
        assert (await response.content.readline()).startswith(b"vnode: the log ends here because")
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_the_line_that_says_so_is_a_line_of_its_own(kubelet: Kubelet) -> None:
    kubelet.backend.log = lambda _options: chunks(b"half a li", error=Unreachable("cut"))
    async with kubelet.request(LOG) as response:
        assert await response.content.readline() == b"half a li\n"
        assert (await response.content.readline()).startswith(b"vnode: ")


@pytest.mark.parametrize(
    ("code", "answered"), [(400, 400), (404, 404), (500, 500), (503, 503), (401, 502)]
)
async def test_a_failure_before_the_first_byte_is_a_text(
    kubelet: Kubelet, code: int, answered: int
) -> None:
    text = 'container "main" in pod "web" is waiting to start: ImagePullBackOff'
    kubelet.backend.log = lambda _options: chunks(error=StreamError(text, code=code))
    async with kubelet.request(LOG) as response:
        assert response.status == answered
        assert response.content_type == "text/plain"
        assert await response.text() == text


@pytest.mark.parametrize(
    ("path", "code", "text"),
    [
        ("/containerLogs/team/gone/main", 404, 'pod "gone" does not exist'),
        ("/containerLogs/team/web/fuse", 404, 'container "fuse" not found in pod "web"'),
        (f"{LOG}?tailLines=x", 400, '{"message": "Unable to decode query."}'),
        (f"{LOG}?limitBytes=0", 422, '{"message": "Invalid request."}'),
    ],
)
async def test_refusals_have_the_kubelets_words(
    kubelet: Kubelet, path: str, code: int, text: str
) -> None:
    assert await kubelet.ask(path) == (code, text)
    assert kubelet.backend.log_options == []


async def test_nothing_is_compressed_even_if_the_client_would_like_it(kubelet: Kubelet) -> None:
    async with kubelet.request(LOG) as response:
        assert "gzip" in response.request_info.headers["Accept-Encoding"]
        assert "Content-Encoding" not in response.headers
        assert response.headers["Transfer-Encoding"] == "chunked"


async def test_logs_count_as_sessions_of_their_namespace(kubelet: Kubelet) -> None:
    async def endless(_options: LogOptions) -> AsyncIterator[bytes]:
        yield b"first\n"
        await asyncio.Event().wait()

    kubelet.backend.log = endless
    async with (
        kubelet.request(f"{LOG}?follow=1"),
        kubelet.request(f"{LOG}?follow=1"),
        kubelet.request(f"{LOG}?follow=1"),
    ):
        status, text = await kubelet.ask(LOG)
        assert status == 429
        assert "namespace team has 3" in text
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
