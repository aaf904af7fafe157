import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import WSMsgType

from tests.fakes.sessions import MemorySession
from tests.unit.kubelet.conftest import HOST, Kubelet, RawClient
from tests.unit.kubelet.streams.test_handler import EXEC, SPDY, failure
from vnode.backend import StreamError
from vnode.kubelet.streams import session
from vnode.kubelet.streams.channels import V4, V5

BOTH = pytest.mark.parametrize("protocol", [V4, V5])
SIZE = b'\4{"Width":120,"Height":40}\n'


@pytest.fixture
def kubelet(kubelet: Kubelet) -> Kubelet:
    """Of a backend without connections to hand on."""
    kubelet.backend.capabilities = dataclasses.replace(
        kubelet.backend.capabilities, upgrade_streams=False, session_streams=True
    )
    return kubelet


class Client:
    """What kubectl is in these tests."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, *messages: bytes) -> None:
        for message in messages:
            await self.socket.send_bytes(message)

    async def next(self) -> bytes:
        message = await asyncio.wait_for(self.socket.receive(), 5)
        assert message.type is WSMsgType.BINARY, message
        data: bytes = message.data
        return data

    async def rest(self) -> tuple[dict[int, bytes], int | None]:
        """All that comes by channel, and the code with which it ends."""
        channels: dict[int, bytearray] = {}
        async with asyncio.timeout(20):
            async for message in self.socket:
                assert message.type is WSMsgType.BINARY
                channels.setdefault(message.data[0], bytearray()).extend(message.data[1:])
        return {number: bytes(data) for number, data in channels.items()}, self.socket.close_code

    def vanish(self) -> None:
        """Without a word."""
        connection = self.socket._response.connection
        assert connection is not None
        assert connection.transport is not None
        connection.transport.abort()


async def settled(count: Callable[[], int]) -> int:
    """A number that does not grow any more."""
    before = -1
    while count() != before:
        before = count()
        await asyncio.sleep(0.2)
    return before


@asynccontextmanager
async def opened(
    kubelet: Kubelet, query: str, *, protocol: str = V5, verb: str = "exec", autoping: bool = True
) -> AsyncIterator[Client]:
    path = f"/{verb}/team/web/main?{query}"
    connector = aiohttp.TCPConnector(ssl=kubelet.client_tls("apiserver"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.ws_connect(
            f"https://{HOST}:{kubelet.server.port}{path}",
            protocols=(protocol,),
            autoping=autoping,
        ) as socket,
    ):
        assert socket.protocol == protocol
        yield Client(socket)


async def ended(kubelet: Kubelet) -> MemorySession:
    """The session below, once it was closed."""
    (session,) = kubelet.backend.sessions
    await asyncio.wait_for(session.closed.wait(), 5)
    await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
    return session


@BOTH
async def test_output_and_exit_code_come_on_their_channels(kubelet: Kubelet, protocol: str) -> None:
    query = "command=say&command=out&command=err&command=3&output=1&error=1"
    async with opened(kubelet, query, protocol=protocol) as client:
        assert await client.next() == b"\1", "an empty message says that the streams are open"
        channels, code = await client.rest()
    status = json.loads(channels.pop(3))
    assert channels == {1: b"out", 2: b"err"}
    assert code == 1000
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
    await ended(kubelet)


@BOTH
async def test_success_is_said(kubelet: Kubelet, protocol: str) -> None:
    query = "command=say&command=out&command=&command=0&output=1"
    async with opened(kubelet, query, protocol=protocol) as client:
        channels, _ = await client.rest()
    assert json.loads(channels[3])["status"] == "Success"


async def test_output_that_nobody_asked_for_is_left_out(kubelet: Kubelet) -> None:
    query = "command=say&command=out&command=err&command=0&error=1"
    async with opened(kubelet, query) as client:
        channels, _ = await client.rest()
    assert (channels.get(1), channels[2]) == (None, b"err")


@BOTH
async def test_input_is_echoed(kubelet: Kubelet, protocol: str) -> None:
    async with opened(kubelet, "command=cat&input=1&output=1", protocol=protocol) as client:
        assert await client.next() == b"\1"
        for text in (b"hello", b"\xff\0 is data here"):
            await client.send(b"\0" + text)
            assert await client.next() == b"\1" + text


async def test_the_end_of_input_reaches_the_process(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=cat&input=1&output=1") as client:
        await client.send(b"\0last words", b"\xff\0")
        channels, code = await client.rest()
    assert channels[1] == b"last words"
    assert json.loads(channels[3])["status"] == "Success"
    assert code == 1000


async def test_input_that_was_not_announced_is_dropped(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=cat&output=1") as client:
        await client.send(b"\0secret", b"\xff\0", SIZE)
        await client.next()
        (session,) = kubelet.backend.sessions
        await asyncio.wait_for(session.process.resized.wait(), 5)
        assert session.process.stdin.empty()


async def test_text_messages_are_taken_as_bytes(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=cat&input=1&output=1", protocol=V4) as client:
        await client.socket.send_str("\0häh")
        await client.next()
        assert await client.next() == b"\1" + "häh".encode()


@BOTH
async def test_a_terminal_is_resized(kubelet: Kubelet, protocol: str) -> None:
    query = "command=size&input=1&output=1&tty=1"
    async with opened(kubelet, query, protocol=protocol) as client:
        await client.send(SIZE)
        channels, _ = await client.rest()
    assert channels[1] == b"120x40"


async def test_attach_ends_well_whatever_the_process_returns(kubelet: Kubelet) -> None:
    async with opened(kubelet, "input=1&output=1", verb="attach") as client:
        await client.send(b"\0hi", b"\xff\0")
        channels, _ = await client.rest()
    assert channels[1] == b"hi"
    assert json.loads(channels[3])["status"] == "Success"


async def test_a_slow_reader_holds_the_process_back(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=flood&command=64&output=1") as client:
        (session,) = kubelet.backend.sessions
        between = await settled(lambda: session.process.written)
        assert between < 16 << 20, "what is in between is bounded"
        channels, _ = await client.rest()
    assert len(channels[1]) == 64 << 20
    assert json.loads(channels[3])["status"] == "Success"


async def test_a_process_that_reads_nothing_holds_the_client_back(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PONG_SECONDS", 0.05)
    sent = 0

    async def push(client: Client) -> None:
        nonlocal sent
        while True:
            await client.send(b"\0" + b"x" * 65536)
            sent += 65536

    async with opened(kubelet, "command=sleep&input=1&output=1") as client:
        pushing = asyncio.create_task(push(client))
        assert 0 < await settled(lambda: sent) < 32 << 20
        pushing.cancel()
        await asyncio.gather(pushing, return_exceptions=True)
        client.vanish()
        await ended(kubelet)


async def test_a_client_that_waits_for_a_busy_process_gets_pongs(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_PONG_SECONDS", 0.01)
    async with opened(kubelet, "command=sleep&input=1&output=1", autoping=False) as client:
        assert await client.next() == b"\1"
        await client.send(*[b"\0x"] * 10)
        message = await asyncio.wait_for(client.socket.receive(), 5)
        assert message.type is WSMsgType.PONG
        client.vanish()


@BOTH
async def test_a_client_that_vanishes_ends_the_process(kubelet: Kubelet, protocol: str) -> None:
    async with opened(kubelet, "command=sleep&output=1", protocol=protocol) as client:
        await client.next()
        client.vanish()
        await ended(kubelet)


async def test_a_client_that_leaves_politely_ends_the_process(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=cat&input=1&output=1") as client:
        await client.next()
        await client.socket.close()
        await ended(kubelet)


async def test_a_client_that_breaks_the_protocol_is_told_and_cut(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=cat&input=1&output=1") as client:
        await client.send(b"\xff\x09")
        channels, code = await client.rest()
    assert "one known channel" in json.loads(channels[3])["message"]
    assert code == 1000
    await ended(kubelet)


async def test_a_session_that_breaks_below_is_no_success(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=sleep&output=1") as client:
        await client.next()
        (session,) = kubelet.backend.sessions

        async def exit_code() -> int:
            raise StreamError("the connection below broke", code=502)

        session.exit_code = exit_code  # type: ignore[method-assign]
        await session.process.output.put(None)
        channels, _ = await client.rest()
    assert "the connection below broke" in json.loads(channels[3])["message"]


@pytest.mark.parametrize("error", [ConnectionResetError("10.0.0.1 is gone"), OSError("secret")])
async def test_a_link_that_breaks_below_is_no_success(kubelet: Kubelet, error: OSError) -> None:
    async with opened(kubelet, "command=sleep&output=1") as client:
        await client.next()
        (session,) = kubelet.backend.sessions

        async def exit_code() -> int:
            raise error

        session.exit_code = exit_code  # type: ignore[method-assign]
        await session.process.output.put((1, b"half"))
        await session.process.output.put(None)
        channels, code = await client.rest()
    status = json.loads(channels[3])
    assert (channels[1], status["status"], code) == (b"half", "Failure", 1000)
    assert str(error) not in status["message"]
    await ended(kubelet)


async def test_input_that_finds_the_link_below_broken_is_no_success(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=sleep&input=1&output=1") as client:
        await client.next()
        (session,) = kubelet.backend.sessions

        async def write_stdin(data: bytes) -> None:
            raise BrokenPipeError

        session.write_stdin = write_stdin  # type: ignore[method-assign]
        await client.send(b"\0x")
        channels, _ = await client.rest()
    assert "the connection to the container broke" in json.loads(channels[3])["message"]


@pytest.mark.parametrize("error", [RuntimeError("secret"), ConnectionResetError("secret")])
async def test_a_session_that_cannot_be_opened_is_told_in_the_websocket_whatever_broke(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def session(*_: object) -> MemorySession:
        raise error

    monkeypatch.setattr(kubelet.backend, "session", session)
    async with opened(kubelet, "command=sleep&output=1") as client:
        channels, code = await client.rest()
    status = json.loads(channels[3])
    assert (status["status"], code) == ("Failure", 1000)
    assert "secret" not in status["message"]


async def test_a_mistake_of_a_backend_is_no_success_and_says_nothing_of_it(
    kubelet: Kubelet,
) -> None:
    async with opened(kubelet, "command=say&command=a&command=b&command=secret&output=1") as client:
        channels, code = await client.rest()
    status = json.loads(channels[3])
    assert (status["status"], code) == ("Failure", 1000)
    assert "secret" not in status["message"]


async def test_an_idle_session_ends_with_an_error(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "IDLE_LIMIT", 0.2)
    async with opened(kubelet, "command=sleep&output=1") as client:
        channels, code = await client.rest()
    assert "nothing went through" in json.loads(channels[3])["message"]
    assert code == 1000
    await ended(kubelet)


async def test_a_shutdown_ends_sessions_with_an_error(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=sleep&output=1") as client:
        await client.next()
        stopping = asyncio.create_task(kubelet.server.stop(drain_seconds=0))
        channels, code = await client.rest()
        await stopping
    assert "shutting down" in json.loads(channels[3])["message"]
    assert code == 1000
    await ended(kubelet)


async def test_sessions_count_for_the_limit_of_a_namespace(kubelet: Kubelet) -> None:
    async with (
        opened(kubelet, "command=sleep&output=1"),
        opened(kubelet, "command=sleep&output=1"),
        opened(kubelet, "command=sleep&output=1"),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with opened(kubelet, "command=sleep&output=1"):
                pass
        assert refused.value.status == 429
    assert len(kubelet.backend.sessions) == 3


async def test_a_refusal_of_the_backend_is_told_in_the_websocket(kubelet: Kubelet) -> None:
    async with opened(kubelet, "command=none&output=1") as client:
        channels, _ = await client.rest()
    status = json.loads(channels[3])
    assert status["status"] == "Failure"
    assert 'executable "none" not found' in status["message"]


async def test_a_client_that_leaves_while_a_session_is_opened_cancels_that(
    kubelet: Kubelet,
) -> None:
    kubelet.backend.stream_gate = asyncio.Event()
    async with opened(kubelet, "command=cat&output=1") as client:
        await asyncio.wait_for(kubelet.backend.asked.wait(), 5)
        client.vanish()
        await asyncio.wait_for(kubelet.sessions.wait_ended(kubelet.server._node), 5)
    assert kubelet.backend.sessions == []


async def refusal(client: RawClient, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
    status, answered = await client.open("POST" if headers is SPDY else "GET", path, *headers)
    message = (await failure(client, answered))["message"]
    await client.close()
    return status, str(message)


async def test_spdy_gets_one_clear_answer_that_names_the_version(kubelet: Kubelet) -> None:
    status, message = await refusal(await kubelet.dial(), EXEC, *SPDY)
    assert status == 501
    assert "Kubernetes 1.36 or later with the feature ExtendWebSocketsToKubelet" in message
    assert kubelet.backend.streams == []


async def test_a_protocol_that_is_not_known_is_refused(kubelet: Kubelet) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with opened(kubelet, "command=cat&output=1", protocol="base64.channel.k8s.io"):
            pass
    assert refused.value.status == 501
    assert kubelet.backend.streams == []


async def test_port_forward_has_no_session_form(kubelet: Kubelet) -> None:
    path = "/portForward/team/web?ports=80"
    status, message = await refusal(await kubelet.dial(), path, *SPDY)
    assert (status, message) == (501, "portforward is not supported on this node")
