import asyncio

import pytest
from aiohttp import web

from federation.backends.eci.errors import Unavailable
from federation.backends.eci.signature import Signed
from federation.backends.eci.transport import HttpTransport


class Recorder:
    """An endpoint that remembers request lines and answers as it is told, or never."""

    def __init__(self, status: int = 200, body: bytes = b"{}", hangs: bool = False) -> None:
        self.seen: list[str] = []
        self.calls = asyncio.Semaphore(0)
        self._answer = (status, body, hangs)
        self._runner: web.ServerRunner | None = None
        self.url = ""

    async def __aenter__(self) -> "Recorder":
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen.append(request.raw_path)
        self.calls.release()
        status, body, hangs = self._answer
        if hangs:
            await asyncio.Event().wait()
        return web.Response(status=status, body=body, headers={"Location": "/elsewhere"})


async def send(recorder: Recorder, *, query: str = "", timeout: float = 5.0) -> bytes:
    transport = HttpTransport(recorder.url)
    try:
        call = Signed(query=query, headers={"host": transport.host})
        return (await transport.send(call, timeout=timeout)).body
    finally:
        await transport.close()


async def test_the_query_goes_out_as_it_was_signed() -> None:
    query = "A=%2A%27%28%29%21%2F%3A~&B=a%20b%2Bc"
    async with Recorder() as recorder:
        await send(recorder, query=query)

    assert recorder.seen == [f"/?{query}"]


async def test_an_answer_in_many_parts_is_read_to_its_end() -> None:
    body = b"x" * 3_000_000
    async with Recorder(body=body) as recorder:
        assert await send(recorder) == body


async def test_a_redirect_is_not_followed() -> None:
    async with Recorder(status=307) as recorder:
        await send(recorder, query="A=1")

    assert recorder.seen == ["/?A=1"]


async def test_no_answer_in_time_is_unavailable_and_says_nothing_of_the_query() -> None:
    async with Recorder(hangs=True) as recorder:
        with pytest.raises(Unavailable) as raised:
            await send(recorder, query="Password=hunter2", timeout=0.05)

    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_creates_that_hang_take_no_connection_from_who_only_looks() -> None:
    async with Recorder(hangs=True) as slow:
        transport = HttpTransport(slow.url, connections=1)
        calls = [
            asyncio.create_task(
                transport.send(Signed(query=action, headers={"x-acs-action": action}), timeout=5.0)
            )
            for action in ("CreateContainerGroup", "DeleteContainerGroup", "ListUsage")
        ]
        async with asyncio.timeout(5):
            for _ in range(2):
                await slow.calls.acquire()

        assert sorted(slow.seen) == ["/?CreateContainerGroup", "/?ListUsage"]
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        await transport.close()


def test_secrets_are_not_sent_in_clear_over_a_network() -> None:
    with pytest.raises(ValueError, match="https"):
        HttpTransport("http://eci.cn-beijing.aliyuncs.com")


@pytest.mark.parametrize(("code", "in_order"), [(1000, True), (0, True), (1001, False)])
async def test_only_a_websocket_that_was_closed_in_order_has_come_to_its_end(
    code: int, in_order: bool
) -> None:
    async def serve(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoclose=False)
        await socket.prepare(request)
        await socket.send_bytes(b"last")
        assert request.transport is not None
        # At once: nobody is there who could hear an answer to the close.
        request.transport.write(b"\x88\x02" + code.to_bytes(2, "big") if code else b"\x88\x00")
        request.transport.close()
        return socket

    runner = web.ServerRunner(web.Server(serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    transport = HttpTransport(f"http://127.0.0.1:{runner.addresses[0][1]}")
    socket = await transport.open_socket(f"ws://127.0.0.1:{runner.addresses[0][1]}/")

    assert await socket.receive() == b"last"
    if in_order:
        assert await socket.receive() is None
    else:
        with pytest.raises(ConnectionError):
            await socket.receive()
    await socket.close()
    await transport.close()
    await runner.cleanup()
