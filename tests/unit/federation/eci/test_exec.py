import asyncio

import pytest

from federation.backends.eci import errors
from federation.backends.eci.exec import EciExec, opening_failed, require_possible
from federation.backends.eci.transport import HttpTransport
from vnode.backend import StreamError, StreamRequest, StreamVerb

FAILED = b"\3command terminated with non-zero exit code: error executing command [x], exit code 3"
STATUS = (
    b'\3{"status":"Failure","message":"command terminated with exit code 4","details":'
    b'{"causes":[{"reason":"ExitCode","message":"4"}]}}'
)


class FakeSocket:
    """A websocket whose other end is a test."""

    def __init__(self, *messages: bytes | str | Exception | None) -> None:
        self.sent: list[bytes] = []
        self.closed = self.deaf = False
        self.coming: asyncio.Queue[bytes | str | Exception | None] = asyncio.Queue()
        for message in messages:
            self.coming.put_nowait(message)

    async def send(self, data: bytes) -> None:
        if self.deaf:
            raise ConnectionResetError
        self.sent.append(data)

    async def receive(self) -> bytes | str | None:
        message = await self.coming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def close(self) -> None:
        self.closed = True


async def ran(*messages: bytes | str | Exception | None) -> tuple[list[tuple[int, bytes]], int]:
    """All that comes of these messages, and the exit code."""
    command = EciExec(FakeSocket(*messages), tty=False)
    output = [piece async for piece in command.output()]
    return output, await command.exit_code()


async def test_streams_are_told_apart_by_their_channel() -> None:
    assert await ran(b"\1", b"\1out", b"\2err", None) == ([(1, b"out"), (2, b"err")], 0)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ([FAILED], 3),
        ([FAILED[:20], b"\3" + FAILED[20:]], 3),
        ([STATUS], 4),
        ([b"\3command 'x' exited with 5: "], 5),
        ([b'\3{"status":"Success"}'], 0),
        ([], 0),
    ],
)
async def test_the_exit_code_is_in_the_words_of_failure(said: list[bytes], code: int) -> None:
    assert await ran(b"\1", *said, None) == ([], code)


async def test_a_failure_without_a_code_is_shown() -> None:
    with pytest.raises(StreamError, match="executable file not found"):
        await ran(b'\3exec: "x": executable file not found in $PATH', None)


@pytest.mark.parametrize("message", [b"plain", "plain"])
async def test_what_is_in_no_channel_is_output_whose_end_nobody_knows(message: bytes | str) -> None:
    command = EciExec(FakeSocket(message, None), tty=False)
    assert [piece async for piece in command.output()] == [(1, b"plain")]
    with pytest.raises(StreamError):
        await command.exit_code()


async def test_a_socket_that_breaks_is_no_success() -> None:
    with pytest.raises(StreamError, match="broke"):
        await ran(b"\1half", ConnectionResetError())


async def test_input_goes_to_its_channel_in_pieces() -> None:
    socket = FakeSocket()
    command = EciExec(socket, tty=False)
    await command.write_stdin(b"x" * 40_000)
    await command.resize(width=120, height=40)
    assert [len(piece) for piece in socket.sent[:2]] == [32_769, 7_233]
    assert {piece[0] for piece in socket.sent[:2]} == {0}
    assert socket.sent[2:] == [b'\4{"Width":120,"Height":40}']


async def test_input_that_nobody_takes_is_told() -> None:
    socket = FakeSocket()
    socket.deaf = True
    with pytest.raises(StreamError):
        await EciExec(socket, tty=False).write_stdin(b"x")


async def test_a_terminal_hears_of_the_end_of_input() -> None:
    socket = FakeSocket()
    await EciExec(socket, tty=True).close_stdin()
    assert socket.sent == [b"\0\4"]


@pytest.mark.looptime
async def test_a_command_that_goes_on_after_the_end_of_its_input_gets_a_hint() -> None:
    socket = FakeSocket()
    command = EciExec(socket, tty=False)
    heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()

    async def listen() -> None:
        async for piece in command.output():
            heard.put_nowait(piece)

    listening = asyncio.ensure_future(listen())
    await asyncio.sleep(60)
    await command.close_stdin()
    await asyncio.sleep(4)
    assert heard.empty()
    await asyncio.sleep(60)
    stream, hint = heard.get_nowait()
    assert (stream, b"Ctrl-C" in hint) == (2, True)
    socket.coming.put_nowait(None)
    await listening
    assert heard.empty()
    assert socket.sent == []


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (StreamRequest(StreamVerb.ATTACH, "GET"), 501),
        (StreamRequest(StreamVerb.EXEC, "GET", command=["x"] * 21), 400),
        (StreamRequest(StreamVerb.EXEC, "GET", command=["x" * 257]), 400),
    ],
)
def test_what_eci_has_no_call_for_is_refused(request_: StreamRequest, code: int) -> None:
    with pytest.raises(StreamError) as refused:
        require_possible(request_)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("eci-123"), 404),
        (errors.Throttled("eci-123"), 429),
        (errors.Unavailable("eci-123"), 503),
        (errors.Denied("eci-123"), 502),
        (errors.Refused("eci-123", code="IncorrectStatus"), 400),
    ],
)
def test_a_command_that_cannot_start_is_told_without_names_of_the_account(
    error: errors.EciError, code: int
) -> None:
    failed = opening_failed(error)
    assert failed.code == code
    assert "eci-123" not in str(failed)


@pytest.mark.parametrize("url", ["ws://eci.aliyuncs.com/exec/?s=hush", "http://x/?s=hush", "", "["])
async def test_only_safe_addresses_are_opened_and_none_is_told(url: str) -> None:
    transport = HttpTransport("https://eci.aliyuncs.com")
    with pytest.raises(errors.Unavailable) as refused:
        await transport.open_socket(url)
    await transport.close()
    assert "hush" not in str(refused.value)
